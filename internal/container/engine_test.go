package container

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/capmon/capmon/internal/testutil"
)

// TestMain lets a test run the test binary with an environment of its own. Docker's packages read the environment only
// once.
func TestMain(m *testing.M) {
	if os.Getenv(asProcess) != "" {
		os.Exit(process())
	}
	os.Exit(m.Run())
}

const asProcess = "CAPMON_TEST_PROCESS"

// process connects to Docker and prints the endpoint, or the error. Its arguments are a command to run through a proxy.
// It then prints how many containers were reported.
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

// engine returns the daemon at DOCKER_HOST, which must have the image bb.
func engine(t *testing.T) *Docker {
	t.Helper()
	testutil.NeedDocker(t)
	docker, err := NewDocker(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = docker.Close() })
	return docker
}

// through runs docker commands with a DOCKER_HOST, "" for the engine itself.
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

// output runs a docker command that must succeed and returns its output without surrounding white space.
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

// create creates a container that is removed after the test, and returns its ID.
func (c through) create(args ...string) string {
	c.t.Helper()
	id := c.output(append([]string{"create"}, args...)...)
	c.t.Cleanup(func() { _ = exec.Command("docker", "rm", "-f", id).Run() })
	return id
}

// run starts a container that is removed after the test, and returns its ID.
func (c through) run(args ...string) string {
	c.t.Helper()
	id := c.create(args...)
	c.output("start", id)
	return id
}

// reports has, in order, what the engine returned for each container when a proxy reported it.
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

// proxy starts a proxy that is closed after the test.
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

func TestUnreachableErrorSaysWhatToDo(t *testing.T) {
	for _, test := range []struct {
		err    error
		advice string
	}{
		{fmt.Errorf("dial: %w", os.ErrPermission), "root"},
		{errors.New("connection refused"), "DOCKER_HOST"},
	} {
		err := error(&UnreachableError{"unix:///nowhere", test.err})
		for _, part := range []string{"unix:///nowhere", test.err.Error(), test.advice} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%v: does not contain %q", err, part)
			}
		}
		if !errors.Is(err, test.err) {
			t.Errorf("%v: does not wrap its cause", err)
		}
	}
}
