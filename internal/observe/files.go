package observe

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/internal/kernel"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/monitor"
)

// examine reads which capabilities a file carries that was executed for the first
// time: through the process, if that still executes it, or where the file lies.
func (o *Observer) examine(id string, cgroup uint64, execution monitor.Execution) {
	program := profile.ProgramOf(cgroup, execution)
	o.mu.Lock()
	_, known := o.files[program]
	layers := o.known.infos[id].Layers
	o.mu.Unlock()
	if known {
		return
	}
	carried, ok := throughProcess(execution)
	if !ok && !execution.Cut {
		carried, ok = o.onMount(execution)
	}
	if !ok && !execution.Cut && execution.Overlay {
		carried, ok = o.inLayers(layers, execution.Path, execution.Version)
	}
	if ok {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.files[program] = carried
	}
}

// examineRest tries once more for the files that could not be read when they were
// executed: the engine may not have told by then where they are.
func (o *Observer) examineRest(containers []monitor.Container) {
	for _, c := range containers {
		for _, execution := range c.Executions {
			o.examine(c.ID, c.Cgroup, execution)
		}
	}
}

// carriedBy reads what a file carries, if it is the one that was executed and nobody has changed
// it since then. The inode number is not looked at where inode is 0.
func carriedBy(file *os.File, inode uint64, version monitor.FileVersion) (kernel.FileCapabilities, bool) {
	carried, stat, err := kernel.FileCapabilitiesOf(file)
	same := (inode == 0 || stat.Ino == inode) && (version == monitor.FileVersion{} || stat.Ctim.Nano() == version.Changed)
	return carried, err == nil && same
}

func throughProcess(execution monitor.Execution) (kernel.FileCapabilities, bool) {
	file, err := os.OpenFile(fmt.Sprintf("/proc/%d/exe", execution.PID), unix.O_PATH, 0)
	if err != nil {
		return kernel.FileCapabilities{}, false // it has ended
	}
	defer file.Close()
	return carriedBy(file, execution.File.Inode, execution.Version)
}

// onMount looks where the engine sees the file system: the host's own, as below a
// volume, or a container's while it exists.
func (o *Observer) onMount(execution monitor.Execution) (kernel.FileCapabilities, bool) {
	table, err := os.Open(filepath.Join(o.viewer, "mountinfo"))
	if err != nil {
		return kernel.FileCapabilities{}, false
	}
	defer table.Close()
	mounts, err := mountinfo.GetMountsFromReader(table, func(mount *mountinfo.Info) (skip, stop bool) {
		device := uint32(mount.Major)<<20 | uint32(mount.Minor) // MKDEV, include/linux/kdev_t.h
		_, below := pathBelow(mount.Root, execution.Path)
		return device != execution.File.Device || !below, false
	})
	if err != nil {
		return kernel.FileCapabilities{}, false
	}
	for _, mount := range mounts {
		name, _ := pathBelow(mount.Root, execution.Path)
		file, err := kernel.OpenBelow(filepath.Join(o.viewer, "root", mount.Mountpoint), name)
		if err != nil {
			continue // it is gone
		}
		carried, ok := carriedBy(file, execution.File.Inode, execution.Version)
		file.Close()
		if ok { // or something else is mounted over it
			return carried, true
		}
	}
	return kernel.FileCapabilities{}, false
}

// pathBelow is the part of an absolute path that is left below a directory.
func pathBelow(directory, path string) (rest string, below bool) {
	return strings.CutPrefix(path, strings.TrimSuffix(directory, "/")+"/")
}

// inLayers looks in the order in which the file system does. The directory that the
// container wrote to goes with the container; a file from there is not found then. That of
// the image which it had replaced has another ctime.
func (o *Observer) inLayers(layers []string, path string, version monitor.FileVersion) (kernel.FileCapabilities, bool) {
	for _, layer := range layers {
		file, err := kernel.OpenBelow(filepath.Join(o.viewer, "root", layer), path)
		if err != nil {
			continue
		}
		carried, ok := carriedBy(file, 0, version)
		file.Close()
		if ok {
			return carried, true
		}
	}
	return kernel.FileCapabilities{}, false
}
