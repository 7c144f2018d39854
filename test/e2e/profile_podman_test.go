package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/capmon/capmon/internal/kernel"
)

// profileOf profiles the containers that a command starts, while no Docker runs. podman is the address of Podman's
// service for the command; empty if there is none.
func profileOf(t *testing.T, podman string, options []string, command ...string) result {
	t.Helper()
	engines := []string{"env", "DOCKER_HOST=" + noEngine(t)}
	if podman != "" { // podman looks for a service if the variable is empty
		engines = append(engines, "CONTAINER_HOST="+podman)
	}
	return execute(t, slices.Concat(engines, []string{binary, "profile", "-o", "json"}, options, []string{"--"}, command)...)
}

// sortedNames returns the names of containers, sorted.
func sortedNames(containers []seen) []string {
	var all []string
	for _, c := range containers {
		all = append(all, c.Name)
	}
	slices.Sort(all)
	return all
}

const cannotTell = "containers started while the command ran, but capmon cannot tell whether the command started them: "

const chownInTmp = "touch /tmp/x && chown 5 /tmp/x"

// podman makes its containers itself. capmon recognizes them among those that others start at the same time.
func TestProfileOfPodmanCommands(t *testing.T) {
	t.Parallel()
	p, c := newPrivatePodman(t), newPrivateContainerd(t)
	p.start("ppc-before", nil, "sleep", "1000")
	p.must("create", "--name=ppc-created", "bb", "sh", "-c", chownInTmp)
	kube := filepath.Join(t.TempDir(), "pod.yaml")
	writeFile(t, kube, `{apiVersion: v1, kind: Pod, metadata: {name: ppc-kube}, spec: {hostNetwork: true, restartPolicy: Never, containers: [
		{name: one, image: "localhost/bb:latest", imagePullPolicy: Never, command: [sh, -c, "`+chownInTmp+`"]},
		{name: two, image: "localhost/bb:latest", imagePullPolicy: Never, command: [chroot, /, "true"]}]}}`)
	script := filepath.Join(t.TempDir(), "script")
	writeFile(t, script, fmt.Sprintf(`set -e
		podman=%s
		$podman run --rm --name=ppc-run bb sh -c '%[2]s'
		(setsid $podman run --rm --name=ppc-orphan bb sh -c '%[2]s' &)
		$podman start --attach ppc-created
		$podman exec ppc-before chroot / true
		$podman restart --time=0 ppc-before
		$podman pod create --name=ppc-pod --infra-name=ppc-infra
		$podman run --rm --pod=ppc-pod --name=ppc-member bb sh -c '%[2]s'
		$podman kube play %[3]s
		docker run --rm --name=ppc-docker bb sh -c '%[2]s'
		while $podman container exists ppc-orphan; do sleep 0.1; done
		while $podman ps --format='{{.Names}}' | grep -q 'ppc-kube-[ot]'; do sleep 0.1; done
		touch %[4]s.done
		`, p.command, chownInTmp, kube, script))
	others := make(chan struct{})
	go func() { // others start containers until the command ends
		defer close(others)
		for i := 0; ; i++ {
			if _, err := os.Stat(script + ".done"); err == nil {
				return
			}
			_ = exec.Command(p.command, "run", "--rm", fmt.Sprint("--name=ppc-other-", i), "bb", "chroot", "/", "true").Run()
			_ = exec.Command(c.ctr, "run", "--rm", containerdImage, fmt.Sprint("ppc-other-", i), "chroot", "/", "true").Run()
		}
	}()
	r := execute(t, "env", "CONTAINERD_ADDRESS="+c.address, binary, "profile", "-o", "json", "--", "sh", script)
	if r.code != exitDone {
		writeFile(t, script+".done", "")
		t.Errorf("exit code %d: %s", r.code, r.stderr)
	}
	<-others
	got := parseReport(t, r)
	want := []string{"ppc-before", "ppc-created", "ppc-docker", "ppc-kube-one", "ppc-kube-two", "ppc-member", "ppc-orphan", "ppc-run"}
	if !slices.Equal(sortedNames(got), want) {
		t.Errorf("got %q, want %q\n%s", sortedNames(got), want, r.stderr)
	}
	for _, name := range want {
		required := caps("CHOWN")
		switch name {
		case "ppc-before":
			required = caps("SYS_CHROOT") // the process of podman exec, before the restart
		case "ppc-kube-two":
			required = caps("SYS_CHROOT")
		}
		one := only(t, got, name)
		same(t, name+" required", one.Required, required)
		if name != "ppc-docker" {
			p.check(one, podmanDefault())
		}
	}
	if !strings.Contains(r.stderr, "because others started them") {
		t.Errorf("no note about the containers of others: %s", r.stderr)
	}
}

// podman --remote sends its requests to the service at CONTAINER_HOST, through capmon.
func TestProfileOfRemotePodman(t *testing.T) {
	t.Parallel()
	p := newPrivatePodman(t)
	address := p.serve()
	p.start("ppr-other", nil, "sleep", "1000")
	p.must("pod", "create", "--name=ppr-started", "--infra-name=ppr-infra")
	p.must("create", "--pod=ppr-started", "--name=ppr-started-member", "bb", "sh", "-c", chownInTmp)
	script := fmt.Sprintf(`set -e
		test "$(echo input | podman --remote run --rm --interactive --name=ppr-run bb sh -c '%[1]s; cat')" = input
		podman create --name=ppr-created bb sh -c '%[1]s'
		podman start --attach ppr-created
		podman run --rm --pod=new:ppr-pod --name=ppr-member bb sh -c '%[1]s'
		podman pod start ppr-started
		podman kube play - <<-'END'
		{apiVersion: v1, kind: Pod, metadata: {name: ppr-kube}, spec: {hostNetwork: true, restartPolicy: Never, containers: [
		{name: one, image: "localhost/bb:latest", imagePullPolicy: Never, command: [sh, -c, "%[1]s"]}]}}
		END
		while podman ps --format='{{.Names}}' | grep -q 'ppr-kube-one\|ppr-started-member'; do sleep 0.1; done
		exit 3`, chownInTmp)
	r := profileOf(t, address, nil, "bash", "-c", script)
	if r.code != 3 {
		t.Errorf("exit code %d, want that of the command: %s", r.code, r.stderr)
	}
	got := parseReport(t, r)
	want := []string{"ppr-created", "ppr-kube-one", "ppr-member", "ppr-run", "ppr-started-member"}
	if !slices.Equal(sortedNames(got), want) {
		t.Errorf("got %q, want %q\n%s", sortedNames(got), want, r.stderr)
	}
	for _, name := range want {
		one := only(t, got, name)
		p.check(one, podmanDefault())
		same(t, name+" required", one.Required, caps("CHOWN"))
	}

	// The client does not use CONTAINER_HOST.
	r = profileOf(t, "", nil, "podman", "--remote", "--url="+address, "run", "--rm", "--name=ppr-hidden", "bb", "true")
	if r.code != exitUsage || r.stdout != "" || !strings.Contains(r.stderr, cannotTell) {
		t.Errorf("%+v", r)
	}
	r = profileOf(t, "", []string{"--all-containers"}, "podman", "--remote", "--url="+address, "run", "--rm", "--name=ppr-hidden", "bb", "true")
	p.check(only(t, parseReport(t, r), "ppr-hidden"), podmanDefault())
}

// ctr does not make its containers itself, and containerd does not report for whom it makes a container.
func TestProfileOfCtrIsAnError(t *testing.T) {
	t.Parallel()
	c := newPrivateContainerd(t)
	profile := func(name string, options ...string) result {
		return execute(t, slices.Concat([]string{"env", "DOCKER_HOST=" + noEngine(t), "CONTAINERD_ADDRESS=" + c.address, binary, "profile", "-o", "json"}, options,
			[]string{"--", c.ctr, "run", "--rm", containerdImage, name, "true"})...)
	}
	if r := profile("pct-one"); r.code != exitUsage || r.stdout != "" || !strings.Contains(r.stderr, cannotTell) {
		t.Errorf("%+v", r)
	}
	c.check(only(t, parseReport(t, profile("pct-two", "--all-containers", "--container=pct-*")), "pct-two"), containerdDefault())
}

// rootless returns the command that runs a podman of the user nobody, with the image bb.
func rootless(t *testing.T) string {
	t.Helper()
	directory, err := os.MkdirTemp("/var/tmp", "rootless-") // podman accepts only short paths
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(directory); err != nil {
			t.Error(err)
		}
	})
	archive := imageArchive(t, "bb")
	writeFile(t, directory+"/containers.conf", `
		[containers]
		default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
		netns = "none"
		[engine]
		cgroup_manager = "cgroupfs"
		events_logger = "file"
		runtime = "runc"`)
	writeFile(t, directory+"/storage.conf", fmt.Sprintf(`
		[storage]
		driver = "vfs"
		graphroot = "%[1]s/root"
		runroot = "%[1]s/run/containers"
		[storage.options.vfs]
		ignore_chown_errors = "true"`, directory))
	writeFile(t, directory+"/podman", fmt.Sprintf(`#!/bin/sh
		cd %[1]s
		exec setpriv --reuid=65534 --regid=65534 --clear-groups env --unset=DOCKER_HOST HOME=%[1]s XDG_RUNTIME_DIR=%[1]s/run \
			CONTAINERS_CONF=%[1]s/containers.conf CONTAINERS_STORAGE_CONF=%[1]s/storage.conf podman "$@"`, directory))
	mustExecute(t, "sh", "-c", fmt.Sprintf("mkdir %[1]s/run && cp %[2]s %[1]s/bb.tar && chmod 755 %[1]s/podman && chmod 644 %[1]s/*.* && chown -R 65534:65534 %[1]s && chmod 755 %[1]s", directory, archive))
	command := directory + "/podman"
	mustExecute(t, command, "load", "--input", directory+"/bb.tar")
	return command
}

// With cgroup v1, the containers of rootless Podman have no cgroup of their own.
func TestProfileNamesContainersThatItCannotSee(t *testing.T) {
	t.Parallel()
	if cgroups, err := kernel.DetectCgroups(); err != nil || cgroups.Controller == "" {
		t.Skip("needs cgroup v1: ", err)
	}
	podman, p := rootless(t), newPrivatePodman(t)
	const want = "containers that the command started with podman have no cgroup of their own, so capmon could not see them: pru-unseen; with cgroup v1"
	unseen := podman + " run --rm --name=pru-unseen localhost/bb chroot / true; "
	r := profileOf(t, "", nil, "sh", "-c", unseen)
	if r.code != exitUsage || r.stdout != "" || !strings.Contains(r.stderr, want) {
		t.Errorf("%+v", r)
	}
	r = profileOf(t, "", nil, "sh", "-c", unseen+p.command+" run --rm --name=pru-seen bb chroot / true")
	if r.code != exitUsage || !strings.Contains(r.stderr, want) {
		t.Errorf("exit code %d: %s", r.code, r.stderr)
	}
	same(t, "required", only(t, parseReport(t, r), "pru-seen").Required, caps("SYS_CHROOT"))
	if r = profileOf(t, "", nil, "sh", "-c", unseen+"exit 7"); r.code != 7 || !strings.Contains(r.stderr, want) {
		t.Errorf("exit code %d: %s", r.code, r.stderr)
	}
}

// The sets are the same as if capmon was running before the containers (TestWorkloadsUnderPodman).
func TestWorkloadsOfPodmanCommands(t *testing.T) {
	t.Parallel()
	p := newPrivatePodman(t)
	run := workloadsOfPodman()
	script := filepath.Join(t.TempDir(), "script")
	var lines strings.Builder
	for _, w := range run {
		line := slices.Concat([]string{p.command, "run", "--rm", "--name=pmc-" + w.name}, w.options, grantAsPodman4, []string{"bb"}, w.command)
		for i, word := range line {
			line[i] = "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
		}
		fmt.Fprintln(&lines, strings.Join(line, " ")+" || exit")
	}
	writeFile(t, script, lines.String())
	r := profileOf(t, "", nil, "sh", script)
	if r.code != exitDone {
		t.Errorf("exit code %d: %s", r.code, r.stderr)
	}
	got := parseReport(t, r)
	if len(got) != len(run) {
		t.Errorf("got %d containers, wanted %d", len(got), len(run))
	}
	for _, w := range run {
		t.Run(w.name, func(t *testing.T) {
			c := only(t, got, "pmc-"+w.name)
			w.check(t, c)
			privatePodman{t, p.command}.check(c, containerdDefault())
			if !c.StartSeen {
				t.Error("capmon did not see the start")
			}
		})
	}
}

func TestVerifyRejectsPodman(t *testing.T) {
	t.Parallel()
	p := newPrivatePodman(t)
	address := p.serve()
	r := at(t, address, "", "verify", "--", "docker", "run", "--rm", "bb", "true")
	if r.code != exitUsage || !strings.Contains(r.stderr, "verify supports only Docker, but Podman answers at "+address) {
		t.Errorf("%+v", r)
	}
	if r = at(t, address, "", "verify", "--", "podman", "run", "--rm", "bb", "true"); r.code != exitUsage || !strings.Contains(r.stderr, "verify supports only Docker") {
		t.Errorf("%+v", r)
	}
}
