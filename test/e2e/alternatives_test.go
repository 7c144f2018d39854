package e2e

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// mayRaiseLimits reports whether the engine can raise limits. On some machines nobody can. The guests of test-kernels
// can.
func mayRaiseLimits(t *testing.T) bool {
	t.Helper()
	may, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, unix.CAP_SYS_RESOURCE, 0, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	return may == 1
}

// The alternatives that capmon names work: the container fails without the capability, and works with the flags
// instead.
func TestAlternativesReplaceCapabilities(t *testing.T) {
	t.Parallel()
	const image = "alternatives"
	mustExecute(t, slices.Concat([]string{"docker", "run", "--name", image, "bb"}, sh("echo extra:x:77:user >> /etc/group"))...)
	t.Cleanup(func() { mustExecute(t, "docker", "rmi", "-f", image) })
	mustExecute(t, "docker", "commit", image, image)
	mustExecute(t, "docker", "rm", image)
	const echo = "--sysctl=net.ipv4.ping_group_range=0 2147483647"
	for _, test := range []struct {
		name    string
		options []string // of the container
		grants  []string
		command []string
		instead string
		flags   []string
		atStart bool // whether the alternative replaces capabilities that are needed at the start only
	}{
		{
			"ports", []string{"--sysctl=net.ipv4.ip_unprivileged_port_start=1024"}, []string{"--cap-add=NET_BIND_SERVICE"},
			[]string{"probe", "bind", "81"}, "NET_BIND_SERVICE", []string{"--sysctl=net.ipv4.ip_unprivileged_port_start=81"}, false,
		},
		{
			"echo", []string{"--sysctl=net.ipv4.ping_group_range=1 0"}, []string{"--cap-add=NET_RAW"},
			sh("cp /bin/probe /tmp/ping && /tmp/ping echo"), "NET_RAW", []string{echo}, false,
		},
		{
			"user", nil, []string{"--cap-add=SETUID", "--cap-add=SETGID"},
			sh("if [ $(id -u) = 0 ]; then exec su user -c 'id -G | grep -qw 77'; fi; id -G | grep -qw 77"), "SETGID,SETUID", []string{"--user=1000"}, true,
		},
		{
			"nice", nil, []string{"--cap-add=SYS_NICE"},
			[]string{"probe", "setpriority", "5"}, "SYS_NICE", []string{"--ulimit=nice=40"}, false,
		},
		{
			"locked memory", memlock(64), []string{"--cap-add=IPC_LOCK"},
			[]string{"probe", "map-locked", "65537"}, "IPC_LOCK", []string{"--ulimit=memlock=-1"}, false,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			run := func(options ...string) []string {
				return slices.Concat([]string{"docker", "run", "--rm", "--cap-drop=ALL"}, test.options, options, []string{image}, test.command)
			}
			c := profileWithoutGaps(t, run(test.grants...)...)
			found := slices.IndexFunc(c.Alternatives, func(a alternative) bool { return strings.Join(a.InsteadOf, ",") == test.instead })
			switch {
			case found < 0 && test.atStart && c.Skipped: // capmon then does not know what is needed at the start only
			case found < 0 || !slices.Equal(c.Alternatives[found].Flags, test.flags):
				t.Fatalf("wanted %s instead of %s, got %+v; the report is %+v", test.flags, test.instead, c.Alternatives, c)
			}
			if r := execute(t, run()...); r.code == 0 {
				t.Errorf("it works without the capability and the flags: %s", r.stdout)
			}
			r := execute(t, run(test.flags...)...)
			limitFailed := r.code == 125 && strings.Contains(r.stderr, "setting rlimit")
			if r.code != 0 && (!limitFailed || mayRaiseLimits(t)) {
				t.Errorf("exit code %d with %s: %s", r.code, test.flags, r.stderr)
			}
		})
	}
}

// profileWithoutGaps profiles a command that runs one container, and returns the report. As capmon advises, it repeats
// a recording in which the kernel skipped checks. If the processor is very slow, all recordings may have such gaps.
func profileWithoutGaps(t *testing.T, command ...string) (c seen) {
	t.Helper()
	for range 4 {
		r := execute(t, slices.Concat([]string{binary, "profile", "-o", "json", "--"}, command)...)
		if r.code != 0 {
			t.Fatalf("exit code %d: %s", r.code, r.stderr)
		}
		if c = parseReport(t, r)[0]; !c.Skipped {
			break
		}
	}
	return c
}

// A capability that only the seccomp profile requires is not needed with another profile.
func TestAnotherSeccompProfileReplacesACapability(t *testing.T) {
	t.Parallel()
	run := func(options ...string) []string {
		return slices.Concat([]string{"docker", "run", "--rm", "--user=1000", "--cap-drop=ALL"}, options, []string{"bb", "unshare", "-U", "true"})
	}
	r := execute(t, slices.Concat([]string{binary, "profile", "-o", "json", "--"}, run("--cap-add=SYS_ADMIN"))...)
	c := parseReport(t, r)[0]
	if r.code != 0 || len(c.Alternatives) != 1 || !slices.Equal(c.Alternatives[0].InsteadOf, caps("SYS_ADMIN")) ||
		!strings.Contains(strings.Join(c.Cautions, "\n"), "only the seccomp profile requires SYS_ADMIN, not the kernel") {
		t.Errorf("exit code %d, %+v, %q", r.code, c.Alternatives, c.Cautions)
	}
	if r := execute(t, run()...); r.code == 0 {
		t.Error("it works without the capability and the other profile")
	}
	profile := filepath.Join(t.TempDir(), "seccomp.json")
	writeFile(t, profile, `{"defaultAction": "SCMP_ACT_ALLOW"}`)
	mustExecute(t, run("--security-opt=seccomp="+profile)...)
}

// A file's capability must be in the bounding set even where the kernel does not grant it to the process.
func TestNoNewPrivilegesWithAFileCapability(t *testing.T) {
	t.Parallel()
	run := func(options ...string) []string {
		return slices.Concat([]string{"docker", "run", "--rm", "--user=1000", "--security-opt=no-new-privileges", "--cap-drop=ALL", "--cap-add=NET_BIND_SERVICE"},
			options, []string{"bb", "probe-bind", "bind", "81"})
	}
	r := execute(t, slices.Concat([]string{binary, "profile", "-o", "json", "--"}, run("--sysctl=net.ipv4.ip_unprivileged_port_start=1024"))...)
	c := parseReport(t, r)[0]
	if text := strings.Join(c.Cautions, "\n"); r.code == 0 || !strings.Contains(text, "a file carries NET_BIND_SERVICE, but its process gained nothing") ||
		strings.Contains(text, "processes gained") {
		t.Errorf("exit code %d, %q", r.code, c.Cautions)
	}
	mustExecute(t, run("--sysctl=net.ipv4.ip_unprivileged_port_start=81")...)
}

// Whatever is granted, only a privileged container can write sysctls.
func TestSysctlsNeedMoreThanACapability(t *testing.T) {
	t.Parallel()
	run := func(options ...string) []string {
		return slices.Concat([]string{"docker", "run", "--rm", "--network=none"}, options, []string{"bb"}, sh("echo 1 > /proc/sys/net/ipv4/ip_forward"))
	}
	r := execute(t, slices.Concat([]string{binary, "profile", "-o", "json", "--"}, run("--privileged"))...)
	c := parseReport(t, r)[0]
	if r.code != 0 || !strings.Contains(strings.Join(c.Cautions, "\n"), "the container writes sysctls, for which the kernel checks NET_ADMIN") {
		t.Errorf("exit code %d, %q", r.code, c.Cautions)
	}
	if r := execute(t, run("--cap-add=NET_ADMIN")...); r.code == 0 {
		t.Error("the capability suffices")
	}
	const forward = "/proc/sys/net/ipv4/ip_forward"
	set := mustExecute(t, "docker", "run", "--rm", "--network=none", "--cap-drop=ALL", "--sysctl=net.ipv4.ip_forward=1", "bb", "cat", forward)
	if set != "1\n" {
		t.Errorf("with the option the sysctl is %q", set)
	}
}
