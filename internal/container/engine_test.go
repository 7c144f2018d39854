package container

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestMain lets the test binary be a process whose environment is a test's own:
// Docker's packages read it once.
func TestMain(m *testing.M) {
	if os.Getenv(asProcess) != "" {
		os.Exit(process())
	}
	os.Exit(m.Run())
}

const asProcess = "CAPMON_TEST_PROCESS"

// process connects to Docker and prints where, or the error. Its arguments are a
// command to be run through a proxy, for which it then prints how many containers
// were reported.
func process() int {
	ctx := context.Background()
	docker, err := NewDocker(ctx)
	var unreachable *UnreachableError
	switch {
	case errors.As(err, &unreachable):
		fmt.Println("unreachable:", err)
		return 0
	case err != nil:
		fmt.Println("error:", err)
		return 0
	}
	defer docker.Close()
	fmt.Println("connected:", docker.Endpoint())
	if len(os.Args) == 1 {
		return 0
	}
	reported := 0
	proxy, err := NewProxy(docker, func(context.Context, string) { reported++ })
	if err != nil {
		fmt.Println("error:", err)
		return 1
	}
	cmd := exec.Command(os.Args[1], os.Args[2:]...)
	cmd.Env = append(os.Environ(), "DOCKER_HOST="+proxy.Host(), "DOCKER_TLS_VERIFY=")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		fmt.Println("error:", err)
	}
	if err := proxy.Close(); err != nil {
		fmt.Println("error:", err)
	}
	fmt.Println("reported:", reported)
	return 0
}

// engine is the daemon at DOCKER_HOST, which has to have the image bb.
func engine(t *testing.T) *Docker {
	t.Helper()
	docker, err := NewDocker(t.Context())
	if err == nil {
		_, err = docker.client.ImageInspect(t.Context(), "bb")
	}
	if err != nil {
		t.Fatalf("this test needs a Docker daemon at DOCKER_HOST with the image bb, as make test sets up: %v", err)
	}
	t.Cleanup(func() { _ = docker.Close() })
	return docker
}

// through is a Docker client command line that talks to a host, "" for the
// engine itself.
type through struct {
	t    *testing.T
	host string
}

func (c through) command(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(c.t.Context(), "docker", args...)
	if c.host != "" {
		cmd.Env = append(os.Environ(), "DOCKER_HOST="+c.host)
	}
	return cmd
}

// output of a docker command that has to succeed, without white space around it.
func (c through) output(args ...string) string {
	c.t.Helper()
	cmd := c.command(args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		c.t.Fatalf("docker %s: %v\n%s%s", strings.Join(args, " "), err, out, stderr.Bytes())
	}
	return strings.TrimSpace(string(out))
}

// create makes a container that goes with the test, and returns its ID.
func (c through) create(args ...string) string {
	c.t.Helper()
	id := c.output(append([]string{"create"}, args...)...)
	c.t.Cleanup(func() { _ = exec.Command("docker", "rm", "-f", id).Run() })
	return id
}

// run starts a container that goes with the test, and returns its ID.
func (c through) run(args ...string) string {
	c.t.Helper()
	id := c.create(args...)
	c.output("start", id)
	return id
}

// unused is a name that no container has.
func unused() string { return "capmon-test-" + strings.ToLower(rand.Text()) }

// reports keeps what the engine said of each container when a proxy reported it,
// in this order.
type reports struct {
	mu    sync.Mutex
	infos []Info
}

func (r *reports) all() []Info {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.infos)
}

func (r *reports) ids() []string {
	var ids []string
	for _, info := range r.all() {
		ids = append(ids, info.ID)
	}
	return ids
}

// proxy serves with the test's end.
func proxy(t *testing.T, docker *Docker) (through, *reports) {
	t.Helper()
	seen := &reports{}
	p, err := NewProxy(docker, func(ctx context.Context, id string) {
		info, err := docker.Inspect(ctx, id)
		if err != nil {
			t.Errorf("reported container: %v", err)
		}
		seen.mu.Lock()
		defer seen.mu.Unlock()
		seen.infos = append(seen.infos, info)
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return through{t, p.Host()}, seen
}

// eventually waits for what happens in other goroutines or processes.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(5 * time.Minute); !holds(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("not so after five minutes: %s", what)
		}
	}
}
