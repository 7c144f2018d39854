package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// runningContainer is a container of an engine that runs until the end of the test.
type runningContainer struct {
	name        string   // in reports
	environment []string // of capmon
	exec        func(command ...string)
	// described: the engine answers, so it names its containers before capmon records them.
	described bool
	settings  string // what capmon flags prints by default, if CHOWN was used
}

// docs/support.md lists the commands that work with each engine.
func TestCommandsWithEveryEngine(t *testing.T) {
	t.Parallel()
	p, c, n := newPrivatePodman(t), newPrivateContainerd(t), newKubernetesNode(t)
	p.start("cwe-podman", nil, forever...)
	c.start("cwe-ctr", nil, forever...)
	member := n.runPod("cwe", "web", map[string]string{}, nil)
	id := member.start("main", []string{"CHOWN", "SYS_CHROOT"}, forever...)
	inPodman := func(command ...string) { p.must(append([]string{"exec", "cwe-podman"}, command...)...) }
	execs := 0
	const options = "--cap-drop=ALL --cap-add=CHOWN"
	for name, one := range map[string]runningContainer{
		"podman-socket":    {"cwe-podman", []string{"CONTAINER_HOST=" + p.serve()}, inPodman, true, options},
		"podman-no-socket": {"cwe-podman", nil, inPodman, false, options},
		"containerd": {"cwe-ctr", []string{"CONTAINERD_ADDRESS=" + c.address}, func(command ...string) {
			execs++
			c.must(append([]string{"task", "exec", fmt.Sprint("--exec-id=", execs), "cwe-ctr"}, command...)...)
		}, true, options},
		"kubernetes": {"cwe/web/main", []string{"CONTAINERD_ADDRESS=" + n.address}, func(command ...string) {
			member.exec(id, command...)
		}, true, "securityContext:\n  capabilities:\n    drop: [ALL]\n    add: [CHOWN]"},
	} {
		t.Run(name, func(t *testing.T) {
			one.environment = append([]string{"DOCKER_HOST=" + noEngine(t)}, one.environment...)
			one.check(t)
		})
	}
}

func (r runningContainer) check(t *testing.T) {
	t.Helper()
	command := slices.Concat([]string{"env"}, r.environment, []string{binary})
	completed := func() bool { return completes(t, r.name, command...) }
	switch {
	case r.described:
		eventually(t, "the completion has "+r.name, completed)
	case completed():
		t.Error("the completion has the name of a container that no engine names")
	}

	file := filepath.Join(t.TempDir(), "profile.json")
	arguments := []string{"profile", "-o", "json", "--save=" + file, r.name}
	if !r.described {
		arguments[len(arguments)-1] = "--container=" + r.name
	}
	observation := watchBy(t, (*exec.Cmd).Start, append(command, arguments...)...)
	r.exec("chown", "5", "/tmp")
	same(t, "required", only(t, parseReport(t, observation.interrupt()), r.name).Required, caps("CHOWN"))
	if text := mustExecute(t, binary, "flags", "--even-if-start-unseen", file); !strings.Contains(text, r.settings) {
		t.Errorf("flags prints by default\n%s", text)
	}

	db := filepath.Join(t.TempDir(), "capmon.db")
	serve := watchBy(t, (*exec.Cmd).Start, append(command, "serve", "--pins=", "--socket=", "--db="+db)...)
	r.exec("chown", "6", "/tmp")
	serve.interrupt()
	same(t, "required by the database", only(t, parseReport(t, execute(t, binary, "report", "-o", "json", "--db="+db)), r.name).Required, caps("CHOWN"))

	rules := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(rules, []byte("rules:\n  - {name: changed-root, capabilities: [SYS_CHROOT]}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.reports(t, append(command, "watch", "-o", "json", "--container="+r.name), `"SYS_CHROOT"`)
	r.reports(t, append(command, "watch", "-o", "json", "--container="+r.name, "--rules="+rules), `"changed-root"`)
}

// completes reports whether a shell completes the name of a container. capmon does not wait long for busy engines.
func completes(t *testing.T, name string, command ...string) bool {
	t.Helper()
	return slices.Contains(strings.Fields(execute(t, append(command, "__complete", "profile", "")...).stdout), name)
}

// reports checks that a command that watches prints a line with the name of the container and a text.
func (r runningContainer) reports(t *testing.T, command []string, text string) {
	t.Helper()
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.Stdout, cmd.Stderr = out, t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Cancel()
		_ = cmd.Wait()
	}()
	eventually(t, "watch prints "+text, func() bool {
		r.exec("chroot", "/", "true")
		for line := range strings.Lines(contents(t, out.Name())) {
			if strings.Contains(line, `"`+r.name+`"`) && strings.Contains(line, text) {
				return true
			}
		}
		return false
	})
}
