package reporttest

import (
	"strings"
	"time"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/uses"
)

// Uses returns uses, as capmon watch prints them.
func Uses() map[string]uses.Use {
	full := uses.Use{
		Schema: 2, Time: time.Unix(1700000000, 5e8).UTC(),
		Container:  uses.ContainerRef{ID: strings.Repeat("a", 64), Name: "web", Image: "nginx:1.27", ImageID: "sha256:1", Labels: map[string]string{"a": "b"}},
		Process:    uses.Process{PID: 4711, InnerPID: 12, Program: "ping", Executable: "/bin/busybox", User: new(uint32), Parents: []uses.Parent{{PID: 4700, Program: "sh"}}, MoreParents: true},
		Capability: capability.NetRaw, Class: classify.Required, Granted: true, RawSocket: true, Family: uses.IPv4, Nested: true,
		Call: "socket(AF_INET, SOCK_RAW, ICMP)", Site: "inet_create", Stack: []string{"inet_create"}, Reason: "because", Unsure: "perhaps",
	}
	late := uses.Use{
		Schema: 2, Time: full.Time, Late: true, Container: uses.ContainerRef{ID: full.Container.ID}, Process: uses.Process{PID: 1, Parents: []uses.Parent{}},
		Capability: capability.Chown, Class: classify.Denied, Stack: []string{},
	}
	again := full
	again.Count, again.Since, again.Process = 37, full.Time, uses.Process{Program: "ping", Parents: []uses.Parent{}}
	open := full
	open.First, open.Open, open.Class, open.Call, open.Site, open.Stack = true, true, "", "", "", []string{}
	return map[string]uses.Use{"full": full, "late": late, "again": again, "open": open}
}
