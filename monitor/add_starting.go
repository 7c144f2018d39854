package monitor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"time"

	"github.com/capmon/capmon/internal/kernel"
)

// addPoll is how often AddStartingContainer looks for the cgroup. A runtime needs some 30 ms between the creation of
// the cgroup and the start of the container's program.
const addPoll = time.Millisecond

// AddStartingContainer is like [Monitor.AddContainer] for a container whose runtime makes the cgroup soon, or has just
// made it. It waits until the cgroup exists or ctx ends. The processes in the cgroup must be of the runtime: none has
// executed the container's program. Otherwise, AddStartingContainer returns an error that wraps [os.ErrExist].
func (m *Monitor) AddStartingContainer(ctx context.Context, where, id string) (cgroup uint64, err error) {
	if path.Clean(where) != where || where == "/" || len(id) > maxAssignedID {
		return 0, fmt.Errorf("the cgroup %s or the ID %.20q is not usable: %w", kernel.ShortPath(where), id, ErrNotInContainer)
	}
	if cgroup, err = m.awaitCgroup(ctx, where); err != nil {
		return 0, err
	}
	if outer, err := m.containerAbove(where); err != nil || outer != "" {
		return 0, errors.Join(err, fmt.Errorf("the cgroup %s is part of the container in %s: %w", kernel.ShortPath(where), kernel.ShortPath(outer), ErrNotInContainer))
	}
	waits := func() bool { return !m.hasStarted(where) }
	if !waits() {
		return 0, fmt.Errorf("the cgroup %s: %w", kernel.ShortPath(where), os.ErrExist)
	}
	m.adding.Lock()
	defer m.adding.Unlock()
	if known, err := m.isAdded(cgroup, id); known || err != nil {
		return cgroup, err
	}
	return cgroup, m.addContainer(where, cgroup, id, waits)
}

// awaitCgroup waits until a cgroup exists.
func (m *Monitor) awaitCgroup(ctx context.Context, where string) (cgroup uint64, err error) {
	ticks := time.NewTicker(addPoll)
	defer ticks.Stop()
	for {
		if cgroup, err = m.cgroups.ID(where); !errors.Is(err, os.ErrNotExist) {
			return cgroup, err
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-ticks.C:
		}
	}
}

// hasStarted reports whether a process in a cgroup, or in one below it, has executed the program of a container. The
// processes of a runtime either have the root directory of the host, or have not executed a program since they were
// forked.
func (m *Monitor) hasStarted(where string) bool {
	pids, err := processesBelow(m.cgroups, where)
	if err != nil {
		return true
	}
	return slices.ContainsFunc(pids, func(pid int) bool {
		workload, err := isWorkload(pid, pids)
		return err == nil && workload && !waitsForStart(pid)
	})
}
