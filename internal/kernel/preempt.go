package kernel

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Preemption describes which BPF programs the kernel may preempt.
type Preemption struct {
	// Trampolines is set if programs on functions (fexit) may be preempted.
	Trampolines bool
	// Tracepoints is set if programs on tracepoints may be preempted.
	Tracepoints bool
	// CanDisable is set if a program can disable preemption for itself.
	CanDisable bool
}

var (
	// disablePreemption is the first version with bpf_preempt_disable.
	disablePreemption = Version{6, 10}
	// lazyPreemption is the first version with PREEMPT_LAZY. Distributions enable it from then on.
	lazyPreemption = Version{6, 13}
	// preemptibleTracepoints is the first version that may preempt programs on tracepoints. Earlier versions disable
	// preemption in a tracepoint. Since 6.13 the tracepoints of system calls do not, but the code that calls their
	// programs does (include/trace/bpf_probe.h).
	preemptibleTracepoints = Version{7, 0}
)

// PreemptionOfPrograms returns which programs the running kernel may preempt. The preemption model in use cannot be
// read without debugfs. So if the model may be one that preempts programs, the result says that it does.
func PreemptionOfPrograms() (Preemption, error) {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return Preemption{}, fmt.Errorf("reading the kernel's version: %w", err)
	}
	v, err := ParseRelease(unix.ByteSliceToString(name.Release[:]))
	if err != nil {
		return Preemption{}, err
	}
	boot, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return Preemption{}, fmt.Errorf("reading the kernel's boot parameters: %w", err)
	}
	return preemption(v, unix.ByteSliceToString(name.Version[:]), string(boot)), nil
}

// preemption decides based on uname -r (v), uname -v (built) and the boot parameters.
func preemption(v Version, built, boot string) Preemption {
	if !strings.Contains(built, "PREEMPT") {
		return Preemption{}
	}
	parameters := strings.Fields(boot)
	requested := slices.Contains(parameters, "preempt=full") || slices.Contains(parameters, "preempt=lazy")
	return Preemption{
		Trampolines: requested || !v.Before(lazyPreemption),
		Tracepoints: !v.Before(preemptibleTracepoints),
		CanDisable:  !v.Before(disablePreemption),
	}
}
