package doctor

import (
	"errors"
	"fmt"
	"strings"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/kernel"
)

// needed are the capabilities that recording needs. BPF and PERFMON are needed to load and attach the programs;
// SYS_ADMIN is accepted in place of both (bpf_capable and perfmon_capable, include/linux/capability.h). SYSLOG is
// needed to read the addresses of kernel functions (kallsyms_show_value, kernel/ksyms_common.c), and SYS_PTRACE to
// inspect the containers' processes (ptrace_may_access, kernel/ptrace.c).
var needed = capability.Of(capability.BPF, capability.Perfmon, capability.Syslog, capability.SysPtrace)

// purposes has the reason for each needed capability.
var purposes = map[capability.Capability]string{
	capability.BPF:       "to load BPF programs into the kernel",
	capability.Perfmon:   "to let BPF programs read the kernel's memory",
	capability.Syslog:    "to read the addresses of the kernel's functions",
	capability.SysPtrace: "to inspect the containers' processes",
}

// RightsError means that this process lacks rights that recording needs.
type RightsError struct {
	// Missing are the capabilities that it lacks. Missing is empty if it has all of them, but in a user namespace where
	// they have no effect on the host's kernel.
	Missing capability.Set
}

// Error implements error. The text is one line that ends with what to do.
func (e *RightsError) Error() string {
	if e.Missing.Empty() {
		return "recording needs rights in the host's user namespace, but this process is in another one: run capmon on the host, with sudo"
	}
	return fmt.Sprintf("recording needs rights that this process lacks (%s): run it with sudo", withPrefix(e.Missing))
}

// Check returns an error if recording cannot work, without trying it. The error wraps kernel.ErrTooOld or a
// [*RightsError].
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

// rights returns a finding on the capabilities that recording needs, or one on each that is missing.
func rights() []Finding {
	const subject = "rights"
	var rightsErr *RightsError
	err := checkOwnRights()
	switch {
	case err == nil:
		return []Finding{ok(subject, "all that recording needs: %s", withPrefix(needed)), directories()}
	case !errors.As(err, &rightsErr):
		return []Finding{bad(Failure, subject, err, "mount -t proc proc /proc")}
	case rightsErr.Missing.Empty():
		return []Finding{{subject, Failure, "this process is not in the host's user namespace, so its capabilities have no effect on the host's kernel", "run capmon on the host, with sudo"}}
	}
	var findings []Finding
	for _, c := range rightsErr.Missing.Sorted() {
		name := withPrefix(capability.Of(c))
		findings = append(findings, Finding{subject, Failure, fmt.Sprintf("missing: %s, which capmon needs %s", name, purposes[c]), remedyFor(c)})
	}
	return findings
}

// directories returns a finding on the capability without which capmon still works, but reports less.
func directories() Finding {
	const subject = "  directories"
	if !hasCapability(capability.DACReadSearch) {
		return Finding{subject, Warning, "missing: CAP_DAC_READ_SEARCH: in directories that this user must not search, capmon cannot read the file capabilities of programs that end at once; the report names such programs", remedyFor(capability.DACReadSearch)}
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

func hasCapability(c capability.Capability) bool {
	have, err := kernel.EffectiveCapabilities()
	return err == nil && have.Has(c)
}

// withPrefix returns the names as in the manual pages, not as in Docker, because these are rights of a process on the
// host.
func withPrefix(set capability.Set) string {
	var names []string
	for _, c := range set.Sorted() {
		names = append(names, "CAP_"+c.String())
	}
	return strings.Join(names, ", ")
}
