package observe

import (
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/kernel"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/monitor"
)

const (
	// answerTime is how long a container's file system may take to tell of one file. It may
	// be a process of the container's own that answers.
	answerTime = time.Second
	// silences is how many questions to containers' file systems may wait for an answer until
	// no more are asked: each keeps a thread waiting.
	silences = 8
)

var errNotThere = errors.New("it is not there any more")

// find follows the path of a file for which a capability was asked: in the root directory
// of the process, or of the container's first one, or after its end where the engine keeps
// the files.
func (o *Observer) find(id string, cgroup uint64, use monitor.FileUse) {
	named := profile.NamedBy(cgroup, use)
	o.mu.Lock()
	known := o.ways[named].File != nil
	info := o.known.infos[id]
	processes := []int{int(use.PID), o.firsts[cgroup], info.Pid}
	mute := o.silent[cgroup] || o.stuck >= silences
	o.mu.Unlock()
	if known || mute || use.Naming != monitor.ByPath || !use.Base.Known() || use.Cut || use.Base.Cut {
		return
	}
	type answer struct {
		way kernel.Way
		err error
	}
	answers := make(chan answer, 1)
	go func() { // which stays, if it is kept waiting
		way, err := o.lead(cgroup, processes, info, use, !named.Link)
		answers <- answer{way, err}
	}()
	select {
	case answer := <-answers:
		if answer.err == nil {
			o.mu.Lock()
			defer o.mu.Unlock()
			if _, earlier := o.ways[named]; !earlier || !ofImage(answer.way) {
				o.ways[named] = answer.way
			}
		}
	case <-time.After(answerTime):
		o.mu.Lock()
		defer o.mu.Unlock()
		o.silent[cgroup] = true
		o.stuck++
		go func() {
			<-answers
			o.mu.Lock()
			defer o.mu.Unlock()
			o.stuck--
		}()
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

// findRest tries once more for those that could not be found when they were used: the
// engine may not have told by then where they are.
func (o *Observer) findRest(containers []monitor.Container) {
	for _, c := range containers {
		for _, use := range c.Files {
			o.find(c.ID, c.Cgroup, use)
		}
	}
}

// lead follows a path in the first place where that can be done.
func (o *Observer) lead(cgroup uint64, processes []int, info container.Info, use monitor.FileUse, follow bool) (kernel.Way, error) {
	for _, pid := range processes {
		if pid == 0 {
			continue
		}
		if way, err := o.inRootOf(cgroup, pid, use, follow); err == nil {
			return way, nil
		}
	}
	return o.afterwards(info, use)
}

// inRootOf follows a path in the root directory of a container's process, if the path begins
// where the kernel said.
func (o *Observer) inRootOf(cgroup uint64, pid int, use monitor.FileUse, follow bool) (kernel.Way, error) {
	absolute := strings.HasPrefix(use.Path, "/")
	walker, err := o.enter(cgroup, pid)
	if err != nil {
		return kernel.Way{}, err
	}
	defer walker.Close()
	if absolute && walker.Here().Inode == use.Base.File.Inode {
		walker.Name(use.Base.Path) // that of a chroot, perhaps
	} else {
		if _, err := walker.Go(use.Base.Path, false); err != nil {
			return kernel.Way{}, err
		}
	}
	if walker.Here().Inode != use.Base.File.Inode {
		return kernel.Way{}, errNotThere // the process has another root directory
	}
	if absolute {
		walker.MakeRoot()
	}
	return walker.Go(use.Path, follow)
}

// enter begins at the root directory of a container's process. Its number may be another
// one's by now, whose root directory may well have the same inode number: on btrfs every
// subvolume's has.
func (o *Observer) enter(cgroup uint64, pid int) (*kernel.Walker, error) {
	if !o.monitor.Holds(cgroup, pid) {
		return nil, errNotThere
	}
	walker, err := kernel.NewWalker(fmt.Sprintf("/proc/%d/root", pid))
	if err != nil {
		return nil, err
	}
	if !o.monitor.Holds(cgroup, pid) {
		walker.Close()
		return nil, errNotThere
	}
	return walker, nil
}

// ownMounts are what engines mount in every container.
var ownMounts = []container.Mount{
	{Destination: "/dev"}, {Destination: "/proc"}, {Destination: "/sys"},
	{Destination: "/etc/hosts"}, {Destination: "/etc/hostname"}, {Destination: "/etc/resolv.conf"},
}

// afterwards looks a file up where the engine keeps it. What the container wrote may have
// gone with it: then the file is as it was in the image, and marked so.
func (o *Observer) afterwards(info container.Info, use monitor.FileUse) (kernel.Way, error) {
	full := strings.TrimSuffix(use.Base.Path, "/") + "/" + strings.TrimPrefix(use.Path, "/")
	if full != path.Clean(full) || !info.Inspected || len(info.Layers) == 0 || use.Base.Path != "/" && strings.HasPrefix(use.Path, "/") {
		return kernel.Way{}, errNotThere
	}
	var way kernel.Way
	for directory := path.Dir(full); ; directory = path.Dir(directory) {
		node, err := o.kept(info, directory)
		if err != nil {
			return kernel.Way{}, err
		}
		way.Directories = append([]kernel.Node{node}, way.Directories...)
		if directory == "/" {
			break
		}
	}
	if node, err := o.kept(info, full); err == nil {
		way.File = &node
	}
	return way, nil
}

// kept looks up one file by its path in the container.
func (o *Observer) kept(info container.Info, name string) (kernel.Node, error) {
	over, source, below := "", "", ""
	for _, mount := range append(ownMounts, info.Mounts...) {
		if rest, inside := pathBelow(mount.Destination, name+"/"); inside && len(mount.Destination) > len(over) {
			over, source, below = mount.Destination, mount.Source, rest
		}
	}
	switch {
	case over == "":
		return o.inStack(info.Layers, name)
	case source == "":
		return kernel.Node{}, errNotThere
	}
	file, err := openBelow(filepath.Join(o.viewer, "root", source), below)
	if err != nil {
		return kernel.Node{}, err
	}
	defer file.Close()
	return kernel.NodeOf(file, name)
}
