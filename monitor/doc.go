// Package monitor records the capability checks of containers in the kernel and reads the results.
//
// BPF programs (package bpf) count checks in maps of the kernel. A [Monitor] loads and attaches the programs
// ([Start]), reads the maps ([Monitor.Snapshot], [DeltaReader.Read]), and receives events about what is new
// ([Monitor.Next]). User space does not handle each check, so capmon loses no check if its process is slow. Checks
// that do not fit in the maps are counted in [Losses].
//
// The package requires Linux 5.15 or later with BTF, on amd64 or arm64, and the rights that docs/privileges.md
// lists. Methods that require a later kernel say so. It neither logs nor connects to a container engine: it identifies
// containers by the IDs in the names of their cgroups. Its caller can name others ([Monitor.ExpectContainer],
// [Monitor.AddContainer]). examples/monitor is a small program that uses the package.
//
// A Monitor is safe for concurrent use; a [DeltaReader] is not. All times are on the clock of [Monitor.Now].
//
// # Life of a recording
//
// A recording is the programs and maps in the kernel. Without [Options.PinDirectory] it ends with its process, or with
// [Monitor.Stop] or [Monitor.Close]. A pinned recording continues without a process until Stop or [RemovePins].
//
//	Start ----------> new:
//	                   |
//	                   | pin
//	                   v
//	+------------>  pinned:  --- Stop ---> ended
//	|                  |
//	|                  | the process ends or is killed
//	|                  v
//	|             unattended:  --- RemovePins ---> ended
//	|                  |
//	|                  | Start
//	|           +------+--------+
//	|           |               |
//	|   same fingerprint:   other fingerprint:
//	|           |               |
//	|           v               v
//	|        resumed:       upgraded:
//	|           |               |
//	+-----------+---------------+
//
// The states of a recording:
//   - new: the programs are attached and count. If PinDirectory is not set, the recording stays in this state until it
//     ends.
//   - pinned: the recording is pinned, and a process reads it.
//   - unattended: the recording counts without a process.
//   - resumed: a new process uses the same programs and maps.
//   - upgraded: a process of another version has replaced the programs and maps. The old maps stay until their
//     containers have ended and are saved.
//
// While a recording is pinned, [Monitor.SaveEnded] saves the containers that have ended:
//  1. It reads the final data of the containers from the maps.
//  2. It passes the data to its caller, who saves it.
//  3. It removes the entries from the maps.
//
// The fingerprint is a hash of the programs and their configuration. If a process is killed during a step, the next
// Start completes the step. docs/architecture.md names the file of each step.
package monitor
