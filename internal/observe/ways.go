package observe

import (
	"context"
	"maps"
	"slices"

	"github.com/capmon/capmon/internal/kernel"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/untrustedfs"
	"github.com/capmon/capmon/monitor"
)

// How many bytes the ways of one container may take, and those of all.
const (
	waysOfOne = 1 << 19
	waysOfAll = 1 << 24
)

// find follows the path of a file for which a capability was asked: in the root directory
// of the process, or of the container's first one, or after its end where the engine keeps
// the files.
func (o *Observer) find(ctx context.Context, id string, cgroup uint64, use monitor.FileUse) {
	named := profile.NamedBy(cgroup, use)
	o.mu.Lock()
	known := o.ways.of[named].File != nil || o.ways.full(cgroup)
	info, viewer := o.known.infos[id], o.viewer
	processes := []int{int(use.PID), o.firsts[cgroup], info.Pid}
	o.mu.Unlock()
	if known || use.Naming != monitor.ByPath && use.Failed == nil || !use.Base.Known() || use.Cut || use.Base.Cut {
		return
	}
	request := untrustedfs.Path{
		Cgroup: cgroup, Cgroups: o.monitor.Cgroups(), PIDs: processes,
		Base: use.Base.Path, BaseInode: use.Base.File.Inode, Path: use.Path, Follow: !named.Link, Executed: named.Executed,
		Viewer: viewer, Inspected: info.Inspected, Layers: info.Layers, Mounts: info.Mounts,
	}
	answer, ok := o.ask(ctx, cgroup, untrustedfs.Request{Path: &request})
	if !ok {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, earlier := o.ways.of[named]; !earlier || !ofImage(answer.Way) {
		o.ways.put(named, answer.Way)
	}
}

// foundWays are where paths lead, as far as there is room. A container chooses how long they are.
type foundWays struct {
	of    map[profile.Named]kernel.Way
	sizes map[uint64]int // by cgroup
	size  int
}

func newFoundWays() foundWays {
	return foundWays{of: make(map[profile.Named]kernel.Way), sizes: make(map[uint64]int)}
}

// full reports whether there is no room for more ways of a container.
func (f *foundWays) full(cgroup uint64) bool {
	return f.sizes[cgroup] > waysOfOne || f.size > waysOfAll
}

func (f *foundWays) put(named profile.Named, way kernel.Way) {
	grows := way.Size() + len(named.Path)
	if before, known := f.of[named]; known {
		grows = way.Size() - before.Size()
	}
	f.of[named] = way
	f.sizes[named.Cgroup] += grows
	f.size += grows
}

// forget forgets those of containers.
func (f *foundWays) forget(gone map[uint64]bool) {
	maps.DeleteFunc(f.of, func(named profile.Named, _ kernel.Way) bool { return gone[named.Cgroup] })
	for cgroup := range gone {
		f.size -= f.sizes[cgroup]
		delete(f.sizes, cgroup)
	}
}

// ofImage reports whether a way is as the image has it, at least in part.
func ofImage(way kernel.Way) bool {
	return slices.ContainsFunc(way.Directories, func(node kernel.Node) bool { return node.Image }) || way.File != nil && way.File.Image
}

// first notes a process that lives as long as its container, most often.
func (o *Observer) first(cgroup uint64, pid int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.firsts[cgroup] == 0 {
		o.firsts[cgroup] = pid
	}
}
