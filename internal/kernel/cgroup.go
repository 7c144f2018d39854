package kernel

import (
	"bytes"
	"encoding/binary"
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

// Cgroups is the hierarchy that tells containers apart.
type Cgroups struct {
	Mode CgroupMode
	// Mount is where that hierarchy is mounted.
	Mount string
	// Controller names it under v1 and hybrid, where engines put containers into
	// the v1 controllers; "" for the v2 hierarchy.
	Controller string
	// SubsysName is the controller's name in enum cgroup_subsys_id.
	SubsysName string
}

// controllers of v1 in the order of preference; engines use all that are mounted.
var controllers = []string{"pids", "memory", "cpu", "cpuacct", "devices", "freezer", "blkio", "cpuset", "perf_event", "net_cls", "hugetlb"}

// DetectCgroups finds the hierarchy in this process's mounts.
func DetectCgroups() (Cgroups, error) {
	mounts, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("cgroup", "cgroup2"))
	if err != nil {
		return Cgroups{}, fmt.Errorf("reading the cgroup mounts: %w", err)
	}
	return chooseCgroups(mounts)
}

func chooseCgroups(mounts []*mountinfo.Info) (Cgroups, error) {
	unified := ""
	legacy := make(map[string]string)
	for _, mount := range mounts {
		if mount.FSType == "cgroup2" {
			if unified == "" {
				unified = mount.Mountpoint
			}
			continue
		}
		for _, option := range strings.Split(mount.VFSOptions, ",") {
			if slices.Contains(controllers, option) && legacy[option] == "" {
				legacy[option] = mount.Mountpoint
			}
		}
	}
	for _, controller := range controllers {
		if mountpoint, ok := legacy[controller]; ok {
			mode := CgroupHybrid
			if unified == "" {
				mode = CgroupLegacy
			}
			return Cgroups{mode, mountpoint, controller, subsysName(controller)}, nil
		}
	}
	if unified == "" {
		return Cgroups{}, errors.New("no cgroup hierarchy is mounted: mount one at /sys/fs/cgroup")
	}
	return Cgroups{Mode: CgroupUnified, Mount: unified}, nil
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

// Walk visits every cgroup by its path below the mount, "/" first. Cgroups that
// vanish meanwhile are passed over.
func (c Cgroups) Walk(visit func(cgroup string) error) error {
	return filepath.WalkDir(c.Mount, func(dir string, entry fs.DirEntry, err error) error {
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENODEV) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("walking the cgroups: %w", err)
		}
		if !entry.IsDir() {
			return nil
		}
		return visit("/" + strings.TrimPrefix(strings.TrimPrefix(dir, c.Mount), "/"))
	})
}

// Procs lists the processes of one cgroup, without those below it.
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
		pids = append(pids, pid)
	}
	return pids, nil
}

// ID is the kernfs id of a cgroup, which the kernel gives no other one of this
// boot: the file handle of its directory.
func (c Cgroups) ID(cgroup string) (uint64, error) {
	handle, _, err := unix.NameToHandleAt(unix.AT_FDCWD, path.Join(c.Mount, cgroup), 0)
	if err != nil {
		return 0, fmt.Errorf("asking for the id of cgroup %s: %w", cgroup, err)
	}
	var id uint64
	if err := binary.Read(bytes.NewReader(handle.Bytes()), binary.NativeEndian, &id); err != nil {
		return 0, fmt.Errorf("asking for the id of cgroup %s: a handle of %d bytes", cgroup, handle.Size())
	}
	return id, nil
}
