// Package doctor checks whether capmon can work on this host, and with which restrictions.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/kernel"
	"github.com/capmon/capmon/monitor"
)

// Status is the severity of a [Finding].
type Status string

// The statuses.
const (
	OK Status = "ok"
	// Warning: capmon works, but reports less.
	Warning Status = "warning"
	// Failure: profiling does not work.
	Failure Status = "failure"
)

// Finding is the result of one check.
type Finding struct {
	Subject string `json:"subject"`
	Status  Status `json:"status"`
	Text    string `json:"text"`
	// Remedy is what to do; empty if nothing needs to be done.
	Remedy string `json:"remedy,omitempty"`
}

// Options are the settings of [Examine]. The zero value checks what profiling uses by default.
type Options struct {
	// Monitor are the options of the recording. Examine ignores its Hook.
	Monitor monitor.Options
}

// Examine checks everything that capmon depends on, in the order in which capmon needs it.
func Examine(ctx context.Context, options Options) []Finding {
	tried, err := monitor.TryHooks(options.Monitor)
	return slices.Concat(
		[]Finding{kernelVersion()},
		rights(),
		[]Finding{btf(options.Monitor.BTF)},
		symbols(),
		[]Finding{pointers(), lockdown(), unprivileged(), perfEvents(tried), bpffs(), cgroups(), pidNamespace()},
		hooks(tried, err),
		engines(ctx),
		containersWithoutCgroup(),
	)
}

// VisibilityWarnings returns the findings that explain why capmon does not see containers that are already running, or
// not everything about them. It returns none if capmon sees them.
func VisibilityWarnings() []Finding {
	return slices.DeleteFunc([]Finding{cgroups(), pidNamespace()}, func(f Finding) bool { return f.Status != Warning })
}

// CheckCgroups returns an error unless this process sees the cgroups of the whole machine. Without them, capmon cannot
// know which containers have ended.
func CheckCgroups() error {
	if found := cgroups(); found.Status != OK {
		return fmt.Errorf("%s: %s; %s", found.Subject, found.Text, found.Remedy)
	}
	return nil
}

// Works reports whether profiling works.
func Works(findings []Finding) bool {
	for _, finding := range findings {
		if finding.Status == Failure {
			return false
		}
	}
	return true
}

func ok(subject, format string, args ...any) Finding {
	return Finding{Subject: subject, Status: OK, Text: fmt.Sprintf(format, args...)}
}

func bad(status Status, subject string, err error, remedy string) Finding {
	return Finding{subject, status, err.Error(), remedy}
}

func kernelVersion() Finding {
	const subject = "kernel"
	release, err := checkRelease()
	if err != nil {
		return bad(Failure, subject, err, "upgrade the kernel")
	}
	return ok(subject, "%s (%v or later is needed)", release, kernel.MinimumVersion)
}

func btf(path string) Finding {
	const subject = "BTF"
	if _, err := kernel.LoadBTF(path); err != nil {
		return bad(Failure, subject, err, "boot a kernel that has "+kernel.BTFPath+"; in a container, do not mount anything over this file")
	}
	if path == "" {
		path = kernel.BTFPath
	}
	return ok(subject, "%s", path)
}

func symbols() []Finding {
	const subject = "kernel symbols"
	symbols, err := kernel.LoadSymbols()
	switch {
	case errors.Is(err, kernel.ErrSymbolsHidden):
		return []Finding{bad(Failure, subject, err, "sysctl kernel.kptr_restrict=1, and run capmon with sudo")}
	case err != nil:
		return []Finding{bad(Failure, subject, err, "make /proc/kallsyms visible: systemd hides it with ProtectKernelTunables= and ProcSubset=")}
	}
	return []Finding{ok(subject, "readable in /proc/kallsyms"), callSites(symbols)}
}

// callSites reports how capmon finds the call sites of checks.
func callSites(symbols *kernel.Symbols) Finding {
	const subject = "  call sites"
	if _, ok := symbols.OrcTables(); !ok {
		return Finding{Subject: subject, Status: OK, Text: "capmon walks the stack at every check, which takes longer: only x86 kernels with CONFIG_UNWINDER_ORC have the data for a faster method"}
	}
	return ok(subject, "fexit and tp_btf read them from a cache, and compare one in 1024 with a walk of the stack")
}

func cgroups() Finding {
	const subject = "cgroups"
	found, err := kernel.DetectCgroups()
	if err != nil {
		return bad(Failure, subject, err, "mount -t cgroup2 none /sys/fs/cgroup")
	}
	text := fmt.Sprintf("%s, containers are identified by their cgroups in %s", found.Mode, found.Mount)
	if initial, err := kernel.InInitial(kernel.CgroupNamespace); err == nil && !initial || found.Partial {
		return Finding{subject, Warning, text + ", but this process sees only a part of them: capmon cannot see containers that are already running", "run capmon on the host (docker run --cgroupns=host --volume=/sys/fs/cgroup:/sys/fs/cgroup:ro)"}
	}
	return ok(subject, "%s", text)
}

func pidNamespace() Finding {
	const subject = "pid namespace"
	initial, err := kernel.InInitial(kernel.PIDNamespace)
	switch {
	case err != nil:
		return bad(Warning, subject, err, "mount /proc")
	case !initial:
		return Finding{subject, Warning, "not the host's: capmon cannot inspect containers that are already running", "run capmon on the host (docker run --pid=host)"}
	}
	return ok(subject, "the host's")
}

// hooks returns a finding on whether any hook works and which one is used, and then one for each hook.
func hooks(tried map[monitor.Hook]error, err error) []Finding {
	const subject = "hook"
	if err != nil {
		return []Finding{bad(Failure, subject, fmt.Errorf("not tried: %w", err), "see above")}
	}
	chosen := firstWorking(tried)
	first := ok(subject, "%s", chosen)
	if chosen == "" {
		first = Finding{subject, Failure, "no hook for the kernel's capability check works", "if rights, lockdown or perf events have a failure above, remedy it first; otherwise use Linux 6.14 or later, or a kernel that was built with BPF trampolines or kprobes"}
	}
	findings := []Finding{first}
	for _, hook := range monitor.Hooks() {
		name := "  " + string(hook)
		switch err := tried[hook]; {
		case err != nil:
			findings = append(findings, ok(name, "not available: %v", err))
		case hook == chosen:
			findings = append(findings, ok(name, "works, and is used"))
		default:
			findings = append(findings, ok(name, "works, and would be used if %s did not work", chosen))
		}
	}
	return findings
}

// firstWorking returns the hook that profiling uses: the first that works, "" if none does.
func firstWorking(tried map[monitor.Hook]error) monitor.Hook {
	for _, hook := range monitor.Hooks() {
		if err, was := tried[hook]; was && err == nil {
			return hook
		}
	}
	return ""
}

func docker(ctx context.Context) []Finding {
	const subject = "Docker"
	engine, err := container.NewDocker(ctx)
	var unreachable *container.UnreachableError
	const without = "; without Docker, capmon can profile running containers by ID"
	switch {
	case errors.As(err, &unreachable):
		return []Finding{{subject, Failure, unreachable.Text(), unreachable.Remedy() + without}}
	case err != nil:
		return []Finding{bad(Failure, subject, err, "correct DOCKER_HOST or the docker context"+without)}
	}
	defer engine.Close()
	version, err := engine.Version(ctx)
	if err != nil {
		return []Finding{bad(Failure, subject, err, "see the engine's log")}
	}
	findings := []Finding{ok(subject, "%s", describe(version, engine.Endpoint()))}
	if release, err := kernel.Release(); err == nil && version.Kernel != release {
		findings = append(findings, Finding{"  kernel", Failure,
			fmt.Sprintf("the engine's containers run on kernel %s, not on this one", version.Kernel),
			"run capmon on the machine, or in the virtual machine, where the engine is"})
	}
	if version.Rootless || version.UsernsRemap {
		findings = append(findings, ok("  user namespace", "the engine's containers have their own: --cap-add cannot grant capabilities that the kernel checks in the host's user namespace"))
	}
	if err := engine.CheckLayers(ctx); err != nil {
		findings = append(findings, bad(Warning, "  layers", fmt.Errorf("capmon may not find the files of containers that end soon after their start: %w", err),
			"run capmon as root, or set the group of the socket (gid) in containerd's configuration to a group of capmon's user"))
	}
	return findings
}

func describe(v container.Version, endpoint string) string {
	parts := []string{v.Engine, "API " + v.API, "at " + endpoint, "cgroup driver " + v.CgroupDriver}
	return strings.Join(parts, ", ")
}
