package kernel

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Preemption is what can take the processor from a BPF program.
type Preemption struct {
	// Trampolines: from one on a function (fexit).
	Trampolines bool
	// Tracepoints: from one on a tracepoint.
	Tracepoints bool
}

var (
	// bpf_preempt_disable, without which nothing can be done about it.
	canForbid = Version{6, 10}
	// PREEMPT_LAZY, which distributions choose where it is, and tracepoints of system
	// calls that can be preempted; the others can at least in 7.3
	// (include/linux/tracepoint.h).
	preemptible = Version{6, 13}
)

// PreemptionOfPrograms tells what this kernel allows. Which of its models is in use
// cannot be read without debugfs, so where it may be one that preempts, it counts as one.
func PreemptionOfPrograms() (Preemption, error) {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return Preemption{}, fmt.Errorf("asking for the kernel's version: %w", err)
	}
	v, err := ParseRelease(unix.ByteSliceToString(name.Release[:]))
	if err != nil {
		return Preemption{}, err
	}
	boot, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return Preemption{}, fmt.Errorf("reading how the kernel was booted: %w", err)
	}
	return preemption(v, unix.ByteSliceToString(name.Version[:]), string(boot)), nil
}

// preemption decides from uname -r, uname -v and the boot parameters.
func preemption(v Version, built, boot string) Preemption {
	if v.Before(canForbid) || !strings.Contains(built, "PREEMPT") {
		return Preemption{}
	}
	parameters := strings.Fields(boot)
	asked := slices.Contains(parameters, "preempt=full") || slices.Contains(parameters, "preempt=lazy")
	return Preemption{
		Trampolines: asked || !v.Before(preemptible),
		Tracepoints: !v.Before(preemptible),
	}
}
