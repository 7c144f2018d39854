package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/internal/uses"
)

// holding starts a container and waits until it prints that it is ready.
func holding(t *testing.T, name, command string, options ...string) {
	t.Helper()
	mustExecute(t, slices.Concat([]string{"docker", "run", "-d", "--name", name}, options, []string{"bb"}, sh(command))...)
	t.Cleanup(func() { mustExecute(t, "docker", "rm", "-f", name) })
	eventually(t, name+" is ready", func() bool {
		return strings.Contains(mustExecute(t, "docker", "logs", name), "ready")
	})
}

// pidfdOfThread makes a call that works since Linux 6.9.
func pidfdOfThread() error {
	fd, err := unix.PidfdOpen(os.Getpid(), unix.O_EXCL)
	if err == nil {
		err = unix.Close(fd)
	}
	return err
}

// open returns the raw sockets of containers that were already open, as NAME FAMILY COUNT by PROGRAM.
func open(uses []uses.Use, prefix string) (all []string) {
	for _, use := range uses {
		if name, ours := strings.CutPrefix(use.Container.Name, prefix); ours && use.Open {
			all = append(all, fmt.Sprintf("%s %s %d by %s", name, use.Family, use.Count, use.Process.Program))
		}
	}
	slices.Sort(all)
	return all
}

// watch reports raw sockets that were already open, with the container of the process that holds them: in any network
// namespace, and with any number of other files.
func TestRawSocketsAlreadyOpenAreReported(t *testing.T) {
	t.Parallel()
	// These are not raw sockets. The container also holds the network namespace that the others share.
	holding(t, "live-open-plain", "probe hold 2 1 6 1 & probe hold 2 2 1 1 & probe hold 16 3 0 1 & probe hold 2 2 17 3 & wait")
	shared := "--network=container:live-open-plain"
	holding(t, "live-open-four", "probe hold 2 3 1 1 & probe hold 10 3 58 2 & probe hold 17 2 768 3 & probe hold 44 3 0 1 & wait", shared)
	holding(t, "live-open-host", "probe named sniffer hold 17 3 768 2", "--network=host")
	holding(t, "live-open-many", "probe juggle 10000 hold 2 3 6 1", shared)
	holding(t, "live-open-apart", "probe hold-apart 2 3 1 1", "--security-opt=seccomp=unconfined")
	eventually(t, "all are ready", func() bool { // each hold prints it
		return strings.Count(mustExecute(t, "docker", "logs", "live-open-four"), "ready") == 4
	})
	text := watchLiveAt(t, os.Getenv("DOCKER_HOST"), "--container", "live-open-four")
	l := watchLive(t, "--container", "live-open-*", "--cap", "NET_RAW", "--granted-only")
	denied := watchLive(t, "--container", "live-open-*", "--denied-only")
	mustExecute(t, "docker", "exec", "live-open-four", "probe", "rawsock") // does not stay open
	want := []string{
		"apart IPv4 1 by probe", "four IPv4 1 by probe", "four IPv6 2 by probe", "four XDP 1 by probe", "four packet 3 by probe",
		"host packet 2 by sniffer", "many IPv4 1 by probe",
	}
	seesThreads := !errors.Is(pidfdOfThread(), unix.EINVAL)
	if !seesThreads {
		want = want[1:]
	}
	l.of("live-open-many")
	r := l.interrupt()
	all := l.uses()
	if got := open(all, "live-open-"); r.code != 0 || !slices.Equal(got, want) {
		t.Errorf("exit code %d, got %q, wanted %q\n%s", r.code, got, want, r.stderr)
	}
	if warned := strings.Contains(r.stderr, "Linux 6.9"); warned == seesThreads {
		t.Error(r.stderr)
	}
	opened := 0
	for _, use := range all {
		if !use.Open {
			opened++
			continue
		}
		p := use.Process
		if use.Class != "" || use.Call != "" || !use.First || !use.Granted || !use.RawSocket || use.Capability.String() != "NET_RAW" ||
			p.Executable != "/bin/probe" || p.InnerPID == 0 || p.PID == 0 || p.User == nil || *p.User != 0 || use.Container.Image != "bb:latest" {
			t.Errorf("%+v", use)
		}
	}
	if opened != 1 {
		t.Errorf("%d new sockets were reported, wanted 1", opened)
	}
	for line := range strings.Lines(l.lines.String()) {
		valid(t, "watch", line)
	}
	denied.interrupt()
	if got := open(denied.uses(), "live-open-"); len(got) > 0 {
		t.Errorf("with --denied-only: %q", got)
	}
	text.interrupt()
	if shown := text.lines.String(); strings.Count(shown, "  NET_RAW  already open  raw socket (") != 4 || !strings.Contains(shown, "(2 more)") {
		t.Error(shown)
	}
}

// Finding open raw sockets needs no additional capabilities.
func TestOpenRawSocketsAreReportedWithTheLeastCapabilities(t *testing.T) {
	t.Parallel()
	holding(t, "live-held-least", "probe hold 2 3 1 2")
	for name, uid := range map[string]uint32{"root": 0, "nobody": nobody} {
		l := &livewatch{}
		l.observation = watchBy(t, func(cmd *exec.Cmd) error {
			cmd.Stdout = &l.lines
			return restricted(least, uid)(cmd)
		}, binary, "watch", "-o", "json", "--container", "live-held-least")
		l.of("live-held-least")
		r := l.interrupt()
		if got := open(l.uses(), "live-held-"); !slices.Equal(got, []string{"least IPv4 2 by probe"}) || strings.Contains(r.stderr, "capmon may not report all raw sockets") {
			t.Errorf("as %s: %q\n%s", name, got, r.stderr)
		}
	}
}
