package audit

import (
	"slices"
	"strings"

	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/findings"
)

// Capabilities is the ID of the audited rule, in the numbering of CIS Docker Benchmark 1.6.0 and later.
const Capabilities = "CIS-5.4"

// capabilitiesRule is the audited rule. The 14 defaults of the engine come from [capability.DockerDefault].
var capabilitiesRule = findings.Rule{
	ID:    Capabilities,
	Title: "Linux kernel capabilities are restricted within containers",
	Rationale: "A capability that the workload never uses helps only an attacker: NET_RAW to forge packets on the container network, " +
		"DAC_OVERRIDE to read every mounted file, SYS_ADMIN to escape from the container. Drop all capabilities that the workload does not need.",
	Impact: "A workload that lacks a needed capability fails, possibly only in an operation that it performs rarely. Derive the list from an observation that " +
		"covers the start, the work and the stop of the workload, and prove it with capmon verify.",
	Remedy: "Run the container with --cap-drop=ALL and one --cap-add for each capability that its profile shows as used (capmon profile, capmon verify).",
	Default: "By default, Docker grants 14 capabilities: AUDIT_WRITE, CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, MKNOD, NET_BIND_SERVICE, NET_RAW, SETFCAP, SETGID, " +
		"SETPCAP, SETUID, SYS_CHROOT",
	References: []string{"CIS Docker Benchmark 5.4", "NIST SP 800-53 CM-6", "NIST SP 800-53 CM-7", "CSCv7 5.2"},
	Tags:       []string{"security", "configuration-management", "containers", "capabilities"},
}

// relatedCheck checks a related rule, which needs only the settings. fault returns what violates the rule, or "".
// inSpec: the OCI specification suffices to know that a container complies.
type relatedCheck struct {
	rule   findings.Rule
	inSpec bool
	fault  func(container.Settings) string
}

var relatedChecks = []relatedCheck{
	{related("CIS-5.5", "Privileged containers are not used", "leave out --privileged", "not privileged"), false, func(s container.Settings) string {
		return when(s.Container.HostConfig.Privileged, "it is privileged: it has all capabilities and devices, and no seccomp or AppArmor profile")
	}},
	{related("CIS-5.10", "The host's network namespace is not shared", "leave out --network=host", "a network namespace of its own"), true, func(s container.Settings) string {
		return when(s.Container.HostConfig.NetworkMode.IsHost(), "it shares the host's network namespace")
	}},
	{related("CIS-5.16", "The host's process namespace is not shared", "leave out --pid=host", "a process namespace of its own"), true, func(s container.Settings) string {
		return when(s.Container.HostConfig.PidMode.IsHost(), "it shares the host's process namespace")
	}},
	{related("CIS-5.17", "The host's IPC namespace is not shared", "leave out --ipc=host", "an IPC namespace of its own"), false, func(s container.Settings) string {
		return when(s.Container.HostConfig.IpcMode.IsHost(), "it shares the host's IPC namespace")
	}},
	{related("CIS-5.21", "The host's UTS namespace is not shared", "leave out --uts=host", "a UTS namespace of its own"), false, func(s container.Settings) string {
		return when(s.Container.HostConfig.UTSMode.IsHost(), "it shares the host's UTS namespace")
	}},
	{related("CIS-5.22", "The default seccomp profile is not disabled", "leave out --security-opt=seccomp=unconfined and --privileged", "the engine's profile"), true, func(s container.Settings) string {
		return when(unconfined(s), "it has no seccomp profile")
	}},
	{related("CIS-5.26", "The container is restricted from acquiring additional privileges", "add --security-opt=no-new-privileges", "not restricted"), true, func(s container.Settings) string {
		return when(!noNewPrivileges(s), "no-new-privileges is not set: set-user-ID programs and file capabilities can raise privileges")
	}},
	{related("CIS-5.31", "The host's user namespace is not shared", "leave out --userns=host", "the setting of the engine"), false, func(s container.Settings) string {
		return when(s.Container.HostConfig.UsernsMode.IsHost(), "it uses the host's user namespace")
	}},
}

func related(id, title, remedy, usual string) findings.Rule {
	return findings.Rule{
		ID: id, Title: title, Remedy: remedy, Default: usual,
		References: []string{"CIS Docker Benchmark " + strings.TrimPrefix(id, "CIS-")}, Tags: []string{"security", "containers"},
	}
}

func when(is bool, text string) string {
	if is {
		return text
	}
	return ""
}

// unconfined reports whether no seccomp profile applies. A privileged container has none unless an option sets one. The
// last option counts.
func unconfined(s container.Settings) bool {
	for _, option := range slices.Backward(s.Container.HostConfig.SecurityOpt) {
		if profile, ok := cutOption(option, "seccomp"); ok {
			return profile == "unconfined"
		}
	}
	return s.Container.HostConfig.Privileged || !slices.ContainsFunc(s.Security, func(option string) bool {
		return strings.HasPrefix(option, "name=seccomp") && !strings.HasSuffix(option, "profile=unconfined")
	})
}

func noNewPrivileges(s container.Settings) bool {
	for _, option := range slices.Backward(s.Container.HostConfig.SecurityOpt) {
		if value, ok := cutOption(option, "no-new-privileges"); ok {
			return value != "false"
		}
	}
	return slices.Contains(s.Security, "name=no-new-privileges")
}

// cutOption returns the value of a security option, with the present separator (=) or the former one (:).
func cutOption(option, key string) (value string, ok bool) {
	rest, ok := strings.CutPrefix(option, key)
	if !ok || rest != "" && rest[0] != '=' && rest[0] != ':' {
		return "", false
	}
	return strings.TrimLeft(rest, "=:"), true
}

// Rules returns all audited rules, CIS 5.4 first.
func Rules() []findings.Rule {
	rules := []findings.Rule{capabilitiesRule}
	for _, check := range relatedChecks {
		rules = append(rules, check.rule)
	}
	return rules
}
