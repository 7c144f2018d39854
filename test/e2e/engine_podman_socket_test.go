package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// serve starts Podman's service until the end of the test. It returns the address.
func (p privatePodman) serve() string {
	p.t.Helper()
	socket := filepath.Join(p.t.TempDir(), "podman.sock")
	address := "unix://" + socket
	service := exec.Command(p.command, "system", "service", "--time=0", address)
	if err := service.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		_ = service.Process.Kill()
		_ = service.Wait()
	})
	eventually(p.t, "Podman's service listens", func() bool {
		connection, err := net.Dial("unix", socket)
		if err == nil {
			_ = connection.Close()
		}
		return err == nil
	})
	return address
}

// at runs capmon with these engines. docker and podman are addresses.
func at(t *testing.T, docker, podman string, args ...string) result {
	t.Helper()
	return execute(t, append([]string{"env", "DOCKER_HOST=" + docker, "CONTAINER_HOST=" + podman, binary}, args...)...)
}

// grantsOf returns what an audit says about the grants, by the name of the container.
func grantsOf(t *testing.T, r result) map[string][]string {
	t.Helper()
	var audit struct {
		Containers []struct {
			Name, Engine string
			Grants       struct{ Set []string }
		}
	}
	if err := json.Unmarshal([]byte(r.stdout), &audit); err != nil {
		t.Fatalf("%v: %s%s", err, r.stdout, r.stderr)
	}
	grants := make(map[string][]string)
	for _, c := range audit.Containers {
		grants[c.Engine+" "+c.Name] = c.Grants.Set
	}
	return grants
}

// Podman's answers in Docker's words have the differences from Podman's default capabilities.
func TestAuditThroughPodmansSocket(t *testing.T) {
	t.Parallel()
	p := newPrivatePodman(t)
	address := p.serve()
	p.start("psa-chown", chownOnly, "sleep", "1000")
	p.start("psa-default", nil, "sleep", "1000")
	p.must("create", "--name=psa-none", "--cap-drop=ALL", "bb", "true")
	p.must("pod", "create", "--name=psa-pod", "--infra-name=psa-infra")
	p.must("run", "--detach", "--pod=psa-pod", "--name=psa-member", "--cap-drop=NET_RAW", "bb", "sleep", "1000")
	var withoutRaw []string
	for _, name := range podmanDefault() {
		if name != "NET_RAW" {
			withoutRaw = append(withoutRaw, name)
		}
	}
	for _, flags := range [][]string{{"--static"}, {"--for=2s"}} {
		for _, engines := range [][2]string{{address, ""}, {noEngine(t), address}} {
			r := at(t, engines[0], engines[1], append([]string{"audit", "-o", "json"}, flags...)...)
			grants := grantsOf(t, r)
			if len(grants) != 4 {
				t.Errorf("%v at %v: %v, want 4 containers without the sandbox\n%s", flags, engines, grants, r.stderr)
			}
			same(t, "chown", grants["podman psa-chown"], caps("CHOWN"))
			same(t, "default", grants["podman psa-default"], podmanDefault())
			same(t, "member", grants["podman psa-member"], withoutRaw)
			same(t, "none", grants["podman psa-none"], []string{})
		}
	}
	r := at(t, address, "", "audit", "--static", "psa-default")
	if strings.Contains(r.stdout, "docker") || !strings.Contains(r.stdout, "--container=psa-default # while it records, replace the container") {
		t.Errorf("the advice is not for podman: %s", r.stdout)
	}
}

// silentSocket is a socket that accepts connections and never answers.
func silentSocket(t *testing.T) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "podman.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			if _, err := listener.Accept(); err != nil {
				return
			}
		}
	}()
	return socket
}

// withSocketOfRoot executes its arguments with another socket as that of root's Podman session.
const withSocketOfRoot = `
	mount -t tmpfs -o mode=755 run /run/user
	mkdir -p -m 755 /run/user/0/podman
	touch /run/user/0/podman/podman.sock
	mount --bind "$1" /run/user/0/podman/podman.sock
	shift
	exec "$@"`

// Three engines and a fourth one that never answers: each container has its name and engine.
func TestSeveralEngines(t *testing.T) {
	t.Parallel()
	p, c := newPrivatePodman(t), newPrivateContainerd(t)
	address := p.serve()
	if err := os.MkdirAll("/run/user", 0o755); err != nil {
		t.Fatal(err)
	}
	capmon := func(args ...string) []string {
		return append([]string{
			"env", "CONTAINER_HOST=" + address, "CONTAINERD_ADDRESS=" + c.address, "unshare", "--mount", "--propagation=private",
			"sh", "-ec", withSocketOfRoot, "sh", silentSocket(t), binary,
		}, args...)
	}
	p.start("sev-podman-before", chownOnly, "sleep", "1000")
	c.start("sev-containerd-before", nil, "sleep", "1000")
	p.must("pod", "create", "--name=sev-pod", "--infra-name=sev-podman-infra")
	run := func(name string) []string { return []string{"run", "--rm", "--name=" + name, "--label=from=" + name} }
	before := time.Now()
	observation := watchBy(t, func(cmd *exec.Cmd) error { return cmd.Start() }, capmon("profile", "-o", "json", "--keep-label=from", "--container=sev-*")...)
	if late := time.Since(before); late > 30*time.Second {
		t.Errorf("the silent engine delayed the recording: it began after %v", late)
	}
	for i := range 3 {
		name := fmt.Sprint("sev-podman-", i)
		p.must(append(run(name), "--cap-drop=ALL", "--cap-add=CHOWN", "bb", "sh", "-c", "touch /tmp/x && chown 5 /tmp/x")...)
		mustExecute(t, append(append([]string{"docker"}, run(fmt.Sprint("sev-docker-", i))...), "bb", "chroot", "/", "true")...)
	}
	c.run("sev-containerd", []string{"--cap-drop=CAP_MKNOD"}, "chroot", "/", "true")
	p.must(append(run("sev-podman-member"), "--pod=sev-pod", "bb", "chroot", "/", "true")...)
	r := observation.interrupt()
	if !strings.Contains(r.stderr, "podman at unix:///run/user/0/podman/podman.sock does not answer") {
		t.Errorf("no caution about the silent engine: %s", r.stderr)
	}
	got := parseReport(t, r)
	if len(got) != 10 {
		t.Errorf("got %d containers, wanted 10: %+v", len(got), got)
	}
	c.check(only(t, got, "sev-containerd-before"), containerdDefault())
	one := only(t, got, "sev-containerd")
	c.check(one, without(containerdDefault(), caps("MKNOD")[0]))
	same(t, one.Name+" required", one.Required, caps("SYS_CHROOT"))
	for i := range 3 {
		podman, docker := only(t, got, fmt.Sprint("sev-podman-", i)), only(t, got, fmt.Sprint("sev-docker-", i))
		p.check(podman, caps("CHOWN"))
		same(t, podman.Name+" required", podman.Required, caps("CHOWN"))
		if docker.Engine != "" || docker.Image != "bb:latest" || docker.EngineError != "" {
			t.Errorf("%+v", docker)
		}
		same(t, docker.Name+" required", docker.Required, caps("SYS_CHROOT"))
	}
	member := only(t, got, "sev-podman-member")
	p.check(member, podmanDefault())
	if member.Pod != strings.TrimSpace(p.must("pod", "inspect", "--format={{.ID}}", "sev-pod")) {
		t.Errorf("the pod is %q", member.Pod)
	}

	for _, name := range []string{"sev-podman-before", "sev-containerd-before"} {
		eventually(t, "the completion has "+name, func() bool { return completes(t, name, capmon()...) })
	}

	before = time.Now()
	r = execute(t, capmon("audit", "--static", "-o", "json")...)
	grants := grantsOf(t, r)
	if late := time.Since(before); late > 30*time.Second {
		t.Errorf("the silent engine delayed the audit by %v", late)
	}
	same(t, "granted", grants["podman sev-podman-before"], caps("CHOWN"))
	same(t, "granted", grants["containerd sev-containerd-before"], containerdDefault())
	r = execute(t, capmon("profile", "-o", "json", "--for=1s", "--engine=containerd")...)
	for _, one := range parseReport(t, r) {
		if one.Engine == "" && one.Name != "" {
			t.Errorf("Docker was asked about %s", one.Name)
		}
	}
	c.check(only(t, parseReport(t, r), "sev-containerd-before"), containerdDefault())
}
