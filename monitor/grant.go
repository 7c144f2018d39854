package monitor

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/bpf"
	"github.com/capmon/capmon/internal/capability"
)

// SetGrant records which capabilities the engine granted to the running containers with an ID. A
// credential with no more than these belongs to the container, whatever its processes have
// dropped since. Only containers that ran before the Monitor started need it: of the others the
// kernel side sees the sets that the runtime gave them. It returns ErrClosed after Close, and is
// safe for concurrent use.
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
			return fmt.Errorf("recording the grant of container %s: %w", id, err)
		}
	}
	return err
}
