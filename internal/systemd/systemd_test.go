package systemd

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capmon/capmon/capability"
)

// The properties have the types that systemd 252 and 257 send.
func TestUnitHasItsProperties(t *testing.T) {
	t.Parallel()
	chown := capability.Of(capability.Chown)
	got := newUnit("web.service", map[string]any{"InvocationID": []byte{1, 0xab}, "ActiveEnterTimestamp": uint64(7)}, map[string]any{
		"ControlGroup": "/system.slice/web.service", "User": "web", "MainPID": uint32(42), "NoNewPrivileges": true,
		"CapabilityBoundingSet": uint64(chown), "AmbientCapabilities": uint64(0), "ExecMainStartTimestamp": uint64(5_000_000),
	})
	want := Unit{
		Name: "web.service", Cgroup: "/system.slice/web.service", User: "web", MainPID: 42, NoNewPrivileges: true,
		Bounding: chown, Known: true, Started: time.Unix(5, 0), InvocationID: "01ab",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	scope := newUnit("run.scope", map[string]any{"ActiveEnterTimestamp": uint64(7_000_000)}, map[string]any{"ControlGroup": "/system.slice/run.scope"})
	if diff := cmp.Diff(Unit{Name: "run.scope", Cgroup: "/system.slice/run.scope", Started: time.Unix(7, 0)}, scope); diff != "" {
		t.Error(diff)
	}
}

func TestOnlyServicesAndScopesHaveProcesses(t *testing.T) {
	t.Parallel()
	for name, valid := range map[string]bool{"a.service": true, "a@b.c.service": true, "a.scope": true, "a.socket": false, "a.slice": false, "a.": false} {
		if _, err := typeOf(name); (err == nil) != valid {
			t.Errorf("%s: %v", name, err)
		}
	}
}
