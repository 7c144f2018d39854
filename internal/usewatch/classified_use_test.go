package usewatch

import (
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/observe"
	"github.com/capmon/capmon/internal/uses"
	"github.com/capmon/capmon/monitor"
	"github.com/capmon/capmon/syscalls"
)

// ping returns a check as ping of busybox makes it.
func ping(changes ...func(*monitor.Check)) monitor.Check {
	check := monitor.Check{
		Capability: capability.NetRaw, Answer: monitor.Held, Credential: monitor.OwnCredential, Phase: monitor.Workload,
		Stack: []string{"ns_capable", "inet_create", "__sock_create"}, Program: "ping", Count: 1, PID: 4711,
		Call:  syscalls.Call{Arch: syscalls.NativeArch(), Nr: -1},
		First: time.Date(2026, 3, 1, 12, 3, 7, 512e6, time.Local),
	}
	for _, change := range changes {
		change(&check)
	}
	return check
}

func distinctOf(check monitor.Check) observe.DistinctCheck {
	return observe.DistinctCheck{
		ID: strings.Repeat("a", 64), Cgroup: 7, Executable: "/bin/busybox",
		Check: monitor.CheckDetails{Check: check, InnerPID: 12, Parents: []monitor.Parent{{PID: 4700, Program: "sh"}}},
	}
}

// first returns the first use of a check.
func first(check monitor.Check) uses.Use { return usesOf(distinctOf(check), check)[0] }

func TestRawSocketsAreIdentifiedByTheCreatingFunction(t *testing.T) {
	for function, want := range map[string]uses.RawSocket{
		"inet_create": uses.IPv4, "inet6_create": uses.IPv6, "packet_create": uses.Packet, "xsk_create": uses.XDP,
		"sk_setsockopt": "", "do_ip_setsockopt": "", "packet_setsockopt": "",
	} {
		use := first(ping(func(c *monitor.Check) { c.Stack = []string{"ns_capable", function} }))
		if use.Family != want || use.RawSocket != (want != "") {
			t.Errorf("%s: %+v", function, use)
		}
	}
	if use := first(ping(func(c *monitor.Check) { c.Capability = capability.NetAdmin })); use.RawSocket {
		t.Errorf("another capability: %+v", use)
	}
}

func TestSelection(t *testing.T) {
	id := strings.Repeat("a", 64)
	irrelevant := ping(func(c *monitor.Check) {
		c.Capability, c.Stack = capability.SysAdmin, []string{"security_vm_enough_memory_mm"}
	})
	otherCredential := func(c *monitor.Check) { c.ExceedsGrant = true }
	chown := func(c *monitor.Check) { c.Capability, c.Stack = capability.Chown, []string{"setattr_prepare"} }
	denied := func(c *monitor.Check) { c.Answer, c.Forbidden = monitor.NotHeld, 1 }
	tolerated := func(c *monitor.Check) { c.Answer, c.Overruled = monitor.NotHeld, 1 }
	for name, test := range map[string]struct {
		selection Selection
		check     monitor.Check
		want      bool
	}{
		"a need":                               {Selection{}, ping(), true},
		"a denied need":                        {Selection{}, ping(denied), true},
		"tolerated":                            {Selection{}, ping(chown, tolerated), false},
		"tolerated, all selected":              {Selection{All: true}, ping(chown, tolerated), true},
		"irrelevant":                           {Selection{}, irrelevant, false},
		"docker exec --privileged":             {Selection{}, ping(chown, otherCredential), false},
		"docker exec --privileged, raw socket": {Selection{}, ping(otherCredential), true},
		"another capability":                   {Selection{Capabilities: capability.Of(capability.Chown)}, ping(), false},
		"selected capability":                  {Selection{Capabilities: capability.Of(capability.NetRaw)}, ping(), true},
		"granted":                              {Selection{OnlyGranted: true}, ping(denied), false},
		"denied":                               {Selection{OnlyDenied: true}, ping(), false},
		"another container":                    {Selection{IDs: map[string]bool{"b": true}}, ping(), false},
		"selected container":                   {Selection{IDs: map[string]bool{id: true}}, ping(), true},
	} {
		if got := test.selection.wantsUse(first(test.check)); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// A container that the engine has not reported may be the selected one, unless the ID decides.
func TestOnlyTheEngineOrTheIDSelectsAContainer(t *testing.T) {
	web := func(names ...string) Selection {
		filter, err := container.NewFilter(names, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		return Selection{Filter: filter}
	}
	byID := web("a")
	elsewhere := web("web")
	elsewhere.IDs = map[string]bool{"b": true}
	for name, test := range map[string]struct {
		selection       Selection
		info            container.Info
		reported        bool
		wanted, certain bool
	}{
		"selected name":                {web("web"), container.Info{ID: "a", Name: "web"}, true, true, true},
		"another name":                 {web("web"), container.Info{ID: "a", Name: "db"}, true, false, true},
		"another engine's":             {web("web"), container.Info{ID: "a"}, true, false, true},
		"not reported":                 {web("web"), container.Info{ID: "a"}, false, false, false},
		"not reported, selected by ID": {byID, container.Info{ID: "a"}, false, true, true},
		"not reported, wildcard":       {web("a*"), container.Info{ID: "a"}, false, false, false}, // not compared with IDs
		"without a filter":             {Selection{}, container.Info{ID: "a"}, false, true, true},
		"another ID":                   {elsewhere, container.Info{ID: "a"}, false, false, true},
	} {
		if wanted, certain := test.selection.wantsContainer(test.info, test.reported); wanted != test.wanted || certain != test.certain {
			t.Errorf("%s: %v, %v", name, wanted, certain)
		}
	}
}

// If only some denials mattered, those decide. An implicit need of the system call is a use of its own.
func TestMeaningsOfACheck(t *testing.T) {
	check := ping(func(c *monitor.Check) { c.Overruled, c.Forbidden, c.Count, c.Answer = 2, 1, 3, monitor.NotHeld })
	if all := classifiedUses(check); len(all) != 1 || all[0].verdict.Class != classify.Denied || all[0].granted {
		t.Errorf("one denial mattered: %+v", all)
	}
	check = ping(func(c *monitor.Check) {
		c.Capability, c.Stack = capability.SysAdmin, []string{"ns_capable", "map_write"}
		c.Call = syscalls.Call{Arch: syscalls.NativeArch(), Nr: unix.SYS_WRITE, HasArgs: true, Args: [6]uint64{1, monitor.RootMapped}}
	})
	all := classifiedUses(check)
	if len(all) != 2 || all[1].capability != capability.Setfcap || all[1].verdict.Class != classify.Implicit || !all[1].granted {
		t.Errorf("a user namespace map with root: %+v", all)
	}
}
