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
	r := at(t, address, "", "audit", "--static", "psa-default", "psa-chown")
	if strings.Contains(r.stdout, "docker") || !strings.Contains(r.stdout, "podman restart psa-default") {
		t.Errorf("the advice is not for podman: %s", r.stdout)
	}
}
