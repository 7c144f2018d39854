// Package monitor records the capability checks of containers in the kernel and reads the results.
//
// BPF programs (package bpf) count checks in maps of the kernel. A [Monitor] loads and attaches the programs
// ([Start]), reads the maps ([Monitor.Snapshot], [DeltaReader.Read]), and receives events about what is new
// ([Monitor.Next]). User space does not handle each check, so a slow process loses no check. What does not fit in
// the maps is counted in [Losses].
//
// The package requires Linux 5.15 or later with BTF, on amd64 or arm64, and the rights that docs/privileges.md
// lists. Methods that require a later kernel say so.
//
// A Monitor is safe for concurrent use; a [DeltaReader] is not. All times are on the clock of [Monitor.Now].
//
// # Life of a recording
//
// A recording is the programs and maps in the kernel. Without [Options.PinDirectory] it ends with its process, or with
// [Monitor.Stop] or [Monitor.Close]. A pinned recording continues without a process until Stop or [RemovePins].
//
//	         Start (monitor.go, hook.go, existing.go)
//	                          |
//	                          v
//	            +---------------------------+
//	            | new: attached, counts     |---- Close or end of process ----> (gone)
//	            +---------------------------+
//	                          | PinDirectory is set (pin.go)
//	                          v
//	            +---------------------------+
//	+---------->| pinned: a process reads   |---- Stop, RemovePins (pin.go) --> (gone)
//	|           +---------------------------+
//	|             |            |          ^
//	|             |            |          | entries removed from the maps (collect.go)
//	|             |            |        +-----------------------------------------+
//	|             |            |        | saved: the caller of FlushEnded has it  |
//	|             |            |        +-----------------------------------------+
//	|             |            |          ^ save returns nil (collect.go)
//	|             |            v          |
//	|             |   +-------------------------------------------------------+
//	|             |   | collected: final data of ended containers was read    |
//	|             |   +-------------------------------------------------------+
//	|             | the process ends or is killed
//	|             v
//	|   +------------------------------------+
//	|   | unattended: counts without process |
//	|   +------------------------------------+
//	|      | Start, same fingerprint   | Start, other fingerprint (upgrade.go, upgrade_read.go,
//	|      | (pin_resume.go)           | upgrade_layout.go, upgrade_carried.go)
//	|      v                           v
//	|   +-------------------+   +-----------------------------------------+
//	|   | resumed: the same |   | upgraded: new programs and maps; the    |
//	|   | programs and maps |   | old maps stay until their containers    |
//	|   +-------------------+   | have ended and are saved                |
//	|      |                    +-----------------------------------------+
//	|      |                           |
//	+------+---------------------------+
//
// The fingerprint is a hash of the programs and their configuration (pin_resume.go). If a process is killed during a
// step, the next Start completes the step.
package monitor
