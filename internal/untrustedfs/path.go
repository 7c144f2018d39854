package untrustedfs

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/kernel"
)

// follow follows the path in the first place where that can be done.
func (p Path) follow() (kernel.Way, error) {
	for _, pid := range p.PIDs {
		if pid == 0 {
			continue
		}
		if way, err := p.inRootOf(pid); err == nil {
			return way, nil
		}
	}
	return p.afterwards()
}

// inRootOf follows a path in the root directory of a container's process, if the path begins
// where the kernel said.
func (p Path) inRootOf(pid int) (kernel.Way, error) {
	absolute := strings.HasPrefix(p.Path, "/")
	walker, err := p.enter(pid)
	if err != nil {
		return kernel.Way{}, err
	}
	defer walker.Close()
	if absolute && walker.Here().Inode == p.BaseInode {
		walker.Name(p.Base) // that of a chroot, perhaps
	} else {
		if _, err := walker.Go(p.Base, false); err != nil {
			return kernel.Way{}, err
		}
	}
	if walker.Here().Inode != p.BaseInode {
		return kernel.Way{}, errNotThere // the process has another root directory
	}
	if absolute {
		walker.MakeRoot()
	}
	way, err := walker.Go(p.Path, p.Follow)
	if err == nil && p.Executed && way.File != nil {
		way.Program, err = executed(walker)
	}
	return way, err
}

// enter begins at the root directory of a container's process. Its number may be another
// one's by now, whose root directory may well have the same inode number: on btrfs every
// subvolume's has.
func (p Path) enter(pid int) (*kernel.Walker, error) {
	if !p.Cgroups.Holds(p.Cgroup, pid) {
		return nil, errNotThere
	}
	walker, err := kernel.NewWalker(fmt.Sprintf("/proc/%d/root", pid))
	if err != nil {
		return nil, err
	}
	if !p.Cgroups.Holds(p.Cgroup, pid) {
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
func (p Path) afterwards() (kernel.Way, error) {
	full := strings.TrimSuffix(p.Base, "/") + "/" + strings.TrimPrefix(p.Path, "/")
	if !p.Inspected || len(p.Layers) == 0 || p.Base != "/" && strings.HasPrefix(p.Path, "/") {
		return kernel.Way{}, errNotThere
	}
	if p.Executed {
		return p.executedAfterwards(full)
	}
	if full != path.Clean(full) {
		return kernel.Way{}, errNotThere
	}
	var way kernel.Way
	for directory := path.Dir(full); ; directory = path.Dir(directory) {
		node, err := p.kept(directory)
		if err != nil {
			return kernel.Way{}, err
		}
		way.Directories = append([]kernel.Node{node}, way.Directories...)
		if directory == "/" {
			break
		}
	}
	if node, err := p.kept(full); err == nil {
		way.File = &node
	}
	return way, nil
}

// kept looks up one file by its path in the container.
func (p Path) kept(name string) (kernel.Node, error) {
	file, image, err := p.open(name)
	if err != nil {
		return kernel.Node{}, err
	}
	defer file.Close()
	node, err := kernel.NodeOf(file, name)
	node.Image = image
	return node, err
}

// open opens one file by its path in the container. image as in [kernel.Node].
func (p Path) open(name string) (file *os.File, image bool, err error) {
	over, source, below := "", "", ""
	for _, mount := range slices.Concat(ownMounts, p.Mounts) {
		if rest, inside := pathBelow(mount.Destination, name+"/"); inside && len(mount.Destination) > len(over) {
			over, source, below = mount.Destination, mount.Source, rest
		}
	}
	switch {
	case over == "":
		return p.inStack(name)
	case source == "":
		return nil, false, errNotThere
	}
	file, err = onHost(p.Viewer, filepath.Join(source, below))
	return file, false, err
}
