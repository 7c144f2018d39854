package seccomp

import (
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/capability"
)

func of(capabilities ...capability.Capability) (set capability.Set) {
	for _, c := range capabilities {
		set = set.With(c)
	}
	return set
}

func current(t *testing.T) *Profile { return version(t, "28.5.2") }

func version(t *testing.T, engine string) *Profile {
	t.Helper()
	p, err := Default(engine)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestNeedOfDockersDefault(t *testing.T) {
	newUser := [6]uint64{unix.CLONE_NEWUSER}
	all := capability.Known(capability.CheckpointRestore)
	for name, test := range map[string]struct {
		engine  string
		granted capability.Set
		call    string
		args    [6]uint64
		errno   unix.Errno
		need    capability.Set
		other   bool
	}{
		"memory policy":                     {granted: of(capability.SysNice, capability.Chown), call: "mbind", need: of(capability.SysNice)},
		"another failure":                   {granted: of(capability.SysNice), call: "mbind", errno: unix.EFAULT, need: of(capability.SysNice)},
		"the failure of a denied call":      {granted: of(capability.SysNice), call: "mbind", errno: unix.EPERM},
		"not unlocked":                      {granted: of(capability.SysNice), call: "mount", errno: unix.EPERM},
		"allowed to all":                    {granted: all, call: "read"},
		"by one of two":                     {granted: of(capability.Syslog), call: "syslog", need: of(capability.Syslog)},
		"by either of two":                  {granted: all, call: "syslog", need: of(capability.Syslog), other: true},
		"by the wide one alone":             {granted: of(capability.SysAdmin), call: "syslog", need: of(capability.SysAdmin)},
		"a user namespace":                  {granted: of(capability.SysAdmin), call: "unshare", args: newUser, need: of(capability.SysAdmin)},
		"clone of a user namespace":         {granted: of(capability.SysAdmin), call: "clone", args: newUser, need: of(capability.SysAdmin)},
		"clone of a thread":                 {granted: of(capability.SysAdmin), call: "clone", args: [6]uint64{unix.CLONE_VM | unix.CLONE_THREAD}},
		"chroot":                            {granted: all, call: "chroot", need: of(capability.SysChroot)},
		"another's memory":                  {granted: of(capability.SysPtrace), call: "process_vm_readv"},
		"another's memory in 20.10":         {engine: "20.10.24+dfsg1", granted: of(capability.SysPtrace), call: "process_vm_readv", need: of(capability.SysPtrace)},
		"file handles":                      {granted: of(capability.SysAdmin), call: "name_to_handle_at"},
		"file handles in 23.0.6":            {engine: "23.0.6", granted: of(capability.SysAdmin), call: "name_to_handle_at", need: of(capability.SysAdmin)},
		"file handles in 20.10.27":          {engine: "20.10.27", granted: of(capability.SysAdmin), call: "name_to_handle_at"},
		"file handles in 24.0.2":            {engine: "24.0.2", granted: of(capability.SysAdmin), call: "name_to_handle_at", need: of(capability.SysAdmin)},
		"file handles in 24.0.3":            {engine: "24.0.3", granted: of(capability.SysAdmin), call: "name_to_handle_at"},
		"a program":                         {granted: all, call: "bpf", need: of(capability.BPF), other: true},
		"a program in 20.10":                {engine: "20.10.24", granted: all, call: "bpf", need: of(capability.SysAdmin)},
		"file handles of an unknown engine": {engine: "unknown", granted: of(capability.SysAdmin), call: "name_to_handle_at", need: of(capability.SysAdmin)},
	} {
		t.Run(name, func(t *testing.T) {
			engine := test.engine
			if engine == "" {
				engine = "28.5.2"
			}
			need, other, err := version(t, engine).Need(test.granted, test.call, test.args, test.errno)
			if err != nil || need != test.need || (other != nil) != test.other {
				t.Errorf("got %v, other %v, %v, want %v", need, other, err, test.need)
			}
		})
	}
}

func TestNeedOfTwo(t *testing.T) {
	p, err := Parse(`{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "syscalls": [
		{"names": ["read"], "action": "SCMP_ACT_ALLOW"},
		{"names": ["swapon"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_TIME", "CAP_SYS_NICE"]}}]}`)
	if err != nil {
		t.Fatal(err)
	}
	granted := of(capability.SysTime, capability.SysNice, capability.Chown)
	if need, _, err := p.Need(granted, "swapon", [6]uint64{}, unix.EPERM); err != nil || need != of(capability.SysTime, capability.SysNice) {
		t.Errorf("got %v, %v", need, err)
	}
	if need, _, err := p.Need(granted, "swapon", [6]uint64{}, unix.ENOSYS); err != nil || !need.Empty() {
		t.Errorf("the call ended as it would have without the capability, but got need %v, %v", need, err)
	}
}

// A caller may change the result without changing the cached one.
func TestUnlockedReturnsACopyOfTheCachedResult(t *testing.T) {
	p := current(t)
	first, err := p.Unlocked(of(capability.SysNice))
	if err != nil || len(first) == 0 {
		t.Fatal(first, err)
	}
	want := slices.Clone(first)
	first[0].Name = "changed"
	if again, err := p.Unlocked(of(capability.SysNice)); err != nil || !slices.Equal(again, want) {
		t.Errorf("got %v, %v, want %v", again, err, want)
	}
}

func TestUnlocked(t *testing.T) {
	defaults, err := capability.Granted(nil, nil, false, capability.CheckpointRestore)
	if err != nil {
		t.Fatal(err)
	}
	if calls, err := current(t).Unlocked(defaults); err != nil || len(calls) != 0 {
		t.Errorf("Docker's default grants unlock %v, %v", calls, err)
	}
	calls, err := current(t).Unlocked(of(capability.SysNice))
	if err != nil || len(calls) != 4 || calls[0].Name != "get_mempolicy" {
		t.Errorf("SYS_NICE unlocks %v, %v", calls, err)
	}
	calls, err = current(t).Unlocked(of(capability.SysAdmin))
	if err != nil {
		t.Fatal(err)
	}
	masks := make(map[string]uint64)
	for _, call := range calls {
		masks[call.Name] = call.Masks[0]
	}
	if mask, ok := masks["clone"]; !ok || mask != 0x7e020000 {
		t.Errorf("the mask of clone is %#x", mask)
	}
	if unlocking, err := current(t).Unlocking(defaults.With(capability.SysTime)); err != nil || unlocking != of(capability.SysTime) {
		t.Errorf("Unlocking returned %v, %v", unlocking, err)
	}
}

func TestUnlockedIncludesCallsDeniedWithoutACapability(t *testing.T) {
	p, err := Parse(`{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
		{"names": ["swapon"], "action": "SCMP_ACT_ERRNO", "excludes": {"caps": ["CAP_SYS_TIME"]}}]}`)
	if err != nil {
		t.Fatal(err)
	}
	if calls, err := p.Unlocked(of(capability.SysTime)); err != nil || len(calls) != 1 || calls[0].Name != "swapon" {
		t.Errorf("got %v, %v", calls, err)
	}
}

func TestConditions(t *testing.T) {
	p, err := Parse(`{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
		{"names": ["two"], "action": "SCMP_ACT_ERRNO", "excludes": {"caps": ["CAP_SYS_TIME"]},
		 "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}, {"index": 1, "value": 2, "op": "SCMP_CMP_EQ"}]},
		{"names": ["either"], "action": "SCMP_ACT_ERRNO", "excludes": {"caps": ["CAP_SYS_TIME"]},
		 "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}, {"index": 0, "value": 2, "op": "SCMP_CMP_EQ"}]}]}`)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		call   string
		args   [6]uint64
		needed bool
	}{
		{"two", [6]uint64{1, 2}, true}, {"two", [6]uint64{1, 3}, false},
		{"either", [6]uint64{1}, true}, {"either", [6]uint64{2}, true}, {"either", [6]uint64{3}, false},
	} {
		need, _, err := p.Need(of(capability.SysTime), test.call, test.args, 0)
		if err != nil || need.Empty() == test.needed {
			t.Errorf("%s%v needs %v, %v", test.call, test.args, need, err)
		}
	}
}

func TestUnconfined(t *testing.T) {
	p, err := Parse(Unconfined)
	if err != nil {
		t.Fatal(err)
	}
	if calls, err := p.Unlocked(of(capability.SysAdmin)); err != nil || len(calls) != 0 {
		t.Errorf("unlocked: %v, %v", calls, err)
	}
	if need, _, err := p.Need(of(capability.SysAdmin), "mount", [6]uint64{}, 0); err != nil || !need.Empty() {
		t.Errorf("needed: %v, %v", need, err)
	}
}

func TestParseRejectsInvalidProfiles(t *testing.T) {
	for _, body := range []string{"", "{", `{"syscalls": 1}`} {
		if _, err := Parse(body); err == nil {
			t.Errorf("%q was accepted as a profile", body)
		}
	}
}
