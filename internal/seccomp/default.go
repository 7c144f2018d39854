package seccomp

import (
	"encoding/json"
	"fmt"
	"slices"

	moby "github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/mod/semver"
)

// Default is the profile that Docker comes with. Of an engine whose version is not
// known it is the oldest, which locks more.
func Default(engine string) (*Profile, error) {
	profile := moby.DefaultProfile()
	if before(engine, "23.0.0") {
		dropNarrow(profile)
	}
	for _, former := range formerly {
		if former.in(engine) {
			lock(profile, former.calls, former.unlockedBy)
		}
	}
	body, err := json.Marshal(profile)
	if err != nil {
		return nil, fmt.Errorf("writing Docker's seccomp profile: %w", err)
	}
	return Parse(string(body))
}

// dropNarrow leaves bpf and perf_event_open to SYS_ADMIN, as it was before Docker knew
// their own capabilities.
func dropNarrow(profile *moby.Seccomp) {
	profile.Syscalls = slices.DeleteFunc(profile.Syscalls, func(rule *moby.Syscall) bool {
		return rule.Includes != nil && (slices.Contains(rule.Includes.Caps, "CAP_BPF") || slices.Contains(rule.Includes.Caps, "CAP_PERFMON"))
	})
}

// formerly are the system calls that Docker's profile has come to allow to everyone
// (profiles/seccomp/default.json of 20.10 to 28.5). Others, the older ones never allow.
var formerly = []struct {
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

// before compares versions; what is none comes before all.
func before(engine, other string) bool { return semver.Compare("v"+engine, "v"+other) < 0 }

// lock leaves the calls to those who have the capability.
func lock(profile *moby.Seccomp, calls []string, unlockedBy string) {
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
