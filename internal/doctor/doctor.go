// Package doctor examines whether and how capmon can work on this host.
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

// Status is how grave a finding is.
type Status string

// The statuses.
const (
	OK Status = "ok"
	// Warning: capmon works, with less to tell.
	Warning Status = "warning"
	// Failure: profiling cannot work.
	Failure Status = "failure"
)

// Finding is what was found out about one thing that capmon depends on.
type Finding struct {
	Subject string `json:"subject"`
	Status  Status `json:"status"`
	Text    string `json:"text"`
	// Remedy is what to do about it; empty if nothing has to be done.
	Remedy string `json:"remedy,omitempty"`
}

// Options of Examine. The zero value examines what profiling would use.
type Options struct {
	// Monitor as profiling would be started; a Hook in it is not regarded.
	Monitor monitor.Options
}

// Examine looks at everything that capmon depends on, in the order in which it
// is needed.
func Examine(ctx context.Context, options Options) []Finding {
	tried, err := monitor.TryHooks(options.Monitor)
	return slices.Concat(
		[]Finding{kernelVersion()},
		rights(),
		[]Finding{btf(options.Monitor.BTF)},
		symbols(),
		[]Finding{pointers(), lockdown(), unprivileged(), perfEvents(tried), bpffs(), cgroups(), pidNamespace()},
		hooks(tried, err),
		docker(ctx),
	)
}

// Unseen are the findings on why containers that run already are not seen, or not all
// that there is to know of them; none if they are.
func Unseen() []Finding {
	return slices.DeleteFunc([]Finding{cgroups(), pidNamespace()}, func(f Finding) bool { return f.Status != Warning })
}

// CheckCgroups fails unless the cgroups of the whole machine can be seen: without, nobody can
// tell which containers have ended.
func CheckCgroups() error {
	if found := cgroups(); found.Status != OK {
		return fmt.Errorf("%s: %s; %s", found.Subject, found.Text, found.Remedy)
	}
	return nil
}

// Works reports whether profiling can work.
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
		return bad(Failure, subject, err, "boot a kernel that has "+kernel.BTFPath+"; in a container, let nothing be mounted over it")
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
		return []Finding{bad(Failure, subject, err, "let nothing hide /proc/kallsyms, such as systemd's ProtectKernelTunables= and ProcSubset=")}
	}
	return []Finding{ok(subject, "readable in /proc/kallsyms"), callSites(symbols)}
}

// callSites tells how it is found out which kernel function asked.
func callSites(symbols *kernel.Symbols) Finding {
	const subject = "  call sites"
	if _, ok := symbols.OrcTables(); !ok {
		return Finding{Subject: subject, Status: OK, Text: "the stack is walked at every check, which takes longer: only x86 kernels with CONFIG_UNWINDER_ORC tell how else"}
	}
	return ok(subject, "told from memory by fexit and tp_btf, and one in 1024 compared with a walk of the stack")
}

func cgroups() Finding {
	const subject = "cgroups"
	found, err := kernel.DetectCgroups()
	if err != nil {
		return bad(Failure, subject, err, "mount -t cgroup2 none /sys/fs/cgroup")
	}
	text := fmt.Sprintf("%s, containers are told apart by %s", found.Mode, found.Mount)
	if initial, err := kernel.InInitial(kernel.CgroupNamespace); err == nil && !initial || found.Part {
		return Finding{subject, Warning, text + ", of which this process sees only a part: containers that run already are not seen", "run capmon on the host (docker run --cgroupns=host --volume=/sys/fs/cgroup:/sys/fs/cgroup:ro)"}
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
		return Finding{subject, Warning, "not the host's: containers that run already cannot be examined", "run capmon on the host (docker run --pid=host)"}
	}
	return ok(subject, "the host's")
}

// hooks has a finding on whether there is a hook at all and on the one in use,
// then one for each of the others.
func hooks(tried map[monitor.Hook]error, err error) []Finding {
	const subject = "hook"
	if err != nil {
		return []Finding{bad(Failure, subject, fmt.Errorf("not tried: %w", err), "see above")}
	}
	chosen := choice(tried)
	first := ok(subject, "%s", chosen)
	if chosen == "" {
		first = Finding{subject, Failure, "no way to listen to the kernel's capability check works", "use a kernel of 6.14 or later, or one built with BPF trampolines or kprobes; rights, lockdown and perf events, above, may be why"}
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
			findings = append(findings, ok(name, "works, and would be used if %s did not", chosen))
		}
	}
	return findings
}

// choice is the hook that profiling uses: the first that works, "" if none does.
func choice(tried map[monitor.Hook]error) monitor.Hook {
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
	if err != nil {
		return []Finding{bad(Failure, subject, err, "start it or set DOCKER_HOST; without it, containers that run already can be profiled, by ID")}
	}
	defer engine.Close()
	version, err := engine.Version(ctx)
	if err != nil {
		return []Finding{bad(Failure, subject, err, "see the engine's log")}
	}
	findings := []Finding{ok(subject, "%s", describe(version, engine.Endpoint()))}
	if release, err := kernel.Release(); err == nil && version.Kernel != release {
		findings = append(findings, Finding{"  kernel", Failure,
			fmt.Sprintf("the engine's containers run on kernel %s, which is not this one", version.Kernel),
			"run capmon on the machine, or in the virtual machine, where the engine is"})
	}
	if version.Rootless || version.UsernsRemap {
		findings = append(findings, ok("  user namespace", "the engine's containers have one of their own: what the kernel asks of the host's, no --cap-add can grant"))
	}
	if err := engine.CheckLayers(ctx); err != nil {
		findings = append(findings, bad(Warning, "  layers", fmt.Errorf("files of containers that end soon after their start may not be found: %w", err),
			"run capmon as root, or let containerd's configuration give its socket to a group of capmon's user (gid)"))
	}
	return findings
}

func describe(v container.Version, endpoint string) string {
	parts := []string{v.Engine, "API " + v.API, "at " + endpoint, "cgroup driver " + v.CgroupDriver}
	return strings.Join(parts, ", ")
}
