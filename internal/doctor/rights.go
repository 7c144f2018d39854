package doctor

import (
	"fmt"
	"strings"

	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/kernel"
)

// needed are the capabilities that recording takes: BPF and PERFMON to load and
// attach the programs, for which SYS_ADMIN does too (bpf_capable and
// perfmon_capable, include/linux/capability.h); SYSLOG to read where kernel
// functions are (kallsyms_show_value, kernel/ksyms_common.c); SYS_PTRACE to look at
// the containers' processes (ptrace_may_access, kernel/ptrace.c).
var needed = capability.Of(capability.BPF, capability.Perfmon, capability.Syslog, capability.SysPtrace)

// RightsError: this process may not do what recording takes.
type RightsError struct {
	// Missing are the capabilities that it lacks; empty if it has them, but in a
	// user namespace where they are worth nothing to the kernel.
	Missing capability.Set
}

// Error is one line that ends in what to do.
func (e *RightsError) Error() string {
	if e.Missing.Empty() {
		return "recording needs rights in the host's user namespace, and this process is in another one: run it outside, with sudo"
	}
	return fmt.Sprintf("recording needs rights that this process lacks (%s): run it with sudo", withPrefix(e.Missing))
}

// CheckRights returns a *RightsError if this process cannot record.
func CheckRights() error {
	have, err := kernel.EffectiveCapabilities()
	if err != nil {
		return err
	}
	initial, err := kernel.InInitial(kernel.UserNamespace)
	if err != nil {
		return err
	}
	return checkRights(have, initial)
}

func checkRights(have capability.Set, initialNamespace bool) error {
	missing := needed.Minus(have)
	if have.Has(capability.SysAdmin) {
		missing = missing.Without(capability.BPF).Without(capability.Perfmon)
	}
	if missing.Empty() && initialNamespace {
		return nil
	}
	return &RightsError{missing}
}

// withPrefix writes names as the manual pages do, not as Docker does: these are
// rights of a process on the host.
func withPrefix(set capability.Set) string {
	var names []string
	for _, c := range set.Sorted() {
		names = append(names, "CAP_"+c.String())
	}
	return strings.Join(names, ", ")
}
