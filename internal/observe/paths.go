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

// The limits of the memory for paths, in bytes.
const (
	pathBytesPerContainer = 1 << 19
	pathBytes             = 1 << 24
)

// resolvePath follows the path of a file whose access needed a capability. It starts in the root directory of the
// process, or of the container's first process. If both processes have ended, it starts where the engine stores the
// files.
func (o *Observer) resolvePath(ctx context.Context, id string, cgroup uint64, use monitor.FileUse) {
	named := profile.PathQueryOf(cgroup, use)
	o.mu.Lock()
	known := o.files.paths.walks[named].File != nil || o.files.paths.full(cgroup)
	info := o.fromEngine.infos[id]
	engineProc := o.fromEngine.procOf(info)
	processes := []int{int(use.PID), o.files.firstProcesses[cgroup], info.Pid}
	o.mu.Unlock()
	if known || use.Naming != monitor.ByPath && use.Failed == nil || !use.Base.Known() || use.Cut || use.Base.Cut {
		return
	}
	request := untrustedfs.Path{
		Cgroup: cgroup, Cgroups: o.lookups.cgroups, PIDs: processes,
		Base: use.Base.Path, BaseInode: use.Base.File.Inode, Path: use.Path, Follow: !named.Link, Executed: named.Executed,
		EngineProc: engineProc, Inspected: info.Inspected, Layers: info.Layers, Mounts: info.Mounts,
	}
	answer, ok := o.lookUp(ctx, cgroup, untrustedfs.Request{Path: &request})
	if !ok {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, earlier := o.files.paths.walks[named]; !earlier || !ofImage(answer.Walk) {
		o.files.paths.put(named, answer.Walk)
	}
}

// resolvedPaths are the results of followed paths, up to a limit: a container chooses how long its paths are.
type resolvedPaths struct {
	walks map[profile.PathQuery]kernel.PathWalk
	sizes map[uint64]int // by cgroup
	size  int
}

func newResolvedPaths() resolvedPaths {
	return resolvedPaths{walks: make(map[profile.PathQuery]kernel.PathWalk), sizes: make(map[uint64]int)}
}

// full reports whether there is no room for more paths of a container.
func (f *resolvedPaths) full(cgroup uint64) bool {
	return f.sizes[cgroup] > pathBytesPerContainer || f.size > pathBytes
}

func (f *resolvedPaths) put(named profile.PathQuery, walk kernel.PathWalk) {
	grows := walk.Size() + len(named.Path)
	if before, known := f.walks[named]; known {
		grows = walk.Size() - before.Size()
	}
	f.walks[named] = walk
	f.sizes[named.Cgroup] += grows
	f.size += grows
}

// forget removes the paths of containers.
func (f *resolvedPaths) forget(gone map[uint64]bool) {
	maps.DeleteFunc(f.walks, func(named profile.PathQuery, _ kernel.PathWalk) bool { return gone[named.Cgroup] })
	for cgroup := range gone {
		f.size -= f.sizes[cgroup]
		delete(f.sizes, cgroup)
	}
}

// ofImage reports whether at least a part of the result is from the image, and not from the container's own files.
func ofImage(walk kernel.PathWalk) bool {
	return slices.ContainsFunc(walk.Directories, func(node kernel.Node) bool { return node.Image }) || walk.File != nil && walk.File.Image
}
