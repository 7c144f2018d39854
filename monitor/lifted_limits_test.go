package monitor

import (
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Docker lets all users of a container bind low ports and open ICMP echo sockets, so the kernel makes no check. capmon
// records such calls nevertheless.
func TestCallsThatPassALiftedLimitAreRecorded(t *testing.T) {
	m := start(t, Options{Outcomes: true})
	const seccomp = "--security-opt=seccomp=unconfined" // Docker's profile may not allow socketcall
	const free = "echo${IFS}0>/proc/sys/net/ipv4/ip_unprivileged_port_start"
	for _, test := range []struct {
		command string
		options []string
		want    LiftedCall
		nothing bool
	}{
		{command: "probe bind 80", want: LiftedCall{Limit: LowPort, Family: unix.AF_INET, Protocol: unix.IPPROTO_TCP, Port: 80}},
		{command: "probe bind 1023 10 1", want: LiftedCall{Limit: LowPort, Family: unix.AF_INET6, Protocol: unix.IPPROTO_TCP, Port: 1023}},
		{command: "probe bind 53 2 2", want: LiftedCall{Limit: LowPort, Family: unix.AF_INET, Protocol: unix.IPPROTO_UDP, Port: 53}},
		{command: "probe compat-bind 80", options: []string{seccomp}, want: LiftedCall{Limit: LowPort, Family: unix.AF_INET, Protocol: unix.IPPROTO_TCP, Port: 80}},
		{command: "probe socket 2 2 1", want: LiftedCall{Limit: PingSocket, Family: unix.AF_INET}},
		{command: "probe socket 10 2 58", want: LiftedCall{Limit: PingSocket, Family: unix.AF_INET6}},
		{command: "probe compat-socket 2 2 1", options: []string{seccomp}, want: LiftedCall{Limit: PingSocket, Family: unix.AF_INET}},
		{command: "probe bind 1024", nothing: true},
		{command: "probe bind 0", nothing: true},
		{command: "probe socket 2 2 17", nothing: true}, // UDP
		{command: "probe socket 2 3 1", nothing: true},  // raw: the kernel makes a check
		// The kernel makes a check.
		{command: "probe bind 80", options: []string{"--sysctl=net.ipv4.ip_unprivileged_port_start=1024"}, nothing: true},
		// The kernel denies these calls.
		{command: "probe bind 80", options: []string{"--cap-drop=ALL", "--sysctl=net.ipv4.ip_unprivileged_port_start=1024"}, nothing: true},
		{command: "probe socket 2 2 1", options: []string{"--sysctl=net.ipv4.ping_group_range=1 0"}, nothing: true},
		// A process that makes a network namespace in a user namespace has all capabilities there.
		{command: "unshare -Urn sh -c " + free + ";probe${IFS}bind${IFS}80", options: []string{seccomp, "--security-opt=systempaths=unconfined"}, nothing: true},
	} {
		t.Run(test.command+" "+strings.Join(test.options, " "), func(t *testing.T) {
			t.Parallel()
			id := create(t, append(append(test.options, "bb"), strings.Fields(test.command)...)...)
			_ = exec.CommandContext(t.Context(), "docker", "start", "-a", id).Run() // some are expected to fail
			got := find(t, m, id).Lifted
			if test.nothing {
				if len(got) != 0 {
					t.Errorf("recorded %+v", got)
				}
				return
			}
			if len(got) != 1 || got[0].Program != "probe" || got[0].Count != 1 || got[0].First.IsZero() {
				t.Fatalf("recorded %+v", got)
			}
			got[0] = LiftedCall{Limit: got[0].Limit, Family: got[0].Family, Protocol: got[0].Protocol, Port: got[0].Port}
			if got[0] != test.want {
				t.Errorf("recorded %+v, want %+v", got[0], test.want)
			}
		})
	}
}

// capmon counts all calls and loses none, however many names a container makes up. Beyond the quota, name, family and
// port are left out.
func TestAFloodOfLiftedCallsIsFolded(t *testing.T) {
	m := start(t, Options{Outcomes: true})
	const names = 600
	c := find(t, m, run(t, "bb", "probe", "names", strconv.Itoa(names), "socket", "2", "2", "1"))
	var count uint64
	var folded []LiftedCall
	for _, call := range c.Lifted {
		count += call.Count
		if call.Folding != Unfolded {
			folded = append(folded, call)
		}
	}
	if count != names || c.UnrecordedCalls != 0 || len(c.Lifted) >= names {
		t.Errorf("%d calls of %d in %d entries, %d not recorded", count, names, len(c.Lifted), c.UnrecordedCalls)
	}
	if len(folded) != 1 || folded[0].Limit != PingSocket || folded[0].Family != 0 || folded[0].Program != "" {
		t.Errorf("beyond the quota: %+v", folded)
	}
}
