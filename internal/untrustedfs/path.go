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

// follow follows the path in the root directory of the first process for which that succeeds, or else where the
// engine stores the files.
func (p Path) follow() (kernel.PathWalk, error) {
	for _, pid := range p.PIDs {
		if pid == 0 {
			continue
		}
		if walk, err := p.inRootOf(pid); err == nil {
			return walk, nil
		}
	}
	return p.afterExit()
}

// inRootOf follows the path in the root directory of one of the container's processes. It fails if the directory at
// which the path begins is not the one that the kernel recorded.
func (p Path) inRootOf(pid int) (kernel.PathWalk, error) {
	absolute := strings.HasPrefix(p.Path, "/")
	walker, err := p.enter(pid)
	if err != nil {
		return kernel.PathWalk{}, err
	}
	defer walker.Close()
	if absolute && walker.Here().Inode == p.BaseInode {
		walker.SetPath(p.Base) // the process may have used chroot
	} else {
		if _, err := walker.Go(p.Base, false); err != nil {
			return kernel.PathWalk{}, err
		}
	}
	if walker.Here().Inode != p.BaseInode {
		return kernel.PathWalk{}, errNotFound // the process has another root directory
	}
	if absolute {
		walker.MakeRoot()
	}
	walk, err := walker.Go(p.Path, p.Follow)
	if err == nil && p.Executed && walk.File != nil {
		walk.Program, err = executedProgram(walker)
	}
	return walk, err
}

// enter returns a walker at the root directory of a process. It fails if the process does not belong to the container:
// the kernel may have reused the process number. Inode numbers cannot replace this test, because the root directories
// of all subvolumes of btrfs have the same one.
func (p Path) enter(pid int) (*kernel.Walker, error) {
	if !p.Cgroups.Contains(p.Cgroup, pid) {
		return nil, errNotFound
	}
	walker, err := kernel.NewWalker(fmt.Sprintf("/proc/%d/root", pid))
	if err != nil {
		return nil, err
	}
	if !p.Cgroups.Contains(p.Cgroup, pid) {
		walker.Close()
		return nil, errNotFound
	}
	return walker, nil
}

// engineMounts are the places where engines mount something in every container.
var engineMounts = []container.Mount{
	{Destination: "/dev"}, {Destination: "/proc"}, {Destination: "/sys"},
	{Destination: "/etc/hosts"}, {Destination: "/etc/hostname"}, {Destination: "/etc/resolv.conf"},
}

// afterExit searches for the file where the engine stores it. The files that the container wrote may have been
// removed with the container. Then the result is the file of the image, with [kernel.Node].Image set.
func (p Path) afterExit() (kernel.PathWalk, error) {
	full := strings.TrimSuffix(p.Base, "/") + "/" + strings.TrimPrefix(p.Path, "/")
	if !p.Inspected || len(p.Layers) == 0 || p.Base != "/" && strings.HasPrefix(p.Path, "/") {
		return kernel.PathWalk{}, errNotFound
	}
	if p.Executed {
		return p.programAfterExit(full)
	}
	if full != path.Clean(full) {
		return kernel.PathWalk{}, errNotFound
	}
	var walk kernel.PathWalk
	for directory := path.Dir(full); ; directory = path.Dir(directory) {
		node, err := p.nodeAfterExit(directory)
		if err != nil {
			return kernel.PathWalk{}, err
		}
		walk.Directories = append([]kernel.Node{node}, walk.Directories...)
		if directory == "/" {
			break
		}
	}
	if node, err := p.nodeAfterExit(full); err == nil {
		walk.File = &node
	}
	return walk, nil
}

// nodeAfterExit reads one file by its path in the container.
func (p Path) nodeAfterExit(name string) (kernel.Node, error) {
	file, image, err := p.open(name)
	if err != nil {
		return kernel.Node{}, err
	}
	defer file.Close()
	node, err := kernel.NodeOf(file, name)
	node.Image = image
	return node, err
}

// open opens one file by its path in the container. image is as in [kernel.Node].
func (p Path) open(name string) (file *os.File, image bool, err error) {
	mountPoint, source, below := "", "", ""
	for _, mount := range slices.Concat(engineMounts, p.Mounts) {
		if rest, inside := pathBelow(mount.Destination, name+"/"); inside && len(mount.Destination) > len(mountPoint) {
			mountPoint, source, below = mount.Destination, mount.Source, rest
		}
	}
	switch {
	case mountPoint == "":
		return p.inLayers(name)
	case source == "":
		return nil, false, errNotFound
	}
	file, err = onHost(p.EngineProc, filepath.Join(source, below))
	return file, false, err
}
