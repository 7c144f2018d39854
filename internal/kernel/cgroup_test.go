package kernel

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/internal/testutil"
)

const (
	unifiedMounts = `24 30 0:22 / /proc rw,nosuid,nodev,noexec,relatime shared:14 - proc proc rw
25 30 0:23 / /sys rw,nosuid,nodev,noexec,relatime shared:7 - sysfs sysfs rw
35 25 0:30 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot
`
	hybridMounts = `31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
38 31 0:35 / /sys/fs/cgroup/blkio rw,relatime - cgroup cgroup rw,blkio
39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
`
	legacyMounts = `25 19 0:20 / /sys/fs/cgroup ro,nosuid,nodev,noexec shared:8 - tmpfs tmpfs ro,mode=755
26 25 0:21 / /sys/fs/cgroup/systemd rw,nosuid shared:9 - cgroup cgroup rw,xattr,release_agent=/usr/lib/systemd/systemd-cgroups-agent,name=systemd
28 25 0:23 / /sys/fs/cgroup/net_cls,net_prio rw,nosuid shared:11 - cgroup cgroup rw,net_prio,net_cls
31 25 0:26 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:14 - cgroup cgroup rw,cpuacct,cpu
`
)

func TestChooseCgroups(t *testing.T) {
	for _, test := range []struct {
		about, mounts string
		want          Cgroups
	}{
		{"unified", unifiedMounts, Cgroups{CgroupUnified, "/sys/fs/cgroup", "", "", false}},
		{"hybrid", hybridMounts, Cgroups{CgroupHybrid, "/sys/fs/cgroup/pids", "pids", "pids_cgrp_id", false}},
		{"legacy, controllers mounted together", legacyMounts, Cgroups{CgroupLegacy, "/sys/fs/cgroup/cpu,cpuacct", "cpu", "cpu_cgrp_id", false}},
		{
			"unified, and a program mounted a v1 controller for itself",
			unifiedMounts + "90 30 0:50 / /opt/vpn/net_cls rw,relatime - cgroup net_cls rw,net_cls\n",
			Cgroups{CgroupUnified, "/sys/fs/cgroup", "", "", false},
		},
		{
			"unified, and again elsewhere before",
			"20 30 0:30 / /mnt/cgroup rw - cgroup2 cgroup2 rw\n" + unifiedMounts,
			Cgroups{CgroupUnified, "/sys/fs/cgroup", "", "", false},
		},
		{
			"v2 below an old layout without controllers",
			"25 19 0:20 / /sys/fs/cgroup ro - tmpfs tmpfs ro\n" +
				"26 25 0:21 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n" +
				"27 25 0:22 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
			Cgroups{CgroupUnified, "/sys/fs/cgroup/unified", "", "", false},
		},
		{
			"in a container, a part bind-mounted first and the whole elsewhere",
			"31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n" +
				"39 31 0:36 /docker/0123456789abcdef /sys/fs/cgroup/pids ro - cgroup cgroup rw,pids\n" +
				"50 23 0:36 / /host/cgroup/pids ro - cgroup cgroup rw,pids\n",
			Cgroups{CgroupLegacy, "/host/cgroup/pids", "pids", "pids_cgrp_id", false},
		},
		{
			"in a container, only a part",
			"31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n" +
				"39 31 0:36 /docker/0123456789abcdef /sys/fs/cgroup/blkio ro - cgroup cgroup rw,blkio\n",
			Cgroups{CgroupLegacy, "/sys/fs/cgroup/blkio", "blkio", "io_cgrp_id", true},
		},
	} {
		t.Run(test.about, func(t *testing.T) {
			mounts, err := mountinfo.GetMountsFromReader(strings.NewReader(test.mounts), nil)
			if err != nil {
				t.Fatal(err)
			}
			got, err := chooseCgroups(mounts)
			if err != nil {
				t.Fatal(err)
			}
			if got != test.want {
				t.Errorf("%+v, want %+v", got, test.want)
			}
		})
	}
	if _, err := chooseCgroups(nil); err == nil {
		t.Error("no error where nothing is mounted")
	}
}

func TestPathOfProcess(t *testing.T) {
	const text = `9:name=systemd:/systemd
8:pids:/docker/0123:4567
4:cpu,cpuacct:/both
3:memory:/../../outside
1:cpuset:/..
0::/system.slice/docker-0123.scope (deleted)
`
	for controller, want := range map[string]string{
		"pids":    "/docker/0123:4567",
		"cpuacct": "/both",
		"":        "/system.slice/docker-0123.scope",
		"memory":  "", // outside of the cgroup namespace
		"cpuset":  "",
		"devices": "", // not there
		"systemd": "",
	} {
		got, err := Cgroups{Controller: controller}.parsePath(text)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q %v, want %q", controller, got, err, want)
		}
	}
}

// TestCgroupsOfThisKernel makes a cgroup and finds it with all methods.
func TestCgroupsOfThisKernel(t *testing.T) {
	testutil.NeedRoot(t)
	cgroups, err := DetectCgroups()
	if err != nil {
		t.Fatal(err)
	}
	own, err := cgroups.Path(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if pids, err := cgroups.Procs(own); err != nil || !slices.Contains(pids, os.Getpid()) {
		t.Errorf("processes of %s: %v %v, want %d among them", own, pids, err, os.Getpid())
	}

	made := "/kernel_test-" + strconv.Itoa(os.Getpid())
	below := made + "/below"
	for _, cgroup := range []string{made, below} {
		dir := filepath.Join(cgroups.Mount, cgroup)
		if err := os.Mkdir(dir, 0o755); errors.Is(err, os.ErrPermission) || errors.Is(err, fs.ErrInvalid) {
			t.Fatal("cannot make cgroups here: ", err)
		} else if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.Remove(dir) })
	}
	if pids, err := cgroups.Procs(below); err != nil || len(pids) != 0 {
		t.Errorf("processes of a new cgroup: %v %v", pids, err)
	}

	ids := make(map[uint64]string)
	var walked []string
	err = cgroups.Walk(func(cgroup string) error {
		walked = append(walked, cgroup)
		id, err := cgroups.ID(cgroup)
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		handle, _, handleErr := unix.NameToHandleAt(unix.AT_FDCWD, filepath.Join(cgroups.Mount, cgroup), 0)
		if handleErr == nil && binary.NativeEndian.Uint64(handle.Bytes()) != id { // kernfs_encode_fh, fs/kernfs/mount.c
			t.Errorf("the id of %s is %d, its handle %v", cgroup, id, handle.Bytes())
		}
		if other, taken := ids[id]; taken {
			t.Errorf("%s and %s have the same id", cgroup, other)
		}
		ids[id] = cgroup
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if walked[0] != "/" || !slices.Contains(walked, made) || !slices.Contains(walked, below) {
		t.Errorf("walked %q, want the root, %s and %s", walked, made, below)
	}

	walked = nil
	err = cgroups.Walk(func(cgroup string) error {
		walked = append(walked, cgroup)
		if cgroup == made {
			return fs.SkipDir
		}
		return nil
	})
	if err != nil || slices.Contains(walked, below) {
		t.Errorf("walked %q (%v) although %s was to be skipped", walked, err, below)
	}

	for _, cgroup := range []string{below, made} {
		if err := os.Remove(filepath.Join(cgroups.Mount, cgroup)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := cgroups.ID(made); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("id of a removed cgroup: %v", err)
	}
	if _, err := cgroups.Procs(made); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("processes of a removed cgroup: %v", err)
	}
}

// A walk reaches cgroups at any depth, without a descriptor for each level.
func TestDeepCgroups(t *testing.T) {
	testutil.NeedRoot(t)
	cgroups, err := DetectCgroups()
	if err != nil {
		t.Fatal(err)
	}
	const levels = 30
	name := strings.Repeat("n", 200)
	top := "/kernel_test-deep-" + strconv.Itoa(os.Getpid())
	deepest := top + strings.Repeat("/"+name, levels)
	t.Cleanup(func() {
		_ = exec.Command("find", filepath.Join(cgroups.Mount, top), "-depth", "-type", "d", "-delete").Run()
	})
	at, err := unix.Open(cgroups.Mount, unix.O_PATH|unix.O_DIRECTORY, 0)
	for _, below := range strings.Split(strings.Trim(deepest, "/"), "/") {
		if err == nil {
			err = unix.Mkdirat(at, below, 0o755)
		}
		if err == nil {
			at, err = unix.Openat(at, below, unix.O_PATH|unix.O_DIRECTORY, 0) // the descriptors of the cgroups above stay open
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	id, err := cgroups.ID(deepest)
	if err != nil || id == 0 {
		t.Fatal(err)
	}
	var visited int
	err = cgroups.WalkDirs(top, func(d CgroupDir) error {
		own, err := d.ID()
		if visited++; d.Path() == deepest && (own != id || d.Name() != name) {
			t.Errorf("the deepest is %d, %s; want %d", own, d.Name(), id)
		}
		if pids, err := d.Procs(); err != nil || len(pids) > 0 {
			t.Errorf("processes: %v %v", pids, err)
		}
		return err
	})
	if err != nil || visited != levels+1 {
		t.Errorf("visited %d cgroups, want %d: %v", visited, levels+1, err)
	}
	if pids, err := cgroups.Procs(deepest); err != nil || len(pids) > 0 {
		t.Errorf("processes: %v %v", pids, err)
	}
	if delegated, err := cgroups.Delegated(deepest); err != nil || delegated != 0 {
		t.Errorf("delegated: %d %v", delegated, err)
	}
	sleeper := exec.Command("sleep", "1000")
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = sleeper.Process.Kill()
		_ = sleeper.Wait()
	}()
	procs, err := unix.Openat(at, "cgroup.procs", unix.O_WRONLY, 0)
	if err == nil {
		_, err = unix.Write(procs, []byte(strconv.Itoa(sleeper.Process.Pid)))
	}
	if err != nil {
		t.Fatal(err)
	}
	if path, err := cgroups.Path(sleeper.Process.Pid); !errors.Is(err, unix.ENAMETOOLONG) {
		t.Errorf("path of %d bytes, %v", len(path), err)
	}
	topID, err := cgroups.ID(top)
	if err != nil || !cgroups.Contains(topID, sleeper.Process.Pid) || cgroups.Contains(topID, os.Getpid()) || cgroups.Contains(1<<60, sleeper.Process.Pid) {
		t.Errorf("Contains returned a wrong result: %v", err)
	}
	if _, err := cgroups.ID(deepest + "/" + name); !errors.Is(err, os.ErrNotExist) || len(err.Error()) > 400 {
		t.Errorf("a missing one: %v", err)
	}
}

func TestPathOfAMissingProcess(t *testing.T) {
	if _, err := (Cgroups{}).Path(1 << 30); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

func TestWalkNeedsTheMount(t *testing.T) {
	missing := Cgroups{Mount: filepath.Join(t.TempDir(), "missing")}
	if err := missing.Walk(func(string) error { return nil }); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// The numbers in /proc/cgroups identify hierarchies, so only the names can be compared.
func TestSubsysIndex(t *testing.T) {
	spec, err := LoadBTF("")
	if errors.Is(err, ErrNoBTF) {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	enabled, err := os.ReadFile("/proc/cgroups")
	if err != nil {
		t.Fatal(err)
	}
	taken := make(map[int]string)
	for line := range strings.Lines(string(enabled)) {
		name, _, _ := strings.Cut(line, "\t")
		if strings.HasPrefix(name, "#") {
			continue
		}
		index, err := SubsysIndex(spec, subsysName(name))
		if err != nil {
			t.Error(err)
		}
		if other, ok := taken[index]; ok {
			t.Errorf("%s and %s have the same index", name, other)
		}
		taken[index] = name
	}
	if _, err := SubsysIndex(spec, "absent_cgrp_id"); err == nil {
		t.Error("no error for a controller that does not exist")
	}
}

// FuzzPathOfProcess: users who make cgroups choose their paths. parsePath returns a path below the root, or an error.
func FuzzPathOfProcess(f *testing.F) {
	f.Add("0::/system.slice/docker-0123.scope\n", "")
	f.Add("9:name=systemd:/systemd\n8:pids:/docker/0123:4567\n4:cpu,cpuacct:/both (deleted)\n", "cpuacct")
	f.Add("3:memory:/../../outside\n1:cpuset:/..\n0::/\n", "memory")
	f.Fuzz(func(t *testing.T, text, controller string) {
		cgroup, err := Cgroups{Controller: controller}.parsePath(text)
		if err != nil {
			if cgroup != "" {
				t.Errorf("%q with an error: %v", cgroup, err)
			}
			return
		}
		if strings.Contains(cgroup, "\n") || strings.HasPrefix(cgroup, "/..") && (len(cgroup) == 3 || cgroup[3] == '/') || !strings.Contains(text, cgroup) {
			t.Errorf("%q", cgroup)
		}
	})
}

// The owner of a cgroup can deny others access to it.
func TestUnreadableCgroupsAreSkipped(t *testing.T) {
	testutil.NeedRoot(t)
	mount := t.TempDir()
	err := errors.Join(os.MkdirAll(filepath.Join(mount, "closed/below"), 0o755), os.MkdirAll(filepath.Join(mount, "open/below"), 0o755),
		os.Chown(filepath.Join(mount, "closed"), 4711, 4711), os.Chmod(filepath.Join(mount, "closed"), 0))
	if err != nil {
		t.Fatal(err)
	}
	var walked []string
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // the thread ends with the goroutine
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var data [2]unix.CapUserData
		err := unix.Capget(&header, &data[0])
		data[0].Effective &^= 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_DAC_READ_SEARCH
		if err = errors.Join(err, unix.Capset(&header, &data[0])); err == nil {
			err = Cgroups{Mount: mount}.Walk(func(cgroup string) error {
				walked = append(walked, cgroup)
				return nil
			})
		}
		done <- err
	}()
	err = <-done
	var unread *UnreadError
	if !errors.As(err, &unread) || unread.Cgroups != 1 || !errors.Is(unread.First, os.ErrPermission) {
		t.Errorf("%v, want an error for one cgroup", err)
	}
	if want := []string{"/", "/closed", "/open", "/open/below"}; !slices.Equal(walked, want) {
		t.Errorf("walked %q, want %q", walked, want)
	}
}
