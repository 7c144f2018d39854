// Package standalone finds containers that no engine manages: those that users start with a runtime directly. There is
// no daemon to ask and no shim to read from. But each runtime stores what it needs to know about its containers in a
// directory that belongs to root.
package standalone

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/capmon/capmon/internal/bundle"
	"github.com/capmon/capmon/internal/containerid"
	"github.com/capmon/capmon/internal/kernel"
)

// Finder finds the containers. Its methods are safe for concurrent use.
type Finder struct {
	sources []source
}

// source is one kind of containers.
type source interface {
	// root is a directory in which an entry appears for each container.
	root() string
	// has reports whether an entry of root may be one of a container. name is its name.
	has(name string) bool
	// read reads the container of an entry of root. The error matches [os.ErrNotExist] if the runtime has not written
	// everything yet.
	read(entry string) (bundle.State, error)
	// notifies reports whether files are made in the entry when read has a new result. Otherwise, it has to be called
	// until the container has a process.
	notifies() bool
}

// NewFinder returns a Finder for the containers in a hierarchy of cgroups.
func NewFinder(cgroups kernel.Cgroups) *Finder {
	f := new(Finder)
	for _, root := range runtimeRoots() {
		f.sources = append(f.sources, runtime{cgroups, root})
	}
	f.sources = append(f.sources, lxc{cgroups}, machines{cgroups})
	return f
}

// List returns the containers that run or are about to. A container without a Bounding set has not started its program.
func (f *Finder) List() (found []bundle.State) {
	for _, s := range f.sources {
		for _, entry := range entries(s) {
			if state, err := s.read(entry); err == nil {
				found = append(found, state)
			}
		}
	}
	return found
}

// entries returns the paths of the entries of a source that may be containers.
func entries(s source) (paths []string) {
	all, err := os.ReadDir(s.root())
	if err != nil {
		return nil // there are no such containers
	}
	for _, entry := range all {
		if s.has(entry.Name()) {
			paths = append(paths, path.Join(s.root(), entry.Name()))
		}
	}
	return paths
}

// runtime has the containers of runc and crun with one root directory. The state of a container is in the directory
// ROOT/NAME.
type runtime struct {
	cgroups   kernel.Cgroups
	directory string
}

// RootsVariable is the environment variable with more root directories of runc and crun, separated by colons: the
// values of their option --root.
const RootsVariable = "CAPMON_RUNTIME_ROOTS"

// defaultRoots are the root directories of runc and crun for root, without the option --root.
var defaultRoots = []string{"/run/runc", "/run/crun"}

func runtimeRoots() []string {
	roots := slices.Clone(defaultRoots)
	for _, root := range filepath.SplitList(os.Getenv(RootsVariable)) {
		if root = path.Clean(root); path.IsAbs(root) && !slices.Contains(roots, root) {
			roots = append(roots, root)
		}
	}
	return roots
}

func (r runtime) root() string { return r.directory }

// has leaves out the containers of Podman and CRI-O, which use the same root directories. Their names are IDs of 64
// digits, which are also in the names of the cgroups. So capmon finds such containers by their cgroups.
func (r runtime) has(name string) bool {
	_, ofEngine := containerid.FromCgroup(name)
	return !ofEngine
}

func (r runtime) notifies() bool { return true }

func (r runtime) read(entry string) (bundle.State, error) { return bundle.ReadState(r.cgroups, entry) }

// lxc has the containers of LXC that root has started. Each has the cgroup lxc.payload.NAME.
type lxc struct{ cgroups kernel.Cgroups }

func (l lxc) root() string { return l.cgroups.Mount }

func (l lxc) has(name string) bool { return strings.HasPrefix(name, "lxc.payload.") }

func (l lxc) notifies() bool { return false }

func (l lxc) read(entry string) (bundle.State, error) {
	cgroup := path.Join("/", path.Base(entry))
	var pids []int
	err := l.cgroups.WalkDirs(cgroup, func(below kernel.CgroupDir) error {
		procs, err := below.Procs()
		if err != nil {
			return nil // it has vanished, or the container restricts access
		}
		if pids = append(pids, procs...); len(pids) >= maxLXCProcesses {
			return fs.SkipAll
		}
		return nil
	})
	if err != nil && len(pids) == 0 {
		return bundle.State{}, err
	}
	slices.Sort(pids)
	return bundle.ReadLXC(cgroup, pids)
}

// maxLXCProcesses is the number of processes of a container of LXC among which the first one is searched.
const maxLXCProcesses = 4096

// machines has the containers of systemd-nspawn that are registered with systemd-machined.
type machines struct{ cgroups kernel.Cgroups }

func (m machines) root() string { return "/run/systemd/machines" }

// has leaves out the links unit:UNIT.
func (m machines) has(name string) bool { return !strings.ContainsAny(name, ":#") && name[0] != '.' }

func (m machines) notifies() bool { return false }

func (m machines) read(entry string) (bundle.State, error) {
	return bundle.ReadMachine(m.cgroups, entry)
}
