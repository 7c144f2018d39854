package observe

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/kernel"
	"github.com/capmon/capmon/internal/testutil"
)

// restartable is an engine with one container. The test sets the engine's process ID and ends its connection.
type restartable struct {
	container.Engine
	pid       atomic.Int64
	inspected chan struct{} // receives when capmon inspects the container
	ended     chan error
}

const onlyContainer = "the only one"

func (r *restartable) PIDs() map[string]int { return map[string]int{"": int(r.pid.Load())} }

func (r *restartable) Version(context.Context) (container.Version, error) {
	return container.Version{}, errors.New("it does not describe itself")
}

func (r *restartable) Events(context.Context, time.Time) (<-chan container.Event, <-chan error) {
	return nil, r.ended
}

func (r *restartable) List(context.Context, bool) ([]container.Info, error) {
	return []container.Info{{ID: onlyContainer, Running: true}}, nil
}

func (r *restartable) Inspect(ctx context.Context, id string) (container.Info, error) {
	if id == onlyContainer {
		select {
		case r.inspected <- struct{}{}:
		case <-ctx.Done():
		}
	}
	return container.Info{}, container.ErrNotFound
}

// A process of a container may get the process ID of an engine that has exited. An engine that starts later has another
// process ID.
func TestObserverUsesTheViewOfTheRunningEngine(t *testing.T) {
	testutil.NeedRoot(t)
	engine := &restartable{inspected: make(chan struct{}), ended: make(chan error)}
	o, err := Start(t.Context(), Options{Log: zap.NewNop(), Engine: engine})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	<-engine.inspected
	for range 2 {
		pid := processWithMounts(t)
		engine.pid.Store(int64(pid))
		engine.ended <- errors.New("the engine has closed the connection")
		<-engine.inspected
		o.mu.Lock()
		got, other := o.fromEngine.procOf(container.Info{}), o.fromEngine.procOf(container.Info{Engine: container.Podman})
		o.mu.Unlock()
		if wanted := fmt.Sprint("/proc/", pid); got != wanted {
			t.Errorf("the observer sees files in %s, not in %s", got, wanted)
		}
		if other != kernel.ProcDirectory(0) {
			t.Errorf("the observer sees files of another engine in %s", other)
		}
	}
}

// processWithMounts starts a process that has a mount namespace of its own.
func processWithMounts(t *testing.T) int {
	t.Helper()
	testutil.NeedRoot(t)
	process := exec.Command("sleep", "1000")
	process.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = process.Process.Kill()
		_ = process.Wait()
	})
	return process.Process.Pid
}
