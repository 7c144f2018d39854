package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/capmon/capmon/internal/doctor"
)

// documentedFor returns the documented command that runs capmon with another engine than Docker, as words. program is
// the path of the command that the tests use, and socket the path of the engine's socket.
func documentedFor(t *testing.T, engine, program, documentedSocket, socket string) []string {
	t.Helper()
	text := strings.ReplaceAll(contents(t, privilegesDoc), "\\\n", "")
	var found []string
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, engine+" run ") {
			found = append(found, line)
		}
	}
	if len(found) != 1 || strings.Count(found[0], documentedSocket) < 2 {
		t.Fatalf("wanted one command of %s with the socket %s: %q", engine, documentedSocket, found)
	}
	words := strings.Fields(strings.Replace(found[0], documentedSocket, socket, 1))
	words[0] = program
	return words
}

// containerOfCapmon is a container of another engine than Docker, in which the tests run capmon.
type containerOfCapmon struct {
	command []string                        // the documented one
	options func(directory string) []string // more of them, to mount the directory and to find the container
	pid     func() string                   // of capmon
}

// profile profiles with other arguments than the documented ones.
func (c containerOfCapmon) profile(t *testing.T, arguments ...string) *observation {
	t.Helper()
	image := slices.IndexFunc(c.command, func(word string) bool { return strings.HasPrefix(filepath.Base(word), "capmon") })
	own := filepath.Dir(t.TempDir()) // of this test alone, as is the ready file in it
	command := slices.Concat(c.command[:image], c.options(own), c.command[image:len(c.command)-1], []string{"-o", "json"}, arguments)
	o := watchBy(t, (*exec.Cmd).Start, command...)
	pid, err := strconv.Atoi(strings.TrimSpace(c.pid()))
	if err != nil {
		t.Fatal(err)
	}
	o.Child, _ = os.FindProcess(pid)
	return o
}

// doctor checks that doctor finds nothing wrong. On a busy machine, an engine may not answer in time.
func (c containerOfCapmon) doctor(t *testing.T) {
	t.Helper()
	command := slices.Concat(c.command[:len(c.command)-2], []string{"doctor", "-o", "json"})
	eventually(t, "doctor finds nothing wrong", func() bool {
		wrong := slices.DeleteFunc(diagnose(t, (*exec.Cmd).Start, command...), func(f doctor.Finding) bool { return f.Status == doctor.OK })
		for _, finding := range wrong {
			t.Logf("%+v", finding)
		}
		return len(wrong) == 0
	})
}

func TestDocumentedContainerOfPodman(t *testing.T) {
	t.Parallel()
	if out, err := makeImage(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	p := newPrivatePodman(t)
	p.must("load", "-i", imageArchive(t, "capmon"))
	p.start("dcp-web", chownOnly, forever...)
	const socket = "/run/podman/podman.sock"
	c := containerOfCapmon{
		command: documentedFor(t, "podman", p.command, socket, strings.TrimPrefix(p.serve(), "unix://")),
		options: func(directory string) []string {
			return []string{"--name=dcp-capmon", "--volume=" + directory + ":" + directory}
		},
		pid: func() string { return p.must("inspect", "--format={{.State.Pid}}", "dcp-capmon") },
	}
	for i, word := range c.command {
		c.command[i] = strings.ReplaceAll(word, "/var/lib/containers/storage", strings.TrimSpace(p.must("info", "--format={{.Store.GraphRoot}}")))
	}
	c.doctor(t)
	observation := c.profile(t, "dcp-web")
	p.must("exec", "dcp-web", "chown", "5", "/tmp")
	one := only(t, parseReport(t, observation.interrupt()), "dcp-web")
	p.check(one, caps("CHOWN"))
	same(t, "required", one.Required, caps("CHOWN"))
	same(t, "unexamined", one.Unexamined, nil)

	// Without the socket, capmon reads the bundles.
	i := slices.IndexFunc(c.command, func(word string) bool { return strings.HasSuffix(word, socket) })
	c.command = slices.Delete(c.command, i-1, i+1)
	observation = c.profile(t, "--container=dcp-*")
	p.must("exec", "dcp-web", "chown", "6", "/tmp")
	p.run("dcp-short", chownOnly, sh("touch /tmp/x && chown 5 /tmp/x")...)
	got := parseReport(t, observation.interrupt())
	for _, name := range []string{"dcp-web", "dcp-short"} {
		one := only(t, got, name)
		p.check(one, caps("CHOWN"))
		same(t, "required", one.Required, caps("CHOWN"))
		same(t, "unexamined", one.Unexamined, nil)
	}
}

func TestDocumentedContainerOfContainerd(t *testing.T) {
	t.Parallel()
	if out, err := makeImage(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	c := newPrivateContainerd(t)
	c.must("image", "import", imageArchive(t, "capmon"))
	c.start("dcc-web", nil, forever...)
	inContainer := containerOfCapmon{
		command: documentedFor(t, "ctr", c.ctr, "/run/containerd/containerd.sock", c.address),
		options: func(directory string) []string {
			return []string{"--mount=type=bind,src=" + directory + ",dst=" + directory + ",options=bind"}
		},
		pid: func() string {
			for line := range strings.Lines(c.must("task", "list")) {
				if fields := strings.Fields(line); fields[0] == "capmon" {
					return fields[1]
				}
			}
			t.Fatal("capmon does not run")
			return ""
		},
	}
	inContainer.doctor(t)
	observation := inContainer.profile(t, "--container=dcc-*")
	c.must("task", "exec", "--exec-id=1", "dcc-web", "chown", "5", "/tmp")
	c.run("dcc-short", nil, sh("touch /tmp/x && chown 5 /tmp/x")...)
	got := parseReport(t, observation.interrupt())
	for _, name := range []string{"dcc-web", "dcc-short"} {
		one := only(t, got, name)
		c.check(one, containerdDefault())
		same(t, "required", one.Required, caps("CHOWN"))
		same(t, "unexamined", one.Unexamined, nil)
	}
}
