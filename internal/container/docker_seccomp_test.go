package container

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/seccomp"
)

// locks is a profile that allows swapon only with SYS_TIME.
const locks = `{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
	{"names": ["swapon"], "action": "SCMP_ACT_ERRNO", "excludes": {"caps": ["CAP_SYS_TIME"]}}]}`

// unlocks reports whether the profile allows a call only with a capability.
func unlocks(t *testing.T, p *seccomp.Profile, c capability.Capability, call string) bool {
	t.Helper()
	if p == nil {
		t.Fatal("the profile is not known")
	}
	need, _, err := p.Need(capability.Of(c), call, [6]uint64{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	return need.Has(c)
}

func TestInspectReturnsTheSeccompProfile(t *testing.T) {
	docker := engine(t)
	file := filepath.Join(t.TempDir(), "profile.json")
	if err := os.WriteFile(file, []byte(locks), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		options      []string
		nice, timely bool
	}{
		"engine's default":        {nil, true, false},
		"none":                    {[]string{"--security-opt=seccomp=unconfined"}, false, false},
		"its own":                 {[]string{"--security-opt=seccomp=" + file}, false, true},
		"privileged":              {[]string{"--privileged"}, true, false},
		"privileged with its own": {[]string{"--privileged", "--security-opt=seccomp=" + file}, false, true},
		"another security option": {[]string{"--security-opt=no-new-privileges"}, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			info, err := docker.Inspect(t.Context(), through{t: t}.create(append(test.options, "bb", "true")...))
			if err != nil {
				t.Fatal(err)
			}
			if nice := unlocks(t, info.Seccomp, capability.SysNice, "mbind"); nice != test.nice {
				t.Errorf("mbind needs SYS_NICE: %v", nice)
			}
			if timely := unlocks(t, info.Seccomp, capability.SysTime, "swapon"); timely != test.timely {
				t.Errorf("swapon needs SYS_TIME: %v", timely)
			}
		})
	}
}

func TestEngineSeccomp(t *testing.T) {
	file := filepath.Join(t.TempDir(), "profile.json")
	if err := os.WriteFile(file, []byte(locks), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		security     []string
		nice, timely bool
	}{
		"built in":          {[]string{"name=apparmor", "name=seccomp,profile=builtin"}, true, false},
		"by the old name":   {[]string{"name=seccomp,profile=default"}, true, false},
		"unconfined":        {[]string{"name=seccomp,profile=unconfined"}, false, false},
		"a file":            {[]string{"name=seccomp,profile=" + file}, false, true},
		"not in the kernel": {[]string{"name=cgroupns"}, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := parseEngineSeccomp(test.security, "28.5.2")
			if err != nil {
				t.Fatal(err)
			}
			if unlocks(t, p, capability.SysNice, "mbind") != test.nice || unlocks(t, p, capability.SysTime, "swapon") != test.timely {
				t.Error("wrong profile")
			}
		})
	}
	if _, err := parseEngineSeccomp([]string{"name=seccomp,profile=/nowhere"}, "28.5.2"); err == nil {
		t.Error("a missing file was accepted as a profile")
	}
}
