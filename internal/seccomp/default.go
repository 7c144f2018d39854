package seccomp

import (
	"encoding/json"
	"fmt"
	"slices"

	moby "github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/mod/semver"
)

// Default returns the default seccomp profile of a Docker engine of the given version. For an unknown version it
// returns the oldest profile, which requires capabilities for more calls.
func Default(engine string) (*Profile, error) {
	profile := moby.DefaultProfile()
	if before(engine, "23.0.0") {
		dropNarrowCapabilities(profile)
	}
	for _, rule := range formerlyRestricted {
		if rule.in(engine) {
			restrict(profile, rule.calls, rule.unlockedBy)
		}
	}
	body, err := json.Marshal(profile)
	if err != nil {
		return nil, fmt.Errorf("writing Docker's seccomp profile: %w", err)
	}
	return Parse(string(body))
}

// dropNarrowCapabilities removes the rules for CAP_BPF and CAP_PERFMON, so that bpf and perf_event_open require
// SYS_ADMIN. Docker's profile before 23.0 did not have these rules.
func dropNarrowCapabilities(profile *moby.Seccomp) {
	profile.Syscalls = slices.DeleteFunc(profile.Syscalls, func(rule *moby.Syscall) bool {
		return rule.Includes != nil && (slices.Contains(rule.Includes.Caps, "CAP_BPF") || slices.Contains(rule.Includes.Caps, "CAP_PERFMON"))
	})
}

// formerlyRestricted are the system calls that older versions of Docker's profile allowed only with a capability, and
// newer ones always (profiles/seccomp/default.json of 20.10 to 28.5). The older profiles never allow the other calls
// that newer ones always allow.
var formerlyRestricted = []struct {
	calls      []string
	unlockedBy string
	in         func(engine string) bool
}{
	{
		calls:      []string{"process_vm_readv", "process_vm_writev"},
		unlockedBy: "CAP_SYS_PTRACE",
		in:         func(engine string) bool { return before(engine, "23.0.0") },
	},
	{
		calls:      []string{"name_to_handle_at"},
		unlockedBy: "CAP_SYS_ADMIN",
		in: func(engine string) bool {
			return before(engine, "20.10.26") || !before(engine, "23.0.0") && before(engine, "23.0.7") ||
				!before(engine, "24.0.0") && before(engine, "24.0.3")
		},
	},
}

// before reports whether version engine is lower than other. A text that is not a version is lower than all versions.
func before(engine, other string) bool { return semver.Compare("v"+engine, "v"+other) < 0 }

// restrict changes the profile so that it allows the calls only with a capability.
func restrict(profile *moby.Seccomp, calls []string, unlockedBy string) {
	for _, rule := range profile.Syscalls {
		if rule.Includes == nil || len(rule.Includes.Caps) == 0 {
			rule.Names = slices.DeleteFunc(rule.Names, func(name string) bool { return slices.Contains(calls, name) })
		}
	}
	profile.Syscalls = append(profile.Syscalls, &moby.Syscall{
		LinuxSyscall: specs.LinuxSyscall{Names: calls, Action: specs.ActAllow},
		Includes:     &moby.Filter{Caps: []string{unlockedBy}},
	})
}
