package monitor

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"sync"

	"github.com/cilium/ebpf"

	"github.com/capmon/capmon/bpf"
	"github.com/capmon/capmon/internal/kernel"
)

// expectedContainers has the announced containers. The map in the kernel has those that alone have their path.
type expectedContainers struct {
	mu      sync.Mutex
	kernel  *ebpf.Map           // from CapmonCgroupPath to CapmonExpectedContainer; nil after Close
	paths   map[string]string   // by ID
	ids     map[string][]string // by path
	order   []string            // the IDs, the oldest announcement first
	evicted uint64
}

// ExpectContainer announces a container before the runtime makes its cgroup, which has the path where. When the kernel
// makes that cgroup, the programs recognize it, and record the container from its first check on. This is also so for
// each later start of the container, until ForgetExpected. A cgroup that exists already remains as it is: it may have
// another workload.
//
// If containers with different IDs are announced with the same path, the programs recognize none of them there. At most
// Options.MaxContainers containers can be announced: the oldest announcement gives way to a new one (EvictedExpected).
// The error wraps [os.ErrInvalid] if the path or the ID is too long for the programs. ExpectContainer returns
// [ErrClosed] after Close.
func (m *Monitor) ExpectContainer(where, id string) error {
	if err := checkExpected(where, id); err != nil {
		return err
	}
	recognized, err := m.announce(where, id)
	if err != nil || !recognized {
		return err
	}
	if err := m.addIfJustMade(where, id); !errors.Is(err, os.ErrNotExist) { // not made yet, or removed
		return err
	}
	return nil
}

// announce records an announcement, and reports whether the kernel recognizes the cgroup from now on, although the
// cgroup did not exist before.
func (m *Monitor) announce(where, id string) (recognized bool, err error) {
	e := &m.expected
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.kernel == nil {
		return false, ErrClosed
	}
	if e.paths[id] == where {
		return false, nil
	}
	if err := errors.Join(e.forget(id), e.makeRoom()); err != nil {
		return false, err
	}
	_, err = m.cgroups.ID(where)
	existed := !errors.Is(err, os.ErrNotExist)
	e.add(where, id)
	return !existed && len(e.ids[where]) == 1, e.update(where)
}

func checkExpected(where, id string) error {
	if path.Clean(where) != where || !path.IsAbs(where) || where == "/" {
		return fmt.Errorf("%s is not the path of a container's cgroup: %w", kernel.ShortPath(where), os.ErrInvalid)
	}
	if len(where) >= len(bpf.CapmonCgroupPath{}.Path) || len(id) > maxAssignedID {
		return fmt.Errorf("the cgroup %s or the ID %.20q… is too long: %w", kernel.ShortPath(where), id, os.ErrInvalid)
	}
	return nil
}

// addIfJustMade adds an announced container whose cgroup the kernel may have made right before the announcement: it did
// not exist a moment ago.
func (m *Monitor) addIfJustMade(where, id string) error {
	cgroup, err := m.cgroups.ID(where)
	if err != nil {
		return err
	}
	if outer, err := m.containerAbove(where); err != nil || outer != "" {
		return err
	}
	m.adding.Lock()
	defer m.adding.Unlock()
	if known, err := m.isAdded(cgroup, id); known || err != nil {
		return err
	}
	value := bpf.CapmonContainer{FirstNs: m.clock.Now()}
	if value.Delegated, err = m.cgroups.Delegated(path.Dir(where)); err != nil {
		return err
	}
	return m.storeAdded(where, cgroup, id, value)
}

// ForgetExpected ends the announcements of these containers. It returns [ErrClosed] after Close.
func (m *Monitor) ForgetExpected(ids ...string) error {
	e := &m.expected
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.kernel == nil {
		return ErrClosed
	}
	for _, id := range ids {
		if err := e.forget(id); err != nil {
			return err
		}
	}
	return nil
}

// Expected returns the IDs of the announced containers.
func (m *Monitor) Expected() []string {
	m.expected.mu.Lock()
	defer m.expected.mu.Unlock()
	return slices.Clone(m.expected.order)
}

// EvictedExpected counts the announcements that gave way to newer ones.
func (m *Monitor) EvictedExpected() uint64 {
	m.expected.mu.Lock()
	defer m.expected.mu.Unlock()
	return m.expected.evicted
}

// add adds an announcement to the lists, but not to the kernel's map. The caller holds mu, as for the methods below.
func (e *expectedContainers) add(where, id string) {
	e.paths[id] = where
	e.ids[where] = append(e.ids[where], id)
	e.order = append(e.order, id)
}

// forget ends the announcement of a container, if there is one.
func (e *expectedContainers) forget(id string) error {
	where, known := e.paths[id]
	if !known {
		return nil
	}
	is := func(other string) bool { return other == id }
	delete(e.paths, id)
	e.order = slices.DeleteFunc(e.order, is)
	if e.ids[where] = slices.DeleteFunc(e.ids[where], is); len(e.ids[where]) == 0 {
		delete(e.ids, where)
	}
	return e.update(where)
}

// update stores in the kernel's map which container has a path: the only one that is announced with it, or none.
func (e *expectedContainers) update(where string) (err error) {
	var key bpf.CapmonCgroupPath
	copy(key.Path[:], where)
	if ids := e.ids[where]; len(ids) == 1 {
		var value bpf.CapmonExpectedContainer
		copy(value.Id[:], ids[0])
		err = e.kernel.Put(&key, &value)
	} else if err = e.kernel.Delete(&key); errors.Is(err, ebpf.ErrKeyNotExist) {
		err = nil
	}
	if err != nil {
		return fmt.Errorf("storing which container the cgroup %s is for: %w", kernel.ShortPath(where), err)
	}
	return nil
}

// makeRoom ends the oldest announcement if there is no room for another one.
func (e *expectedContainers) makeRoom() error {
	if len(e.order) < int(e.kernel.MaxEntries()) {
		return nil
	}
	e.evicted++
	return e.forget(e.order[0])
}

// begin reads the announcements in the kernel's map, which an earlier process may have made.
func (e *expectedContainers) begin(announced *ebpf.Map) error {
	e.kernel, e.paths, e.ids = announced, make(map[string]string), make(map[string][]string)
	return forEachEntry(announced, "announced containers", func(key *bpf.CapmonCgroupPath, value *bpf.CapmonExpectedContainer) {
		e.add(cString(key.Path[:]), cString(value.Id[:]))
	})
}

func (e *expectedContainers) end() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.kernel = nil
}
