package e2e

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// livingServer needs CHOWN only at its first start, DAC_OVERRIDE only at its second start, and KILL only to stop.
const livingServer = `
	if [ -e /data/private ]; then ls /data/private; else mkdir -m 700 /data/private && chown 1000 /data/private; fi || exit 1
	trap 'kill $child; wait $child; exit 0' TERM
	su user -c 'echo ready; exec sleep 1000' & child=$!
	wait`

// life has the commands that start a new container, restart it and stop it. The container must end with exit status 0.
type life struct {
	start, restart, stop, logs, status []string
}

func (l life) live(t *testing.T, run func(args ...string) result) {
	t.Helper()
	must := func(args []string) string {
		t.Helper()
		r := run(args...)
		if r.code != 0 {
			t.Fatalf("%q: exit code %d, %s%s", args, r.code, r.stdout, r.stderr)
		}
		return r.stdout
	}
	ready := func(times int) {
		t.Helper()
		eventually(t, "it is ready", func() bool {
			r := run(l.logs...)
			return strings.Count(r.stdout+r.stderr, "ready") == times
		})
	}
	must(l.start)
	ready(1)
	must(l.restart)
	ready(2)
	must(l.stop)
	if status := strings.TrimSpace(must(l.status)); status != "0" {
		t.Errorf("the container ended with %s", status)
	}
}

// The lists that capmon prints after a start, a restart and a stop are sufficient for a start, a restart and a stop,
// with each engine.
func TestListsSufficeForStartRestartAndStop(t *testing.T) {
	t.Parallel()
	name := composeProject(t) + "-server-1"
	file := composeFile(t, `
services:
  server:
    image: bb
    network_mode: none
    stop_grace_period: 1m
    command: [sh, -c, "`+strings.NewReplacer("$", "$$", "\n", " ; ", "\t", "").Replace(strings.TrimSpace(livingServer))+`"]
    volumes: [data:/data]
volumes: {data: {}}
`)
	compose := func(args ...string) []string { return append([]string{"docker", "compose", "-f", file}, args...) }
	ends := []string{"inspect", "--format={{.State.ExitCode}}"}
	byCompose := life{
		start: compose("up", "--detach"), restart: compose("restart"), stop: compose("stop"), logs: []string{"docker", "logs", name},
		status: slices.Concat([]string{"docker"}, ends, []string{name}),
	}
	t.Cleanup(func() { mustExecute(t, compose("down", "--volumes")...) })

	saved := filepath.Join(t.TempDir(), "profile.json")
	ready := func(times string) string {
		return "until [ $(docker logs " + name + " 2>&1 | grep -c ready) = " + times + " ]; do sleep 0.1; done\n"
	}
	mustExecute(t, binary, "profile", "--save", saved, "--", "sh", "-ec",
		strings.Join(byCompose.start, " ")+"\n"+ready("1")+strings.Join(byCompose.restart, " ")+"\n"+ready("2")+strings.Join(byCompose.stop, " "))
	list := grant("CHOWN", "DAC_OVERRIDE", "KILL", "SETGID", "SETUID")

	t.Run("compose", func(t *testing.T) {
		mustExecute(t, compose("down", "--volumes")...)
		mustExecute(t, binary, "flags", "--for", "compose", "--patch", file, saved)
		byCompose.live(t, func(args ...string) result { return execute(t, args...) })
	})
	t.Run("docker", func(t *testing.T) {
		const name = "whole-life"
		flags := strings.Fields(flagsOf(t, saved))
		same(t, "flags", flags, list)
		t.Cleanup(func() { mustExecute(t, "docker", "rm", "--force", "--volumes", name) })
		life{
			start:   slices.Concat([]string{"run", "--detach", "--name", name, "--network=none", "--stop-timeout=60", "-v", "/data"}, flags, []string{"bb", "sh", "-c", livingServer}),
			restart: []string{"restart", name}, stop: []string{"stop", name}, logs: []string{"logs", name}, status: append(ends, name),
		}.live(t, func(args ...string) result { return execute(t, append([]string{"docker"}, args...)...) })
	})
	t.Run("podman", func(t *testing.T) {
		const name = "whole-life"
		podman := startPodman(t)
		flags := strings.Fields(flagsOf(t, "--for", "podman", saved))
		same(t, "flags", flags, list)
		start := slices.DeleteFunc(podmanRun(slices.Concat([]string{"--detach", "--name", name, "--stop-timeout=60", "-v", "/data"}, flags, []string{"bb", "sh", "-c", livingServer})...),
			func(option string) bool { return option == "--rm" })
		t.Cleanup(func() { podman("rm", "--force", "--volumes", name) })
		life{
			start: start, restart: []string{"restart", name}, stop: []string{"stop", name}, logs: []string{"logs", name}, status: append(ends, name),
		}.live(t, podman)
	})
}
