package doctor

import (
	"errors"
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

// purposes says what each of them is for, and of DAC_READ_SEARCH what is lost without.
var purposes = map[capability.Capability]string{
	capability.BPF:       "to load programs into the kernel",
	capability.Perfmon:   "to let them read its memory",
	capability.Syslog:    "to read where its functions are",
	capability.SysPtrace: "to look at the containers' processes",
}

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

// Check tells what is against recording before anything is tried: the error has
// kernel.ErrTooOld or a *RightsError in its tree.
func Check() error {
	if _, err := checkRelease(); err != nil {
		return err
	}
	return checkOwnRights()
}

func checkRelease() (release string, err error) {
	if release, err = kernel.Release(); err != nil {
		return "", err
	}
	return release, kernel.CheckRelease(release)
}

// checkOwnRights returns a *RightsError if this process may not record.
func checkOwnRights() error {
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

// rights has a finding on what recording takes, or one on each that is missing.
func rights() []Finding {
	const subject = "rights"
	var refused *RightsError
	err := checkOwnRights()
	switch {
	case err == nil:
		return []Finding{ok(subject, "all that recording takes: %s", withPrefix(needed)), directories()}
	case !errors.As(err, &refused):
		return []Finding{bad(Failure, subject, err, "mount -t proc proc /proc")}
	case refused.Missing.Empty():
		return []Finding{{subject, Failure, "this process is in a user namespace of its own, where its capabilities are worth nothing to the kernel", "run capmon outside of it, with sudo"}}
	}
	var findings []Finding
	for _, c := range refused.Missing.Sorted() {
		name := withPrefix(capability.Of(c))
		findings = append(findings, Finding{subject, Failure, fmt.Sprintf("missing: %s, %s", name, purposes[c]), remedyFor(c)})
	}
	return findings
}

// directories is about what recording does without, but with less to tell.
func directories() Finding {
	const subject = "  directories"
	if !has(capability.DACReadSearch) {
		return Finding{subject, Warning, "missing: CAP_DAC_READ_SEARCH: of a program that ends at once, in a directory that is closed to this user, it cannot be read whether the file carries capabilities; the report names such programs", remedyFor(capability.DACReadSearch)}
	}
	return ok(subject, "all can be searched: CAP_DAC_READ_SEARCH")
}

func remedyFor(c capability.Capability) string {
	remedy := fmt.Sprintf("run capmon with sudo; in a container, docker run --cap-add=%v", c)
	if c == capability.BPF || c == capability.Perfmon {
		remedy += " (Docker before 23 does not know it: --cap-add=SYS_ADMIN)"
	}
	return remedy
}

func has(c capability.Capability) bool {
	have, err := kernel.EffectiveCapabilities()
	return err == nil && have.Has(c)
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
