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

// CgroupMode describes which cgroup hierarchies are mounted.
type CgroupMode string

// The cgroup modes.
const (
	CgroupUnified CgroupMode = "v2"
	CgroupHybrid  CgroupMode = "hybrid"
	CgroupLegacy  CgroupMode = "v1"
)

// Cgroups is the cgroup hierarchy in which each container has its own cgroup. Make one with [DetectCgroups]. Its
// methods identify cgroups by their path below Mount; "/" is the root.
type Cgroups struct {
	Mode CgroupMode
	// Mount is the mount point of the hierarchy.
	Mount string
	// Controller is the v1 controller of the hierarchy; "" for the v2 hierarchy. In the modes v1 and hybrid, engines
	// put containers into the v1 hierarchies.
	Controller string
	// SubsysName is the controller's name in enum cgroup_subsys_id, "" for v2.
	SubsysName string
	// Partial is set if the mount shows only the cgroups below one cgroup. This is so in a container that does not have
	// the host's hierarchy.
	Partial bool
}

// controllers are the v1 controllers, in order of preference. Engines use all that are mounted.
var controllers = []string{"pids", "memory", "cpu", "cpuacct", "devices", "freezer", "blkio", "cpuset", "perf_event", "net_cls", "net_prio", "hugetlb"}

// cgroupRoot is the directory where engines expect cgroups.
const cgroupRoot = "/sys/fs/cgroup"

// DetectCgroups finds the hierarchy in this process's mounts. It returns an error if none is mounted.
func DetectCgroups() (Cgroups, error) {
	mounts, err := mountinfo.GetMounts(nil)
	if err != nil {
		return Cgroups{}, fmt.Errorf("reading the mounts: %w", err)
	}
	return chooseCgroups(mounts)
}

// chooseCgroups decides like runc (IsCgroup2UnifiedMode of opencontainers/cgroups). If v2 is mounted at /sys/fs/cgroup,
// only v2 is in use, even if a v1 controller is mounted elsewhere.
func chooseCgroups(mounts []*mountinfo.Info) (Cgroups, error) {
	var unified *mountinfo.Info
	legacy := make(map[string]*mountinfo.Info)
	var alone bool
	for _, mount := range mounts {
		if mount.Mountpoint == cgroupRoot {
			alone = mount.FSType == "cgroup2" // the last mount covers earlier ones
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
	return Cgroups{Mode: CgroupUnified, Mount: unified.Mountpoint, Partial: unified.Root != "/"}, nil
}

// better selects one of two mounts of a hierarchy. It prefers a mount that shows the whole hierarchy, because a
// container may have a bind mount of a part, then a mount below /sys/fs/cgroup, then the first one.
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

// subsysName returns the name from SUBSYS(x) in include/linux/cgroup_subsys.h, where blkio is named io.
func subsysName(controller string) string {
	if controller == "blkio" {
		controller = "io"
	}
	return controller + "_cgrp_id"
}

// SubsysIndex returns the number of a controller in the running kernel. It depends on the kernel's configuration.
func SubsysIndex(spec *btf.Spec, name string) (int, error) {
	var ids *btf.Enum
	if err := spec.TypeByName("cgroup_subsys_id", &ids); err != nil {
		return 0, fmt.Errorf("reading enum cgroup_subsys_id: %w", err)
	}
	for _, value := range ids.Values {
		if value.Name == name {
			return int(value.Value), nil
		}
	}
	return 0, fmt.Errorf("the kernel's enum cgroup_subsys_id has no %s", name)
}

// Path returns the cgroup of a process. The error matches [os.ErrNotExist] if the process does not exist any more. A
// process that is exiting may be in a cgroup that was removed. The error matches unix.ENAMETOOLONG if the path is
// longer than the kernel prints (PATH_MAX).
func (c Cgroups) Path(pid int) (string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if errors.Is(err, unix.ESRCH) {
		err = os.ErrNotExist // the process ended between open and read
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

// parsePath reads /proc/PID/cgroup (cgroups(7)). Each line has a hierarchy, its controllers and a path. The path has no
// newline (cgroup_mkdir, kernel/cgroup/cgroup.c). The line without controllers is the line of v2.
func (c Cgroups) parsePath(text string) (string, error) {
	for line := range strings.Lines(text) {
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(fields) < 3 || !slices.Contains(strings.Split(fields[1], ","), c.Controller) {
			continue
		}
		cgroup := strings.TrimSuffix(fields[2], " (deleted)")
		if len(cgroup) >= unix.PathMax-1 { // Linux 6.9 and later truncate it there
			return "", unix.ENAMETOOLONG
		}
		if cgroup == "/.." || strings.HasPrefix(cgroup, "/../") {
			return "", errors.New("the cgroup is outside of this process's cgroup namespace: run capmon in the cgroup namespace of the host (docker run --cgroupns=host)")
		}
		return cgroup, nil
	}
	return "", fmt.Errorf("/proc/PID/cgroup has no line for controller %q", c.Controller)
}

// Procs returns the processes of one cgroup. It omits processes in the cgroups below it, and processes that this
// process's PID namespace does not show. The error matches [os.ErrNotExist] if the cgroup was removed.
func (c Cgroups) Procs(cgroup string) ([]int, error) {
	directory, err := c.open(cgroup)
	if err != nil {
		return nil, fmt.Errorf("listing the processes of cgroup %s: %w", ShortPath(cgroup), err)
	}
	defer directory.Close()
	return procs(directory)
}

// ID returns the kernfs id of a cgroup. The kernel does not reuse it until the next boot. It is the inode number of the
// cgroup's directory, if inode numbers have 64 bits (kernfs_id_ino, include/linux/kernfs.h; also with v1). BPF programs
// read it as cgroup->kn->id. The error matches [os.ErrNotExist] if the cgroup was removed.
//
// name_to_handle_at(2) returns the same id, but the seccomp profiles of some versions of Docker deny that call.
func (c Cgroups) ID(cgroup string) (uint64, error) {
	directory, err := c.open(cgroup)
	if err == nil {
		defer directory.Close()
		var id uint64
		if id, err = inode(directory); err == nil {
			return id, nil
		}
	}
	return 0, fmt.Errorf("reading the id of cgroup %s: %w", ShortPath(cgroup), err)
}

// Delegated returns the kernfs id of the topmost cgroup, among a cgroup and those above it, in which users other than
// root may make cgroups; 0 if none. The error matches [os.ErrNotExist] if one of them was removed.
func (c Cgroups) Delegated(cgroup string) (delegated uint64, err error) {
	const othersWrite = 0o022
	err = c.downTo(cgroup, func(_ string, stat *unix.Stat_t) (more bool) {
		if stat.Uid != 0 || stat.Mode&othersWrite != 0 {
			delegated = stat.Ino
		}
		return delegated == 0
	})
	if err != nil {
		return 0, fmt.Errorf("reading the owners of cgroup %s: %w", ShortPath(cgroup), err)
	}
	return delegated, nil
}

// PathOf returns the path of the cgroup with an id, if a process is in that cgroup or below it. inside is false if the
// path of the process's cgroup is longer than the kernel prints.
func (c Cgroups) PathOf(id uint64, pid int) (cgroup string, inside bool) {
	own, err := c.Path(pid)
	if err != nil {
		return "", false
	}
	_ = c.downTo(own, func(ancestor string, stat *unix.Stat_t) (more bool) { // a removed cgroup has no id
		if inside = len(ancestor) > 1 && stat.Ino == id; inside {
			cgroup = ancestor
		}
		return !inside
	})
	return cgroup, inside
}

// Contains reports whether a process is in the cgroup with an id or below it.
func (c Cgroups) Contains(id uint64, pid int) bool {
	_, err := c.Path(pid)
	if errors.Is(err, unix.ENAMETOOLONG) {
		return c.lists(id, pid)
	}
	_, inside := c.PathOf(id, pid)
	return inside
}

// lists reports whether the cgroup with an id, or one below it, lists a process. It is slow, and used only for
// processes whose paths are too long for the kernel to print.
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
