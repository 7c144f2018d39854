package monitor

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/bpf"
	"github.com/capmon/capmon/capability"
)

// SetGrant sets the capabilities that the engine granted to the running containers with an ID. The programs attribute a
// credential with at most these capabilities to the container, even if the container's processes have dropped some of
// them. Call SetGrant only for containers that ran before Start: for other containers, the programs have seen the sets
// at the start of the workload. SetGrant returns [ErrClosed] after Close.
func (m *Monitor) SetGrant(id string, granted capability.Set) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return ErrClosed
	}
	var cgroups []uint64
	err := forEachEntry(m.attached.maps.Containers, "containers", func(cgroup *uint64, value *bpf.CapmonContainer) {
		if value.Existed != 0 && entryID(value) == id {
			cgroups = append(cgroups, *cgroup)
		}
	})
	for _, cgroup := range cgroups {
		value := uint64(granted)
		if err := m.attached.maps.Grants.Update(cgroup, &value, ebpf.UpdateAny); err != nil && !errors.Is(err, unix.E2BIG) {
			return fmt.Errorf("setting the grant of container %s: %w", id, err)
		}
	}
	return err
}
