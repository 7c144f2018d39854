package bundle

import (
	"os"
	"path"
	"slices"
	"strings"

	"github.com/capmon/capmon/internal/kernel"
)

// defaultRuncRoot is the root directory of runc for root.
const defaultRuncRoot = "/run/runc"

// readRuncStarting returns the expected state of a container that runc is about to make. runc makes the directory of
// the container, then the cgroup, and stores the state last, a few milliseconds before the container's program starts.
// The error matches [os.ErrNotExist] if no runc makes such a container.
func readRuncStarting(cgroups kernel.Cgroups, directory string) (State, error) {
	p, pid, err := findRunc(directory)
	if err != nil {
		return State{}, err
	}
	from := p.argument("-b", "--bundle")
	if !path.IsAbs(from) {
		from = path.Join(p.directory, from)
	}
	s := State{Bundle: Bundle{Engine: Runc}}
	if err := s.readConfigFrom(path.Join(from, "config.json")); err != nil {
		return State{}, err
	}
	own, err := cgroups.Path(pid)
	if err != nil {
		return State{}, err
	}
	s.Cgroup = s.runcCgroup(path.Base(directory), own, cgroups.Mode == kernel.CgroupUnified, p.has("--systemd-cgroup", "--systemd-cgroup=true"))
	return s, nil
}

// runcCgroup returns the cgroup that runc makes for a container. own is the cgroup of runc. Unless config.json has an
// absolute path, runc makes the cgroup in its own one, and with cgroup v2 next to it.
func (b *Bundle) runcCgroup(name, own string, unified, systemd bool) string {
	switch {
	case systemd && b.CgroupsPath == "":
		return path.Join("/system.slice", "runc-"+name+".scope")
	case systemd:
		return b.Cgroup()
	case path.IsAbs(b.CgroupsPath):
		return path.Clean(b.CgroupsPath)
	case unified:
		own = path.Dir(own)
	}
	if b.CgroupsPath != "" {
		name = b.CgroupsPath
	}
	return path.Join(own, name)
}

// findRunc returns the process that runs the runc which makes the container of a directory.
func findRunc(directory string) (p process, pid int, err error) {
	pids, err := kernel.Processes()
	if err != nil {
		return p, 0, err
	}
	for _, pid := range slices.Backward(pids) { // it is new
		p := process{inProc: directoryOf(pid)}
		if p.executable, err = os.Readlink(path.Join(p.inProc, "exe")); err != nil || !strings.Contains(path.Base(p.executable), "runc") || !p.isHostRoot() {
			continue
		}
		if p.arguments, err = p.readArguments(); err != nil || !p.makes(directory) {
			continue
		}
		if p.directory, err = os.Readlink(path.Join(p.inProc, "cwd")); err == nil {
			return p, pid, nil
		}
	}
	return p, 0, os.ErrNotExist
}

// makes reports whether the arguments of runc tell it to make the container of a directory.
func (p process) makes(directory string) bool {
	root := p.argument("--root")
	if root == "" {
		root = defaultRuncRoot
	}
	return path.Clean(root) == path.Dir(directory) && slices.Contains(p.arguments, path.Base(directory)) &&
		(slices.Contains(p.arguments, "run") || slices.Contains(p.arguments, "create"))
}
