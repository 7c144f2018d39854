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
	"github.com/capmon/capmon/internal/testutil"
)

// Recording system calls slows all processes, so it ends with the last container that needs it.
func TestCallsAreRecordedWhileAContainerHasTheirCapability(t *testing.T) {
	testutil.NeedRoot(t)
	testutil.NeedDocker(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	docker, err := container.NewDocker(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer docker.Close()
	o, err := Start(ctx, Options{Engine: only{docker, []string{"plain", "nice"}}, Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	before := tracing(t)

	run(t, "--name=plain")
	o.Inspect(ctx, id(t, "plain"))
	if now := tracing(t); now != before {
		t.Errorf("%d more programs were attached for Docker's default grants", now-before)
	}
	run(t, "--name=nice", "--cap-add=SYS_NICE")
	o.Inspect(ctx, id(t, "nice"))
	wanted := before + 1
	if preemption, err := kernel.PreemptionOfPrograms(); err != nil || preemption.Tracepoints {
		wanted++ // the second copy of the program
	}
	if now := tracing(t); now != wanted {
		t.Errorf("%d more programs were attached for SYS_NICE, wanted %d", now-before, wanted-before)
	}
	command(t, "docker", "kill", "nice") // and with --rm it is removed
	for tracing(t) != before {           // until the engine has reported it
		select {
		case <-ctx.Done():
			t.Fatal("capmon still records calls after the container's end")
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// An answer of the engine after the end is not an error.
func TestEngineAnswersAfterTheEnd(t *testing.T) {
	testutil.NeedRoot(t)
	testutil.NeedDocker(t)
	docker, err := container.NewDocker(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer docker.Close()
	core, logged := observer.New(zap.WarnLevel)
	o, err := Start(t.Context(), Options{Engine: only{docker, []string{"late-answer"}}, Log: zap.New(core)})
	if err != nil {
		t.Fatal(err)
	}
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	run(t, "--name=late-answer", "--cap-add=SYS_NICE")
	o.Inspect(t.Context(), id(t, "late-answer"))
	if !o.isKnown(id(t, "late-answer")) {
		t.Error("the engine has not reported the container")
	}
	if logged.Len() > 0 {
		t.Errorf("logged %+v", logged.All())
	}
}

// only is an engine that reports some containers. The containers of other tests may have any grants.
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

// tracing returns the number of programs that this process has attached to the kernel's tracepoints.
func tracing(t *testing.T) (n int) {
	t.Helper()
	files, err := filepath.Glob("/proc/self/fdinfo/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		info, _ := os.ReadFile(file) // it may be closed by now
		if strings.Contains(string(info), "link_type:\ttracing") || strings.Contains(string(info), "link_type:\traw_tracepoint") {
			n++
		}
	}
	return n
}

// run starts a container that sleeps until the test ends.
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
