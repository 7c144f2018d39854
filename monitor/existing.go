package monitor

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/bpf"
	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/kernel"
)

// adopt enters the containers that run already, so that one which makes no
// check is known too, and so that a user namespace made by its workload is not
// taken for the container's base one. Nothing must be recorded yet.
func (m *Monitor) registerRunning(maps bpf.CapmonMaps) error {
	m.registered = make(map[uint64]bool)
	return m.forEachContainerCgroup(func(cgroup string) error { return m.registerContainer(maps, cgroup) })
}

// adoptRest enters those that were started after adopt and before everything was
// recorded, at the moment given. Of later ones all is recorded.
func (m *Monitor) registerLate(recording uint64) error {
	return m.forEachContainerCgroup(func(cgroup string) error { return m.registerLateContainer(cgroup, recording) })
}

// eachContainerCgroup visits the topmost cgroup of every container. One that
// vanishes meanwhile is passed over.
func (m *Monitor) forEachContainerCgroup(visit func(cgroup string) error) error {
	return m.walkCgroups(func(cgroup kernel.CgroupDir) error {
		if _, ok := container.IDFromCgroup(cgroup.Name()); !ok {
			return nil
		}
		if err := visit(cgroup.Path()); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return fs.SkipDir // a cgroup below a container's belongs to that one
	})
}

// walk visits all cgroups. Those that cannot be read are passed over, and noted for Unread.
func (m *Monitor) walkCgroups(visit func(kernel.CgroupDir) error) error {
	err := m.cgroups.WalkDirs("/", visit)
	var unread *kernel.UnreadError
	if errors.As(err, &unread) {
		err = nil
	}
	m.unread.Store(unread)
	return err
}

// Unread tells of cgroups that could not be read when all were last looked for; nil if all could.
// Containers in them may be missing, or taken for ended.
func (m *Monitor) UnreadCgroups() error {
	if unread := m.unread.Load(); unread != nil {
		return unread
	}
	return nil
}

func (m *Monitor) registerContainer(maps bpf.CapmonMaps, cgroup string) error {
	id, err := m.cgroups.ID(cgroup)
	if err != nil {
		return err
	}
	value, ok, err := m.readRunning(cgroup, id, math.MaxUint64)
	if err != nil || !ok {
		return err
	}
	m.registered[id] = true
	return enterContainer(maps, id, value, path.Base(cgroup))
}

func (m *Monitor) registerLateContainer(cgroup string, recording uint64) error {
	id, err := m.cgroups.ID(cgroup)
	if err != nil || m.registered[id] {
		return err
	}
	value, ok, err := m.readRunning(cgroup, id, recording)
	if err != nil || !ok {
		return err
	}
	// A check may have entered it a moment ago, but with the user namespace of the
	// task that made it, which need not be the container's.
	var known bpf.CapmonContainer
	if err := m.attached.maps.Containers.Lookup(id, &known); err == nil {
		known.Existed, known.BaseUserns = 1, value.BaseUserns
		known.Bounding, known.Permitted, known.Uid = known.Bounding|value.Bounding, known.Permitted|value.Permitted, value.Uid
		known.Processes += value.Processes
		if known.WorkloadNs == 0 {
			known.WorkloadNs, known.LastNs = value.WorkloadNs, value.LastNs
		}
		value = known
	}
	return enterContainer(m.attached.maps, id, value, path.Base(cgroup))
}

// find reads what there is to record of a container. It is false if no workload process of it
// started before a moment.
func (m *Monitor) readRunning(cgroup string, id, late uint64) (value bpf.CapmonContainer, ok bool, err error) {
	first, ok, err := firstWorkloadProcess(m.cgroups, cgroup, late)
	if err != nil || !ok {
		return value, false, err
	}
	value = m.newEntry(id, first)
	value.Delegated, err = m.cgroups.Delegated(path.Dir(cgroup))
	return value, err == nil, err
}

// found is what there is to record of a container whose first process is known. If that was
// inherited it is as it was, with nothing counted.
func (m *Monitor) newEntry(id uint64, first processInfo) bpf.CapmonContainer {
	if earlier, ok := m.carriedOver.containers[id]; ok {
		earlier.Processes, earlier.Lost, earlier.Used, earlier.Kept = 0, 0, 0, 0
		clear(earlier.Files[:])
		clear(earlier.Unlisted[:])
		clear(earlier.Entries[:])
		earlier.UnrecordedExecutions, earlier.UnrecordedCalls, earlier.SetfcapUses = 0, 0, 0
		earlier.ToldGranted, earlier.ToldRefused, earlier.EventsNs = 0, 0, 0
		return earlier
	}
	now := m.clock.Now()
	return bpf.CapmonContainer{
		FirstNs:    now,
		WorkloadNs: now,
		LastNs:     now,
		Bounding:   first.bounding,
		Permitted:  first.permitted,
		Uid:        first.uid,
		BaseUserns: first.userNamespace,
		Processes:  first.processes,
		Existed:    1,
	}
}

func enterContainer(maps bpf.CapmonMaps, id uint64, value bpf.CapmonContainer, name string) error {
	if len(name) >= len(value.Name) {
		return nil // the kernel side does not take such a name either
	}
	copy(value.Name[:], name)
	var known bpf.CapmonContainer
	if maps.Containers.Lookup(id, &known) != nil {
		if room, err := takeSlot(maps.Slots, value.Delegated, id); err != nil || !room {
			return err // the kernel side puts it with others
		}
	}
	err := maps.Containers.Update(id, &value, ebpf.UpdateAny)
	if errors.Is(err, unix.E2BIG) {
		return nil // no room: the kernel side counts what is lost by it
	}
	if err != nil {
		return fmt.Errorf("entering the running container %s: %w", name, err)
	}
	return nil
}

// process is what /proc tells of a container's first process.
type processInfo struct {
	// The capability sets of firstWorkloadProcess are those of all processes together: any of
	// them may have dropped some of its own since it was started.
	bounding, permitted uint64
	uid, userNamespace  uint32
	innerPID            uint32
	start               uint64 // in nanoseconds since boot, rounded down
	processes           uint32
}

// firstWorkloadProcess finds the oldest process of a container that is workload, as the kernel
// side's phase_of_existing. Those that started at a moment or later are left out.
func firstWorkloadProcess(cgroups kernel.Cgroups, cgroup string, late uint64) (processInfo, bool, error) {
	pids, err := processesBelow(cgroups, cgroup)
	if err != nil {
		return processInfo{}, false, err
	}
	var first processInfo
	var found bool
	var processes uint32
	var bounding, permitted uint64
	for _, pid := range pids {
		p, workload, err := readProcess(pid, pids)
		if err != nil || !workload || p.start >= late {
			continue // it ended, or the runtime has not started the workload yet
		}
		processes++
		has := unionOfSets([]int{pid})
		bounding, permitted = bounding|has.bounding|p.bounding, permitted|has.permitted|p.permitted
		if !found || p.start < first.start {
			first, found = p, true
		}
	}
	first.processes, first.bounding, first.permitted = processes, bounding, permitted
	return first, found, nil
}

func processesBelow(cgroups kernel.Cgroups, cgroup string) ([]int, error) {
	var pids []int
	err := cgroups.WalkDirs(cgroup, func(below kernel.CgroupDir) error {
		procs, err := below.Procs()
		pids = append(pids, procs...)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) { // the container may close its files
			return nil
		}
		return err
	})
	var unread *kernel.UnreadError
	if errors.As(err, &unread) {
		err = nil
	}
	return pids, err
}

// readProcess reads about one of a container's processes, all of which are given.
func readProcess(pid int, all []int) (p processInfo, workload bool, err error) {
	dir := processDirectory(pid)
	if p.start, _, err = readStat(dir); err != nil {
		return p, false, err
	}
	if workload, err = isWorkload(pid, all); err != nil || !workload {
		return p, false, err
	}
	if err := p.readStatus(dir); err != nil {
		return p, false, err
	}
	p.userNamespace, err = baseUserNamespace(dir)
	return p, err == nil, err
}

func processDirectory(pid int) string { return "/proc/" + strconv.Itoa(pid) }

// readStatus reads the capability sets and the user of a process or thread.
func (p *processInfo) readStatus(dir string) error {
	status, err := os.ReadFile(dir + "/status")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(status)) {
		field, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		value = strings.TrimSpace(value)
		switch field {
		case "CapBnd":
			p.bounding, err = strconv.ParseUint(value, 16, 64)
		case "CapPrm":
			p.permitted, err = strconv.ParseUint(value, 16, 64)
		case "Uid":
			var uid uint64
			uid, err = strconv.ParseUint(strings.Fields(value)[1], 10, 32)
			p.uid = uint32(uid)
		case "NSpid":
			var pid uint64
			pid, err = strconv.ParseUint(value[strings.LastIndexByte(value, '\t')+1:], 10, 32)
			p.innerPID = uint32(pid)
		}
		if err != nil {
			return fmt.Errorf("reading %s/status: %w", dir, err)
		}
	}
	return nil
}

// permittedOf is what the threads of the processes are permitted; those that end
// meanwhile are passed over.
func unionOfPermitted(pids []int) capability.Set { return capability.Set(unionOfSets(pids).permitted) }

// setsOf is the union of the capability sets of the processes' threads. It skips threads that end.
func unionOfSets(pids []int) (sets processInfo) {
	for _, pid := range pids {
		threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
		for _, thread := range threads {
			var p processInfo
			if err := p.readStatus(thread); err == nil {
				sets.bounding |= p.bounding
				sets.permitted |= p.permitted
			}
		}
	}
	return sets
}

// maxAncestors is ANCESTORS of bpf/task.h.
const maxAncestors = 32

// isWorkload reports whether a process that was there before the recording is the container's
// workload, as phase_of_existing in bpf/task.h: it or an ancestor of it among the container's
// processes, all of which are given, has another root directory than the nearest ancestor
// outside, or is older than a runtime takes to prepare a process.
func isWorkload(pid int, all []int) (bool, error) {
	clock, err := kernel.NewClock()
	if err != nil {
		return false, err
	}
	roots := make(map[rootID]bool)
	for range maxAncestors {
		if pid == 0 {
			break // outside of what can be seen from here
		}
		start, parent, err := readStat(processDirectory(pid))
		if err != nil {
			return false, err
		}
		inside := slices.Contains(all, pid)
		if inside && start+uint64(SetupTime) < clock.Now() {
			return true, nil
		}
		root, err := rootOf(pid)
		if errors.Is(err, errRootHangs) {
			return true, nil
		}
		if err != nil {
			return false, err
		}
		roots[root] = true
		if !inside {
			return len(roots) > 1, nil
		}
		pid = parent
	}
	return true, nil // too many in between for a runtime
}

// rootID identifies a root directory.
type rootID struct {
	device, inode uint64
}

// rootTime is how long it may take to identify a root directory.
const rootTimeout = 200 * time.Millisecond

// rootOf identifies a process's root directory without asking its file system, which may be
// the container's own and never answer. Only NFS may be asked all the same. Then a thread is left
// waiting, which SIGKILL ends, as does the end of this process: NFS waits that way.
func rootOf(pid int) (rootID, error) {
	type answer struct {
		root rootID
		err  error
	}
	answers := make(chan answer, 1)
	go func() {
		root, err := statRoot(pid)
		answers <- answer{root, err}
	}()
	select {
	case answer := <-answers:
		return answer.root, answer.err
	case <-time.After(rootTimeout):
		return rootID{}, errRootHangs
	}
}

// errSilentRoot: the root directory's file system does not answer. It is none that a runtime has.
var errRootHangs = errors.New("the file system of a root directory does not answer")

func statRoot(pid int) (rootID, error) {
	var stat unix.Statx_t
	name := processDirectory(pid) + "/root"
	err := unix.Statx(unix.AT_FDCWD, name, unix.AT_STATX_DONT_SYNC, unix.STATX_INO, &stat)
	if err != nil {
		return rootID{}, &os.PathError{Op: "statx", Path: name, Err: err}
	}
	return rootID{unix.Mkdev(stat.Dev_major, stat.Dev_minor), stat.Ino}, nil
}

func sharesWithHost(dir, namespace string) bool {
	own, err := os.Readlink(dir + "/ns/" + namespace)
	if err != nil {
		return false
	}
	host, err := os.Readlink("/proc/1/ns/" + namespace)
	return err == nil && own == host
}

// baseUserNamespace is the inode number of the user namespace that the container
// was made in. Its first process may have unshared its own since, but cannot leave
// its pid namespace, whose owner is the container's. Only the host's pid namespace
// tells nothing.
func baseUserNamespace(dir string) (uint32, error) {
	var stat unix.Stat_t
	if sharesWithHost(dir, "pid") {
		err := unix.Stat(dir+"/ns/user", &stat)
		return uint32(stat.Ino), err
	}
	processes, err := os.Open(dir + "/ns/pid")
	if err != nil {
		return 0, err
	}
	defer processes.Close()
	owner, err := unix.IoctlRetInt(int(processes.Fd()), unix.NS_GET_USERNS)
	if err != nil {
		return 0, fmt.Errorf("finding the owner of %s/ns/pid: %w", dir, err)
	}
	defer unix.Close(owner)
	err = unix.Fstat(owner, &stat)
	return uint32(stat.Ino), err
}

// tick is the unit of times in /proc/PID/stat (USER_HZ).
const clockTick = 10 * time.Millisecond

// readStat reads two fields of /proc/PID/stat: when the process was started (22), in nanoseconds
// since boot, and the number of its parent (4), 0 if that is outside the pid namespace.
func readStat(dir string) (start uint64, parent int, err error) {
	stat, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return 0, 0, err
	}
	// The name in parentheses may hold anything.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(fields) < 20 {
		return 0, 0, fmt.Errorf("reading %s/stat: too short", dir)
	}
	if parent, err = strconv.Atoi(fields[1]); err != nil {
		return 0, 0, fmt.Errorf("reading %s/stat: %w", dir, err)
	}
	ticks, err := strconv.ParseUint(fields[19], 10, 64)
	return ticks * uint64(clockTick), parent, err
}
