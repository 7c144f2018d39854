package observe

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/internal/bundle"
	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/kernel"
)

const (
	// maxBundleReads is the number of bundles that are read at the same time.
	maxBundleReads = 8
	// bundleAttempts is how often the observer tries to read the bundle of a container.
	bundleAttempts = 3
)

// bundles reads the OCI bundles of containers. They have the names and grants of containers that the engine does not
// report.
type bundles struct {
	*bundle.Reader
	slots chan struct{} // has one element for each bundle that is being read
	// runningRead is sent when the bundles of the containers that were running at the start have been read.
	runningRead oneTimeEvent
}

func newBundles(reader *bundle.Reader) bundles {
	return bundles{Reader: reader, slots: make(chan struct{}, maxBundleReads), runningRead: newOneTimeEvent()}
}

// begin waits until a bundle may be read. It returns false if ctx ends first.
func (b *bundles) begin(ctx context.Context) bool {
	if ctx.Err() != nil {
		return false
	}
	select {
	case b.slots <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// end is called when a bundle has been read.
func (b *bundles) end() { <-b.slots }

// bundleData has what bundles have reported. The observer's mu guards it.
type bundleData struct {
	read     map[uint64]string // the IDs of the containers whose bundles were read, by cgroup
	attempts map[uint64]int    // by cgroup
	missed   map[string]bool   // the IDs of containers without an engine that were not recorded
}

func newBundleData() bundleData {
	return bundleData{read: make(map[uint64]string), attempts: make(map[uint64]int), missed: make(map[string]bool)}
}

// forgetCgroups removes cgroups, and calls forget for the IDs of the containers that have no cgroup any longer.
func (b *bundleData) forgetCgroups(cgroups []uint64, forget func(id string)) {
	for _, cgroup := range cgroups {
		delete(b.attempts, cgroup)
		id, known := b.read[cgroup]
		delete(b.read, cgroup)
		if known && !b.has(id) {
			forget(id)
		}
	}
}

func (b *bundleData) has(id string) bool {
	for _, other := range b.read {
		if other == id {
			return true
		}
	}
	return false
}

// readBundleInBackground reads the bundle of a container that the kernel has just reported: a short-lived container can
// end before the engine reports it. It must be called from a goroutine that o.done waits for. If many wait, those that
// have not begun when ctx ends are left out: the next profile reads their bundles.
func (o *Observer) readBundleInBackground(ctx context.Context, cgroup uint64, id string, pid int) {
	early, err := o.bundles.Find(id, pid) // before the container and its monitor end
	if err != nil {
		early = nil
	}
	o.done.Go(func() {
		if early != nil {
			defer early.Close()
		}
		if !o.bundles.begin(ctx) {
			return
		}
		defer o.bundles.end()
		if where, ok := o.monitor.CgroupPath(cgroup, pid); ok && !o.readBundle(cgroup, where, id, early, []int{pid}) {
			return
		}
		o.searchBundle(cgroup, id, early) // during runtime setup, the kernel reports processes that end soon
	})
}

// searchBundle searches the bundle of a container without known processes, if only root can have made its cgroup.
// Otherwise, any user could make capmon inspect all processes again and again. If the cgroup is gone, its name
// suffices, if the container is not known to be in another cgroup. early is what an earlier search has found; nil if
// there was none.
func (o *Observer) searchBundle(cgroup uint64, id string, early *bundle.Found) {
	o.mu.Lock()
	info, known := o.cgroupInfo(cgroup)
	o.mu.Unlock()
	if !known || info.Folded || !info.OnlyRootCanCreate {
		return
	}
	var b bundle.Bundle
	err := bundle.ErrNone
	if early != nil {
		b, err = o.bundles.ReadNamed(early, info.Name)
	}
	if err != nil {
		b, err = o.bundles.Search(info.Name, id)
	}
	if err != nil {
		o.log.Debug("searching the bundle of a container failed", zap.String("id", id), zap.Error(err))
		return
	}
	found, err := o.lookups.cgroups.ID(b.Cgroup())
	o.mu.Lock()
	_, elsewhere := o.owners.latest[id]
	o.mu.Unlock()
	gone := errors.Is(err, os.ErrNotExist) && !elsewhere
	if err == nil && found == cgroup || gone {
		o.addBundle(cgroup, b, 0)
		return
	}
	o.log.Debug("the bundle of a container is for another cgroup", zap.String("id", id), zap.String("cgroup", b.Cgroup()), zap.Error(err))
}

// readMissingBundles reads the bundles of the containers that neither the engine nor an earlier bundle has reported.
func (o *Observer) readMissingBundles(ctx context.Context) {
	named, err := o.monitor.ContainerIDs()
	if err != nil {
		return // the recording has ended
	}
	missing := make(map[uint64]bool)
	o.mu.Lock()
	for cgroup, id := range named {
		if o.bundleData.read[cgroup] == "" && o.bundleData.attempts[cgroup] < bundleAttempts && !o.fromEngine.infos[id].Inspected {
			missing[cgroup] = true
		}
	}
	o.mu.Unlock()
	if len(missing) == 0 {
		return
	}
	paths, err := o.monitor.CgroupPaths(missing)
	if err != nil {
		o.log.Debug("finding the cgroups of containers that the engine does not report failed", zap.Error(err))
	}
	var reads sync.WaitGroup
	for cgroup, where := range paths {
		if !o.bundles.begin(ctx) {
			break
		}
		reads.Go(func() {
			defer o.bundles.end()
			o.readBundle(cgroup, where, named[cgroup], nil, o.someProcesses(where))
		})
	}
	reads.Wait()
}

// readBundle reads the bundle of a container in the cgroup where, and records what it reports. pids are processes of
// the container. early is what an earlier search from the first of them has found; nil if there was none. readBundle
// returns true if none of the processes leads to a bundle, but others may.
func (o *Observer) readBundle(cgroup uint64, where, id string, early *bundle.Found, pids []int) (none bool) {
	o.mu.Lock()
	o.bundleData.attempts[cgroup]++
	first := o.bundleData.attempts[cgroup] == 1
	o.mu.Unlock()
	b, pid, err := o.findBundle(where, id, early, pids)
	if errors.Is(err, bundle.ErrTooLarge) && first {
		o.log.Warn("reading the bundle of a container failed; if no engine reports the container, its name and its exact grants are not known", zap.String("id", id), zap.Error(err))
	}
	if err != nil {
		o.log.Debug("reading the bundle of a container failed", zap.String("id", id), zap.Error(err))
		return errors.Is(err, bundle.ErrNone) || errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH)
	}
	if err := o.monitor.TrustSiblings(where); err != nil {
		o.log.Debug("finding the owner of a container's cgroup failed", zap.String("id", id), zap.Error(err))
	}
	o.addBundle(cgroup, b, pid)
	return false
}

// addBundle records what a bundle reports about a container. pid is the process from which it was found, or 0. The
// engine reports more about the containers of Docker.
func (o *Observer) addBundle(cgroup uint64, b bundle.Bundle, pid int) {
	if b.Engine == bundle.Docker || b.Bounding == nil {
		return
	}
	id := b.ID
	o.mu.Lock()
	defer o.mu.Unlock()
	defer o.fromEngine.notify()
	o.bundleData.read[cgroup] = id
	known := o.fromEngine.infos[id]
	info := infoOf(b, pid, known.Labels)      // from an event of the engine
	if known.Inspected && !known.BundleOnly { // by the engine, which knows more
		info = known.WithBundle(info)
	}
	o.fromEngine.infos[id] = info
	o.recordIfNew(info)
	o.confirm(info, cgroup)
	if err := o.setGrant(info); err != nil {
		o.log.Warn("storing a container's granted capabilities in the kernel failed", zap.String("id", id), zap.Error(err))
	}
	if o.wantsProfiles() {
		o.recordUnlockedCalls(info)
	}
	o.log.Debug("read the bundle of a container", zap.String("id", id), zap.String("engine", info.Engine), zap.String("name", info.Name))
}

// someProcesses returns at most maxBundlePIDs processes in a cgroup and those below it.
func (o *Observer) someProcesses(where string) (pids []int) {
	err := o.lookups.cgroups.WalkDirs(where, func(below kernel.CgroupDir) error {
		procs, err := below.Procs()
		if pids = append(pids, procs...); len(pids) >= maxBundlePIDs {
			return fs.SkipAll
		}
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) { // the container can restrict access to its files
			return nil
		}
		return err
	})
	if err != nil {
		o.log.Debug("listing the processes of a container failed", zap.Error(err))
	}
	return pids[:min(len(pids), maxBundlePIDs)]
}

// maxBundlePIDs is the number of a container's processes from which the search for its bundle starts.
const maxBundlePIDs = 16

// findBundle returns the bundle, and the process from which it was found. The parameters are as in readBundle.
func (o *Observer) findBundle(where, id string, early *bundle.Found, pids []int) (bundle.Bundle, int, error) {
	if early != nil {
		b, err := o.bundles.ReadFound(early, where)
		if err != nil {
			err = fmt.Errorf("cgroup %s: %w", where, err)
		}
		return b, pids[0], err
	}
	err := bundle.ErrNone
	for _, pid := range pids {
		b, readErr := o.bundles.Read(where, id, pid)
		if readErr == nil {
			return b, pid, nil
		}
		if err = readErr; errors.Is(err, bundle.ErrTooLarge) {
			break // all processes of the container lead to the same bundle
		}
	}
	return bundle.Bundle{}, 0, fmt.Errorf("cgroup %s: %w", where, err)
}

// infoOf returns what a bundle reports about a container with these labels.
func infoOf(b bundle.Bundle, pid int, labels map[string]string) container.Info {
	info := container.Info{
		ID: b.ID, Name: b.Name, Image: b.Image, ImageID: b.ImageID, Engine: b.Engine, BundleOnly: true, Layers: b.Layers, Labels: labels,
		Running: pid != 0, Pid: pid, CreatedAt: b.Created, Inspected: true,
	}
	info.SetBundle(b)
	return info
}
