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
	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/containerid"
	"github.com/capmon/capmon/internal/kernel"
)

// registerRunningContainers enters the containers that already run into the map of containers, before the programs
// count. So capmon also knows containers that make no check. It also does not mistake a user namespace that their
// workload made for the container's own.
func (m *Monitor) registerRunningContainers(maps bpf.CapmonMaps) error {
	m.registered = make(map[uint64]bool)
	return m.forEachContainerCgroup(func(cgroup string) error { return m.registerRunningContainer(maps, cgroup) })
}

// registerContainersStartedDuringAttach enters the containers that started between registerRunningContainers and the
// time recording, when all programs were attached. The programs see later containers from their start.
func (m *Monitor) registerContainersStartedDuringAttach(recording uint64) error {
	return m.forEachContainerCgroup(func(cgroup string) error { return m.registerContainerStartedDuringAttach(cgroup, recording) })
}

// forEachContainerCgroup visits the topmost cgroup of every container. It skips cgroups that vanish.
func (m *Monitor) forEachContainerCgroup(visit func(cgroup string) error) error {
	return m.walkCgroups(func(cgroup kernel.CgroupDir) error {
		if _, ok := containerid.FromCgroup(cgroup.Name()); (!ok || m.isPod(cgroup)) && !m.isRecordedDirectory(cgroup) {
			return nil
		}
		if err := visit(cgroup.Path()); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return fs.SkipDir // a cgroup below a container's cgroup belongs to that container
	})
}

// isRecordedDirectory is isRecorded for a directory.
func (m *Monitor) isRecordedDirectory(cgroup kernel.CgroupDir) bool {
	id, err := cgroup.ID()
	return err == nil && m.isRecorded(id)
}

// isRecorded reports whether a cgroup is in the map as that of a container, even if it does not have the name of a
// container. is_known_container in bpf/cgroup.h has the same rule.
func (m *Monitor) isRecorded(cgroup uint64) bool {
	var value bpf.CapmonContainer
	return m.attached != nil && m.attached.maps.Containers.Lookup(&cgroup, &value) == nil && value.Folded == 0
}

// isPod reports whether a cgroup with the name of a container is a pod of Podman. cgroup_walk_node in bpf/cgroup.h has
// the same rule: the cgroup is a container if it has a process of its own, or had one when the programs saw it.
func (m *Monitor) isPod(cgroup kernel.CgroupDir) bool {
	if !containerid.MayBePod(cgroup.Path()) {
		return false
	}
	if m.isRecordedDirectory(cgroup) {
		return false
	}
	pids, err := cgroup.Procs()
	return err == nil && len(pids) == 0
}

// walkCgroups visits all cgroups. It skips cgroups that it cannot read, and stores them for UnreadCgroups.
func (m *Monitor) walkCgroups(visit func(kernel.CgroupDir) error) error {
	err := m.cgroups.WalkDirs("/", visit)
	var unread *kernel.UnreadError
	if errors.As(err, &unread) {
		err = nil
	}
	m.unread.Store(unread)
	return err
}

// UnreadCgroups returns an error about the cgroups that the last walk could not read, or nil if it read all. capmon may
// have missed containers in them, or may believe that these have ended.
func (m *Monitor) UnreadCgroups() error {
	if unread := m.unread.Load(); unread != nil {
		return unread
	}
	return nil
}

func (m *Monitor) registerRunningContainer(maps bpf.CapmonMaps, cgroup string) error {
	id, err := m.cgroups.ID(cgroup)
	if err != nil {
		return err
	}
	value, ok, err := m.readRunningContainer(cgroup, id, math.MaxUint64)
	if err != nil || !ok {
		return err
	}
	m.registered[id] = true
	return storeContainerEntry(maps, id, value, path.Base(cgroup))
}

func (m *Monitor) registerContainerStartedDuringAttach(cgroup string, recording uint64) error {
	id, err := m.cgroups.ID(cgroup)
	if err != nil || m.registered[id] {
		return err
	}
	value, ok, err := m.readRunningContainer(cgroup, id, recording)
	if err != nil || !ok {
		return err
	}
	// The programs may just have entered the container, because it made a check. Their entry has the user namespace of
	// the task that made the check, which can differ from the container's.
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
	return storeContainerEntry(m.attached.maps, id, value, path.Base(cgroup))
}

// readRunningContainer returns the map entry for a running container. It considers only processes that started before
// the time before. ok is false if none of them belongs to the workload.
func (m *Monitor) readRunningContainer(cgroup string, id, before uint64) (value bpf.CapmonContainer, ok bool, err error) {
	first, ok, err := firstWorkloadProcess(m.cgroups, cgroup, before)
	if err != nil || !ok {
		return value, false, err
	}
	value = m.newEntry(id, first)
	value.Delegated, err = m.cgroups.Delegated(path.Dir(cgroup))
	return value, err == nil, err
}

// newEntry returns the map entry for a container whose first workload process is first. If the recording of another
// version has an entry for the container, newEntry returns that entry with all counts set to 0. The old counts stay in
// the maps of that recording, and carriedOver adds them.
func (m *Monitor) newEntry(id uint64, first processInfo) bpf.CapmonContainer {
	if earlier, ok := m.carriedOver.containers[id]; ok {
		earlier.Processes, earlier.Lost, earlier.Used, earlier.Kept = 0, 0, 0, 0
		clear(earlier.Files[:])
		clear(earlier.Unlisted[:])
		clear(earlier.Entries[:])
		earlier.UnrecordedExecutions, earlier.UnrecordedCalls, earlier.SetfcapUses = 0, 0, 0
		earlier.AnnouncedGranted, earlier.AnnouncedDenied, earlier.EventsNs = 0, 0, 0
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

func storeContainerEntry(maps bpf.CapmonMaps, id uint64, value bpf.CapmonContainer, name string) error {
	if len(name) >= len(value.Name) {
		return nil // the programs do not record such a name either
	}
	copy(value.Name[:], name)
	var known bpf.CapmonContainer
	if maps.Containers.Lookup(id, &known) != nil {
		if taken, err := takeSlot(maps.ContainerSlots, value.Delegated, id); err != nil || !taken {
			return err // no slot is free: the programs use the common entry (find_or_add_container in bpf/cgroup.h)
		}
	}
	err := maps.Containers.Update(id, &value, ebpf.UpdateAny)
	if errors.Is(err, unix.E2BIG) {
		return nil // the map is full; the programs count the losses
	}
	if err != nil {
		return fmt.Errorf("registering the running container %s: %w", name, err)
	}
	return nil
}

// processInfo has the properties of a process of a container, as /proc shows them.
type processInfo struct {
	// For the first workload process, these are the unions over all workload processes, because a process may have
	// dropped capabilities since its start.
	bounding, permitted uint64
	uid, userNamespace  uint32
	innerPID            uint32
	start               uint64 // in nanoseconds since boot, rounded down
	processes           uint32
}

// firstWorkloadProcess returns the oldest workload process of a container. It considers only processes that started
// before the time before. phase_of_existing in bpf/phase.h has the same rule for what is a workload.
func firstWorkloadProcess(cgroups kernel.Cgroups, cgroup string, before uint64) (processInfo, bool, error) {
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
		if err != nil || !workload || p.start >= before {
			continue // the process has ended, or the runtime has not started the workload yet
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
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) { // the container can restrict access to its files
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

// readProcess reads one process of a container. all has the ids of all processes of the container.
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

// unionOfPermitted returns the union of the permitted sets of the processes' threads. It skips threads that end.
func unionOfPermitted(pids []int) capability.Set { return capability.Set(unionOfSets(pids).permitted) }

// unionOfSets returns the union of the capability sets of the processes' threads. It skips threads that end.
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

// maxAncestors is the number of ancestors that are inspected to find the phase of a process.
const maxAncestors = int(bpf.CapmonLimitsANCESTORS_MAX)

// isWorkload reports whether a process that existed before the recording is part of the container's workload. all has
// the ids of all processes of the container.
//
// The rule is the same as in phase_of_existing in bpf/phase.h. Runtime setup has the root directory of the nearest
// ancestor outside the container, and takes at most SetupTime. So the process belongs to the workload if its root
// directory differs or if it is older. The same is true if this applies to one of its ancestors in the container.
func isWorkload(pid int, all []int) (bool, error) {
	clock, err := kernel.NewClock()
	if err != nil {
		return false, err
	}
	roots := make(map[rootID]bool)
	for range maxAncestors {
		if pid == 0 {
			break // the parent is outside this pid namespace
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
		if !inside && errors.Is(err, os.ErrPermission) { // a host can protect process 1, which adopts the processes of a runtime that has ended
			root, err = rootOf(os.Getpid())
		}
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
	return true, nil // a runtime has fewer ancestors in the container
}

// rootID identifies a root directory.
type rootID struct {
	device, inode uint64
}

// rootTimeout limits the time to identify a root directory.
const rootTimeout = 200 * time.Millisecond

// rootOf identifies the root directory of a process. It makes no request to the file system, which may belong to the
// container and never answer. Only NFS may get a request. If NFS does not answer, a thread of this process keeps
// waiting. SIGKILL or the end of this process ends the thread, because NFS waits are killable.
func rootOf(pid int) (rootID, error) {
	type result struct {
		root rootID
		err  error
	}
	results := make(chan result, 1)
	go func() {
		root, err := statRoot(pid)
		results <- result{root, err}
	}()
	select {
	case result := <-results:
		return result.root, result.err
	case <-time.After(rootTimeout):
		return rootID{}, errRootHangs
	}
}

// errRootHangs means that the file system of a root directory does not answer. Such a root directory belongs to a
// workload, because a container runtime would hang in it.
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

// baseUserNamespace returns the inode number of the user namespace in which the container was made. dir is the
// directory in /proc of the container's first process. The process may have unshared its own user namespace since. But
// it cannot leave its pid namespace, which belongs to the container's user namespace. If the container uses the host's
// pid namespace, the result is the user namespace of the process.
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

// clockTick is the unit of times in /proc/PID/stat (USER_HZ).
const clockTick = 10 * time.Millisecond

// readStat reads two fields of /proc/PID/stat: the start time (22), returned in nanoseconds since boot, and the parent
// (4), which is 0 if it is outside the pid namespace.
func readStat(dir string) (start uint64, parent int, err error) {
	stat, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return 0, 0, err
	}
	// The name in parentheses can contain any bytes.
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
