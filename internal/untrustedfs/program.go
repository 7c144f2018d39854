package untrustedfs

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/internal/kernel"
)

func (p Program) fileCapabilities() (kernel.FileCapabilities, bool) {
	if capabilities, ok := p.throughProcess(); ok || p.Path == "" {
		return capabilities, ok
	}
	if capabilities, ok := p.onMount(); ok {
		return capabilities, true
	}
	return p.inLayers()
}

func (p Program) throughProcess() (kernel.FileCapabilities, bool) {
	process := RunsFile{p.PID, p.Inode}
	if !process.matches() {
		return kernel.FileCapabilities{}, false // the process has exited or executes another file
	}
	file, err := os.OpenFile(process.executable(), unix.O_PATH, 0)
	if err != nil {
		return kernel.FileCapabilities{}, false
	}
	defer file.Close()
	return p.capabilitiesIfSame(file, p.Inode)
}

// capabilitiesIfSame reads the file's capabilities. The result is false if the file is not the executed one, or has
// changed since. If inode is 0, the inode number is not compared.
func (p Program) capabilitiesIfSame(file *os.File, inode uint64) (kernel.FileCapabilities, bool) {
	capabilities, stat, err := kernel.FileCapabilitiesOf(file)
	same := (inode == 0 || stat.Ino == inode) && (p.Changed == 0 || stat.Ctim.Nano() == p.Changed)
	return capabilities, err == nil && same
}

// onMount searches the mounts that the engine sees for the file system: the host's own, for example below a volume, or
// a container's while it exists.
func (p Program) onMount() (kernel.FileCapabilities, bool) {
	table, err := os.Open(filepath.Join(p.EngineProc, "mountinfo"))
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
		if capabilities, ok := p.below(mount.Mountpoint, name); ok {
			return capabilities, true
		}
	}
	return kernel.FileCapabilities{}, false
}

// below reads the capabilities of the file below a mount point. The file may be gone, or another file system may be
// mounted over it.
func (p Program) below(mountPoint, name string) (kernel.FileCapabilities, bool) {
	file, err := onHost(p.EngineProc, filepath.Join(mountPoint, name))
	if err != nil {
		return kernel.FileCapabilities{}, false
	}
	defer file.Close()
	return p.capabilitiesIfSame(file, p.Inode)
}

// pathBelow returns the rest of an absolute path below a directory.
func pathBelow(directory, path string) (rest string, below bool) {
	return strings.CutPrefix(path, strings.TrimSuffix(directory, "/")+"/")
}

// inLayers searches the layers in the order in which overlayfs does. The layer that the container wrote to is removed
// with the container, so a file from that layer is not found afterwards. The image's file that it replaced has
// another ctime.
func (p Program) inLayers() (kernel.FileCapabilities, bool) {
	for _, layer := range p.Layers {
		file, err := kernel.OpenBelow(filepath.Join(p.EngineProc, "root", layer), p.Path)
		if err != nil {
			continue
		}
		capabilities, ok := p.capabilitiesIfSame(file, 0)
		file.Close()
		if ok {
			return capabilities, true
		}
	}
	return kernel.FileCapabilities{}, false
}
