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
	// Forbiddable: a program can ask not to be.
	Forbiddable bool
}

var (
	// bpf_preempt_disable.
	canForbid = Version{6, 10}
	// PREEMPT_LAZY, which distributions choose where it is.
	lazy = Version{6, 13}
	// Until then a tracepoint forbids preemption, and where one of system calls does not
	// (since 6.13) what calls its programs does (include/trace/bpf_probe.h).
	preemptibleTracepoints = Version{7, 0}
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
	if !strings.Contains(built, "PREEMPT") {
		return Preemption{}
	}
	parameters := strings.Fields(boot)
	asked := slices.Contains(parameters, "preempt=full") || slices.Contains(parameters, "preempt=lazy")
	return Preemption{
		Trampolines: asked || !v.Before(lazy),
		Tracepoints: !v.Before(preemptibleTracepoints),
		Forbiddable: !v.Before(canForbid),
	}
}
