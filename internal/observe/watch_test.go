package observe

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/kernel"
)

// Watching system calls costs everybody, so it ends with the containers that it is for.
func TestCallsAreWatchedWhileAContainerIsGrantedTheirCapability(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	docker, err := container.NewDocker(ctx)
	if err != nil {
		t.Fatal("the tests need a Docker daemon at DOCKER_HOST and the image bb, as make test sets up: ", err)
	}
	defer docker.Close()
	o, err := Start(ctx, Options{Engine: only{docker, []string{"plain", "nice"}}, Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	before := tracing(t)

	run(t, "--name=plain")
	o.Learn(ctx, id(t, "plain"))
	if now := tracing(t); now != before {
		t.Errorf("for Docker's default grants %d programs more were attached", now-before)
	}
	run(t, "--name=nice", "--cap-add=SYS_NICE")
	o.Learn(ctx, id(t, "nice"))
	wanted := before + 1
	if preemption, err := kernel.PreemptionOfPrograms(); err != nil || preemption.Tracepoints {
		wanted++ // its understudy
	}
	if now := tracing(t); now != wanted {
		t.Errorf("for SYS_NICE %d programs more were attached, wanted %d", now-before, wanted-before)
	}
	command(t, "docker", "kill", "nice") // and with --rm it is removed
	for tracing(t) != before {           // until the engine has told
		select {
		case <-ctx.Done():
			t.Fatal("the watching has not ended with the container")
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// The engine may tell after the end: that is no trouble.
func TestToldAfterTheEnd(t *testing.T) {
	docker, err := container.NewDocker(t.Context())
	if err != nil {
		t.Fatal("the tests need a Docker daemon at DOCKER_HOST and the image bb, as make test sets up: ", err)
	}
	defer docker.Close()
	core, logged := observer.New(zap.WarnLevel)
	o, err := Start(t.Context(), Options{Engine: only{docker, []string{"told-late"}}, Log: zap.New(core)})
	if err != nil {
		t.Fatal(err)
	}
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	run(t, "--name=told-late", "--cap-add=SYS_NICE")
	o.Learn(t.Context(), id(t, "told-late"))
	if !o.isKnown(id(t, "told-late")) {
		t.Error("the engine has not told")
	}
	if logged.Len() > 0 {
		t.Errorf("logged %+v", logged.All())
	}
}

// only tells of some containers: those of other tests may be granted anything.
type only struct {
	container.Engine
	names []string
}

func (o only) Inspect(ctx context.Context, id string) (container.Info, error) {
	info, err := o.Engine.Inspect(ctx, id)
	if err == nil && !slices.Contains(o.names, info.Name) {
		return container.Info{}, container.ErrNotFound
	}
	return info, err
}

// tracing counts the programs that this process has attached to the kernel's
// tracepoints.
func tracing(t *testing.T) (n int) {
	t.Helper()
	files, err := filepath.Glob("/proc/self/fdinfo/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		info, _ := os.ReadFile(file) // it may have been closed
		if strings.Contains(string(info), "link_type:\ttracing") || strings.Contains(string(info), "link_type:\traw_tracepoint") {
			n++
		}
	}
	return n
}

// run starts a container that does nothing until the test ends.
func run(t *testing.T, options ...string) {
	t.Helper()
	name := strings.TrimPrefix(options[0], "--name=")
	command(t, append(append([]string{"docker", "run", "-d", "--rm"}, options...), "bb", "sleep", "1000")...)
	t.Cleanup(func() { _ = exec.Command("docker", "rm", "-f", name).Run() })
}

func id(t *testing.T, name string) string {
	t.Helper()
	return command(t, "docker", "inspect", "--format={{.Id}}", name)
}

func command(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command(args[0], args[1:]...).Output()
	if err != nil {
		t.Fatalf("%s: %v", strings.Join(args, " "), err)
	}
	return strings.TrimSpace(string(out))
}
