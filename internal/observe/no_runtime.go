package observe

import (
	"time"

	"go.uber.org/zap"

	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/seccomp"
	"github.com/capmon/capmon/monitor"
)

// AddCommand records a command from its first execve on. It returns the id of the cgroup. The monitor's
// Options.NoRuntime must be set.
func (o *Observer) AddCommand(info container.Info) (cgroup uint64, err error) {
	if cgroup, err = o.monitor.AddCommand(info.Cgroup, info.ID); err != nil {
		return 0, err
	}
	return cgroup, o.addWithoutRuntime(info, cgroup)
}

// AddUnit records a unit of systemd that runs already. It returns the id of the cgroup. The monitor's Options.NoRuntime
// must be set.
func (o *Observer) AddUnit(info container.Info) (cgroup uint64, err error) {
	if cgroup, err = o.monitor.AddUnit(info.Cgroup, info.ID); err != nil {
		return 0, err
	}
	return cgroup, o.addWithoutRuntime(info, cgroup)
}

// addWithoutRuntime records the description of a command or unit. There is no engine that could report it.
func (o *Observer) addWithoutRuntime(info container.Info, cgroup uint64) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	info.Inspected = true
	if info.Seccomp == nil {
		info.Seccomp = seccomp.None() // a filter of the workload or of systemd does not depend on capabilities
	}
	o.fromEngine.infos[info.ID] = info
	o.fromEngine.newContainers[info.ID] = true // nothing remains of an earlier run, unlike in a container
	o.confirm(info, cgroup)
	return o.setGrant(info)
}

// addedWithoutRuntime reports whether a new cgroup belongs to a unit that AddUnit has added: systemd has started the
// unit again.
func (o *Observer) addedWithoutRuntime(event monitor.Event) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	info, known := o.fromEngine.infos[event.ID]
	if !known || info.Kind == "" {
		return false
	}
	o.confirm(info, event.Cgroup)
	if err := o.setGrant(info); err != nil {
		o.log.Warn("storing a unit's granted capabilities in the kernel failed", zap.String("id", info.ID), zap.Error(err))
	}
	return true
}

// RecordExit records the exit status of a command.
func (o *Observer) RecordExit(id string, status int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.fromEngine.recordExit(container.Event{ID: id, Time: time.Now(), ExitStatus: &status})
}
