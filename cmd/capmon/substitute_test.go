package main

import (
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// mayRaiseLimits: the machine may be one where nobody can, not even the engine. A virtual
// one of test-kernels can.
func mayRaiseLimits(t *testing.T) bool {
	t.Helper()
	may, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, unix.CAP_SYS_RESOURCE, 0, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	return may == 1
}

// What is said to serve in place of a capability does: the container fails without the
// capability, and works with the flags instead.
func TestSubstitutesServe(t *testing.T) {
	const echo = "--sysctl=net.ipv4.ping_group_range=0 2147483647"
	for _, test := range []struct {
		name    string
		options []string // the container's
		grants  []string
		command []string
		instead string
		flags   []string
	}{
		{
			"ports", []string{"--sysctl=net.ipv4.ip_unprivileged_port_start=1024"}, []string{"--cap-add=NET_BIND_SERVICE"},
			[]string{"probe", "bind", "81"}, "NET_BIND_SERVICE", []string{"--sysctl=net.ipv4.ip_unprivileged_port_start=81"},
		},
		{
			"echo", []string{"--sysctl=net.ipv4.ping_group_range=1 0"}, []string{"--cap-add=NET_RAW"},
			[]string{"probe", "echo"}, "NET_RAW", []string{echo},
		},
		{
			"user", nil, []string{"--cap-add=SETUID", "--cap-add=SETGID"},
			[]string{"sh", "-c", "if [ $(id -u) = 0 ]; then exec su user -c true; fi"}, "SETGID,SETUID", []string{"--user=1000:1000"},
		},
		{
			"nice", nil, []string{"--cap-add=SYS_NICE"},
			[]string{"probe", "setpriority", "5"}, "SYS_NICE", []string{"--ulimit=nice=40"},
		},
		{
			"locked memory", memlock(64), []string{"--cap-add=IPC_LOCK"},
			[]string{"probe", "map-locked", "65537"}, "IPC_LOCK", []string{"--ulimit=memlock=-1"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			run := func(options ...string) []string {
				return slices.Concat([]string{"docker", "run", "--rm", "--cap-drop=ALL"}, test.options, options, []string{"bb"}, test.command)
			}
			r := execute(t, slices.Concat([]string{binary, "profile", "-o", "json", "--"}, run(test.grants...))...)
			if r.code != 0 {
				t.Fatalf("exit code %d: %s", r.code, r.stderr)
			}
			c := parseReport(t, r)[0]
			found := slices.IndexFunc(c.Substitutes, func(s substituted) bool { return strings.Join(s.InsteadOf, ",") == test.instead })
			if found < 0 || !slices.Equal(c.Substitutes[found].Flags, test.flags) {
				t.Fatalf("wanted %s instead of %s, got %+v; required %q", test.flags, test.instead, c.Substitutes, c.Required)
			}
			if r := execute(t, run()...); r.code == 0 {
				t.Errorf("it works with neither: %s", r.stdout)
			}
			r = execute(t, run(test.flags...)...)
			refused := r.code == 125 && strings.Contains(r.stderr, "setting rlimit")
			if r.code != 0 && (!refused || mayRaiseLimits(t)) {
				t.Errorf("exit code %d with %s: %s", r.code, test.flags, r.stderr)
			}
		})
	}
}
