package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/cilium/ebpf/btf"
	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// CgroupMode is how the cgroup hierarchies are mounted.
type CgroupMode string

// The modes.
const (
	CgroupUnified CgroupMode = "v2"
	CgroupHybrid  CgroupMode = "hybrid"
	CgroupLegacy  CgroupMode = "v1"
)

// Cgroups is the hierarchy that tells containers apart. Make one with DetectCgroups.
// Its cgroups are named by their path below Mount, "/" being the root.
type Cgroups struct {
	Mode CgroupMode
	// Mount is where that hierarchy is mounted.
	Mount string
	// Controller names it under v1 and hybrid, where engines put containers into
	// the v1 controllers; "" for the v2 hierarchy.
	Controller string
	// SubsysName is the controller's name in enum cgroup_subsys_id, "" for v2.
	SubsysName string
	// Part: the mount shows only the cgroups below one of them, as in a container that
	// was not given the host's.
	Part bool
}

// controllers of v1 in the order of preference; engines use all that are mounted.
var controllers = []string{"pids", "memory", "cpu", "cpuacct", "devices", "freezer", "blkio", "cpuset", "perf_event", "net_cls", "net_prio", "hugetlb"}

// cgroupRoot is where engines look for cgroups.
const cgroupRoot = "/sys/fs/cgroup"

// DetectCgroups finds the hierarchy in this process's mounts.
func DetectCgroups() (Cgroups, error) {
	mounts, err := mountinfo.GetMounts(nil)
	if err != nil {
		return Cgroups{}, fmt.Errorf("reading the mounts: %w", err)
	}
	return chooseCgroups(mounts)
}

// chooseCgroups decides as runc does (IsCgroup2UnifiedMode of
// opencontainers/cgroups): v2 alone if that is what is mounted at /sys/fs/cgroup,
// even if somebody mounted a v1 controller elsewhere.
func chooseCgroups(mounts []*mountinfo.Info) (Cgroups, error) {
	var unified *mountinfo.Info
	legacy := make(map[string]*mountinfo.Info)
	var alone bool
	for _, mount := range mounts {
		if mount.Mountpoint == cgroupRoot {
			alone = mount.FSType == "cgroup2" // the last mounted is on top
		}
		switch mount.FSType {
		case "cgroup2":
			unified = better(unified, mount)
		case "cgroup":
			for _, option := range strings.Split(mount.VFSOptions, ",") {
				if slices.Contains(controllers, option) {
					legacy[option] = better(legacy[option], mount)
				}
			}
		}
	}
	for _, controller := range controllers {
		if mount, ok := legacy[controller]; ok && !alone {
			mode := CgroupHybrid
			if unified == nil {
				mode = CgroupLegacy
			}
			return Cgroups{mode, mount.Mountpoint, controller, subsysName(controller), mount.Root != "/"}, nil
		}
	}
	if unified == nil {
		return Cgroups{}, errors.New("no cgroup hierarchy is mounted: mount one at " + cgroupRoot)
	}
	return Cgroups{Mode: CgroupUnified, Mount: unified.Mountpoint, Part: unified.Root != "/"}, nil
}

// better is the one of two mounts of a hierarchy that shows all of it, and of
// those the one in the usual place, and of those the first. In a container a part
// may be bind-mounted.
func better(one, other *mountinfo.Info) *mountinfo.Info {
	score := func(mount *mountinfo.Info) int {
		switch {
		case mount == nil:
			return -1
		case mount.Root != "/":
			return 0
		case mount.Mountpoint != cgroupRoot && !strings.HasPrefix(mount.Mountpoint, cgroupRoot+"/"):
			return 1
		}
		return 2
	}
	if score(other) > score(one) {
		return other
	}
	return one
}

// subsysName is SUBSYS(x) of include/linux/cgroup_subsys.h: blkio is called io.
func subsysName(controller string) string {
	if controller == "blkio" {
		controller = "io"
	}
	return controller + "_cgrp_id"
}

// SubsysIndex is the number of a controller in the running kernel, which depends
// on its configuration.
func SubsysIndex(spec *btf.Spec, name string) (int, error) {
	var ids *btf.Enum
	if err := spec.TypeByName("cgroup_subsys_id", &ids); err != nil {
		return 0, fmt.Errorf("looking enum cgroup_subsys_id up: %w", err)
	}
	for _, value := range ids.Values {
		if value.Name == name {
			return int(value.Value), nil
		}
	}
	return 0, fmt.Errorf("the kernel's enum cgroup_subsys_id has no %s", name)
}

// Path is the cgroup that a process is in; os.ErrNotExist is in the error's tree if
// the process is gone. A cgroup that was removed may still have a dying process.
func (c Cgroups) Path(pid int) (string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if errors.Is(err, unix.ESRCH) {
		err = os.ErrNotExist // it ended between open and read
	}
	if err != nil {
		return "", fmt.Errorf("finding the cgroup of process %d: %w", pid, err)
	}
	cgroup, err := c.parsePath(string(text))
	if err != nil {
		return "", fmt.Errorf("finding the cgroup of process %d: %w", pid, err)
	}
	return cgroup, nil
}

// parsePath reads /proc/PID/cgroup (cgroups(7)): lines of hierarchy, controllers and
// path. The path holds no newline (cgroup_mkdir, kernel/cgroup/cgroup.c), and v2 is
// the line without controllers.
func (c Cgroups) parsePath(text string) (string, error) {
	for line := range strings.Lines(text) {
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(fields) < 3 || !slices.Contains(strings.Split(fields[1], ","), c.Controller) {
			continue
		}
		cgroup := strings.TrimSuffix(fields[2], " (deleted)")
		if cgroup == "/.." || strings.HasPrefix(cgroup, "/../") {
			return "", errors.New("it is outside of this process's cgroup namespace: run capmon in the host's (docker run --cgroupns=host)")
		}
		return cgroup, nil
	}
	return "", fmt.Errorf("there is no line for controller %q", c.Controller)
}

// Walk visits every cgroup, parents first. Cgroups that vanish meanwhile are passed
// over. An error of visit ends the walk and is returned, but fs.SkipDir passes over
// what is below the cgroup and fs.SkipAll over all the rest.
func (c Cgroups) Walk(visit func(cgroup string) error) error { return c.WalkFrom("/", visit) }

// WalkFrom is Walk for a cgroup and those below it. os.ErrNotExist is in the error's tree
// if it is gone.
func (c Cgroups) WalkFrom(cgroup string, visit func(cgroup string) error) error {
	top := path.Join(c.Mount, cgroup)
	return filepath.WalkDir(top, func(dir string, entry fs.DirEntry, err error) error {
		vanished := errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENODEV)
		if vanished && dir != top {
			return nil
		}
		if errors.Is(err, unix.ENODEV) {
			err = os.ErrNotExist
		}
		if err != nil {
			return fmt.Errorf("walking the cgroups: %w", err)
		}
		if !entry.IsDir() {
			return nil
		}
		return visit(path.Join("/", strings.TrimPrefix(dir, c.Mount)))
	})
}

// Procs lists the processes of one cgroup, without those below it and those
// that this process's pid namespace does not show. os.ErrNotExist is in the error's
// tree if the cgroup is gone.
func (c Cgroups) Procs(cgroup string) ([]int, error) {
	data, err := os.ReadFile(path.Join(c.Mount, cgroup, "cgroup.procs"))
	if errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil, nil // removed while being read; a threaded cgroup
	}
	if err != nil {
		return nil, fmt.Errorf("listing a cgroup's processes: %w", err)
	}
	var pids []int
	for _, field := range strings.Fields(string(data)) {
		pid, err := strconv.Atoi(field)
		if err != nil {
			return nil, fmt.Errorf("listing the processes of %s: %w", cgroup, err)
		}
		if pid != 0 { // one that has no number here
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// ID is the kernfs id of a cgroup, which the kernel gives no other one of this
// boot: the inode number of its directory, where these have 64 bits (kernfs_id_ino,
// include/linux/kernfs.h; under v1 too). BPF programs read it as cgroup->kn->id.
// os.ErrNotExist is in the error's tree if the cgroup is gone.
//
// name_to_handle_at(2) would tell it as well, but is refused by the seccomp profiles of
// some versions of Docker.
func (c Cgroups) ID(cgroup string) (uint64, error) {
	var stat unix.Stat_t
	if err := unix.Stat(path.Join(c.Mount, cgroup), &stat); err != nil {
		return 0, fmt.Errorf("asking for the id of cgroup %s: %w", cgroup, err)
	}
	return stat.Ino, nil
}

// Delegated finds the topmost cgroup on the way to a cgroup, itself included, in which somebody
// else than root may make cgroups: its kernfs id, 0 if there is none. os.ErrNotExist is in the
// error's tree if one of them is gone.
func (c Cgroups) Delegated(cgroup string) (uint64, error) {
	const othersWrite = 0o022
	way := "/"
	for name := range strings.SplitSeq(cgroup, "/") {
		way = path.Join(way, name)
		var stat unix.Stat_t
		if err := unix.Stat(path.Join(c.Mount, way), &stat); err != nil {
			return 0, fmt.Errorf("asking for the owner of cgroup %s: %w", way, err)
		}
		if stat.Uid != 0 || stat.Mode&othersWrite != 0 {
			return stat.Ino, nil
		}
	}
	return 0, nil
}

// Holds reports whether a process is in the cgroup with an id or in one below it.
func (c Cgroups) Holds(id uint64, pid int) bool {
	cgroup, err := c.Path(pid)
	if err != nil {
		return false
	}
	for ; len(cgroup) > 1; cgroup = path.Dir(cgroup) { // up to the root
		if own, err := c.ID(cgroup); err == nil && own == id {
			return true
		}
	}
	return false
}
