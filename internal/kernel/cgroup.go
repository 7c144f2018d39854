package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
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
// the process is gone. A cgroup that was removed may still have a dying process. If the path is
// longer than the kernel prints (PATH_MAX), unix.ENAMETOOLONG is in the error's tree.
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
		if len(cgroup) >= unix.PathMax-1 { // Linux 6.9 and later cut it there
			return "", unix.ENAMETOOLONG
		}
		if cgroup == "/.." || strings.HasPrefix(cgroup, "/../") {
			return "", errors.New("it is outside of this process's cgroup namespace: run capmon in the host's (docker run --cgroupns=host)")
		}
		return cgroup, nil
	}
	return "", fmt.Errorf("there is no line for controller %q", c.Controller)
}

// Procs lists the processes of one cgroup, without those below it and those
// that this process's pid namespace does not show. os.ErrNotExist is in the error's
// tree if the cgroup is gone.
func (c Cgroups) Procs(cgroup string) ([]int, error) {
	directory, err := c.open(cgroup)
	if err != nil {
		return nil, fmt.Errorf("listing the processes of cgroup %s: %w", ShortPath(cgroup), err)
	}
	defer directory.Close()
	return procs(directory)
}

// ID is the kernfs id of a cgroup, which the kernel gives no other one of this
// boot: the inode number of its directory, where these have 64 bits (kernfs_id_ino,
// include/linux/kernfs.h; under v1 too). BPF programs read it as cgroup->kn->id.
// os.ErrNotExist is in the error's tree if the cgroup is gone.
//
// name_to_handle_at(2) would tell it as well, but is refused by the seccomp profiles of
// some versions of Docker.
func (c Cgroups) ID(cgroup string) (uint64, error) {
	directory, err := c.open(cgroup)
	if err == nil {
		defer directory.Close()
		var id uint64
		if id, err = inode(directory); err == nil {
			return id, nil
		}
	}
	return 0, fmt.Errorf("asking for the id of cgroup %s: %w", ShortPath(cgroup), err)
}

// Delegated finds the topmost cgroup on the way to a cgroup, itself included, in which somebody
// else than root may make cgroups: its kernfs id, 0 if there is none. os.ErrNotExist is in the
// error's tree if one of them is gone.
func (c Cgroups) Delegated(cgroup string) (delegated uint64, err error) {
	const othersWrite = 0o022
	err = c.downTo(cgroup, func(_ string, stat *unix.Stat_t) (more bool) {
		if stat.Uid != 0 || stat.Mode&othersWrite != 0 {
			delegated = stat.Ino
		}
		return delegated == 0
	})
	if err != nil {
		return 0, fmt.Errorf("asking for the owners of cgroup %s: %w", ShortPath(cgroup), err)
	}
	return delegated, nil
}

// PathOf is the path of the cgroup with an id if a process is in it or in one below it. It is
// false if the process's path is longer than the kernel prints.
func (c Cgroups) PathOf(id uint64, pid int) (way string, inside bool) {
	cgroup, err := c.Path(pid)
	if err != nil {
		return "", false
	}
	_ = c.downTo(cgroup, func(part string, stat *unix.Stat_t) (more bool) { // what is gone has no id
		if inside = len(part) > 1 && stat.Ino == id; inside {
			way = part
		}
		return !inside
	})
	return way, inside
}

// Holds reports whether a process is in the cgroup with an id or in one below it.
func (c Cgroups) Holds(id uint64, pid int) bool {
	_, err := c.Path(pid)
	if errors.Is(err, unix.ENAMETOOLONG) {
		return c.lists(id, pid)
	}
	_, inside := c.PathOf(id, pid)
	return inside
}

// lists reports whether the cgroup with an id, or one below it, lists a process. That is slow,
// and for processes whose paths are too long for the kernel to print.
func (c Cgroups) lists(id uint64, pid int) (found bool) {
	_ = c.WalkDirs("/", func(top CgroupDir) error {
		if own, err := top.ID(); err != nil || own != id {
			return nil
		}
		_ = c.WalkDirs(top.Path(), func(below CgroupDir) error {
			pids, err := below.Procs()
			if found = err == nil && slices.Contains(pids, pid); found {
				return fs.SkipAll
			}
			return nil
		})
		return fs.SkipAll
	})
	return found
}
