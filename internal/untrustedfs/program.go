package untrustedfs

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/internal/kernel"
)

func (p Program) carried() (kernel.FileCapabilities, bool) {
	if carried, ok := p.throughProcess(); ok || p.Path == "" {
		return carried, ok
	}
	if carried, ok := p.onMount(); ok {
		return carried, true
	}
	return p.inLayers()
}

func (p Program) throughProcess() (kernel.FileCapabilities, bool) {
	executes := Executes{p.PID, p.Inode}
	if !executes.isSo() {
		return kernel.FileCapabilities{}, false // it has ended, or executes another file
	}
	file, err := os.OpenFile(executes.executable(), unix.O_PATH, 0)
	if err != nil {
		return kernel.FileCapabilities{}, false
	}
	defer file.Close()
	return p.carriedBy(file, p.Inode)
}

// carriedBy reads what a file carries, if it is the one that was executed and nobody has changed
// it since then. The inode number is not looked at where inode is 0.
func (p Program) carriedBy(file *os.File, inode uint64) (kernel.FileCapabilities, bool) {
	carried, stat, err := kernel.FileCapabilitiesOf(file)
	same := (inode == 0 || stat.Ino == inode) && (p.Changed == 0 || stat.Ctim.Nano() == p.Changed)
	return carried, err == nil && same
}

// onMount looks where the engine sees the file system: the host's own, as below a
// volume, or a container's while it exists.
func (p Program) onMount() (kernel.FileCapabilities, bool) {
	table, err := os.Open(filepath.Join(p.Viewer, "mountinfo"))
	if err != nil {
		return kernel.FileCapabilities{}, false
	}
	defer table.Close()
	mounts, err := mountinfo.GetMountsFromReader(table, func(mount *mountinfo.Info) (skip, stop bool) {
		device := uint32(mount.Major)<<20 | uint32(mount.Minor) // MKDEV, include/linux/kdev_t.h
		_, below := pathBelow(mount.Root, p.Path)
		return device != p.Device || !below, false
	})
	if err != nil {
		return kernel.FileCapabilities{}, false
	}
	for _, mount := range mounts {
		name, _ := pathBelow(mount.Root, p.Path)
		if carried, ok := p.below(mount.Mountpoint, name); ok {
			return carried, true
		}
	}
	return kernel.FileCapabilities{}, false
}

// below reads those of the file below a mount point. It may be gone, or something else be mounted
// over it.
func (p Program) below(mountPoint, name string) (kernel.FileCapabilities, bool) {
	file, err := onHost(p.Viewer, filepath.Join(mountPoint, name))
	if err != nil {
		return kernel.FileCapabilities{}, false
	}
	defer file.Close()
	return p.carriedBy(file, p.Inode)
}

// pathBelow is the part of an absolute path that is left below a directory.
func pathBelow(directory, path string) (rest string, below bool) {
	return strings.CutPrefix(path, strings.TrimSuffix(directory, "/")+"/")
}

// inLayers looks in the order in which the file system does. The directory that the
// container wrote to goes with the container; a file from there is not found then. That of
// the image which it had replaced has another ctime.
func (p Program) inLayers() (kernel.FileCapabilities, bool) {
	for _, layer := range p.Layers {
		file, err := kernel.OpenBelow(filepath.Join(p.Viewer, "root", layer), p.Path)
		if err != nil {
			continue
		}
		carried, ok := p.carriedBy(file, 0)
		file.Close()
		if ok {
			return carried, true
		}
	}
	return kernel.FileCapabilities{}, false
}
