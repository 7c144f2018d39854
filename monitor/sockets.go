package monitor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/capmon/capmon/internal/containerid"
	"golang.org/x/sys/unix"
)

// SocketHolder is a process of a container with open sockets.
type SocketHolder struct {
	// ID and Cgroup are as in [ContainerRecord].
	ID     string
	Cgroup uint64
	// PID and Program are as in [Check]. UID is the effective user of the process in the initial user namespace.
	// InnerPID is the number of the process in its own pid namespace.
	PID, InnerPID, UID uint32
	Program            string
	// Executable is the path of the executed file in the mount namespace of the process; empty if it is unknown.
	Executable string
	Sockets    []Socket
}

// Socket is an open socket.
type Socket struct {
	// Domain and Type are as in socket(2), such as AF_INET and SOCK_RAW.
	Domain, Type int
	// Inode is the same for all descriptors of the socket, and unique while it is open.
	Inode uint64
}

// SocketHolders finds the processes of running containers with open sockets for which wanted returns true. It calls
// found for each process immediately. If several processes of a container have the same socket, it reports the socket
// for the oldest one only. It skips processes and descriptors that vanish. It does not find sockets without a
// descriptor, which only a message in transit, a mapping or an io_uring has.
//
// The error is about processes that capmon could not inspect; SocketHolders still finds the others. Threads with their
// own descriptors can be inspected since Linux 6.9.
func (m *Monitor) SocketHolders(ctx context.Context, wanted func(Socket) bool, found func(SocketHolder)) error {
	var failed inspectErrors
	err := m.forEachContainerCgroup(func(cgroup string) error {
		id, err := m.cgroups.ID(cgroup)
		if err != nil {
			return err
		}
		name, _ := containerid.FromCgroup(path.Base(cgroup))
		search := socketSearch{wanted: wanted, known: make(map[uint64]bool)}
		list := func() ([]int, error) { return processesBelow(m.cgroups, cgroup) }
		return search.container(list, func(pid int) {
			if ctx.Err() != nil {
				return
			}
			holder, err := search.process(pid, func() bool { return m.cgroups.Contains(id, pid) })
			failed.add(pid, err)
			if len(holder.Sockets) > 0 {
				holder.ID, holder.Cgroup = name, id
				found(holder)
			}
		})
	})
	return errors.Join(err, failed.err(), ctx.Err())
}

// inspectErrors counts the processes that could not be inspected, and has the error of the first.
type inspectErrors struct {
	processes int
	first     error
}

func (e *inspectErrors) add(pid int, err error) {
	if err == nil {
		return
	}
	e.processes++
	if e.first == nil {
		e.first = fmt.Errorf("process %d: %w", pid, err)
	}
}

func (e *inspectErrors) err() error {
	if e.first == nil {
		return nil
	}
	return fmt.Errorf("inspecting the sockets of %d processes of containers failed, first of %w", e.processes, e.first)
}

// maxListings limits how often the processes of a container are listed again to find new ones.
const maxListings = 16

// socketSearch is a search for the sockets of one container.
type socketSearch struct {
	wanted func(Socket) bool
	known  map[uint64]bool // by inode: sockets that were found, or are not wanted
}

// container calls inspect for the processes that list returns, and for processes that start during the search and may
// have inherited their sockets.
func (s *socketSearch) container(list func() ([]int, error), inspect func(pid int)) error {
	seen := make(map[int]bool)
	for range maxListings {
		pids, err := list()
		if err != nil {
			return err
		}
		pids = slices.DeleteFunc(pids, func(pid int) bool { return seen[pid] })
		if len(pids) == 0 {
			break
		}
		slices.Sort(pids)
		for _, pid := range pids {
			seen[pid] = true
			inspect(pid)
		}
	}
	return nil
}

// process finds the new sockets of a process. inside reports whether the process is in the container. The process is
// read by its number. If it still runs at the end, everything that was read belongs to it, and not to a later process
// with the same number.
func (s *socketSearch) process(pid int, inside func() bool) (SocketHolder, error) {
	process, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return SocketHolder{}, ignoreGone(err)
	}
	defer unix.Close(process)
	if !inside() {
		return SocketHolder{}, nil
	}
	sockets, err := s.sockets(fmt.Sprintf("/proc/%d", pid), process)
	threads, threadsErr := s.threads(pid)
	err = errors.Join(err, threadsErr)
	maps.Copy(sockets, threads)
	if len(sockets) == 0 {
		return SocketHolder{}, err
	}
	holder, describeErr := describeHolder(pid)
	if ended(process) {
		return SocketHolder{}, nil
	}
	if err = errors.Join(err, describeErr); describeErr != nil {
		return SocketHolder{}, err
	}
	for inode, socket := range sockets {
		s.known[inode] = true
		if s.wanted(socket) {
			holder.Sockets = append(holder.Sockets, socket)
		}
	}
	return holder, err
}

// ended reports whether the process of a pidfd has ended. It does not send signal 0, which would require CAP_KILL.
func ended(process int) bool {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(process), Events: unix.POLLIN}}, 0)
	return err == nil && n > 0
}

// Constants of kcmp(2) and pidfd_open(2). PIDFD_THREAD exists since Linux 6.9.
const (
	kcmpFiles   = 2
	pidfdThread = unix.O_EXCL
)

// threads finds the sockets of the threads of a process that have their own descriptors.
func (s *socketSearch) threads(pid int) (map[uint64]Socket, error) {
	all := make(map[uint64]Socket)
	directories, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	for _, directory := range directories {
		tid, parseErr := strconv.Atoi(filepath.Base(directory))
		if parseErr != nil || tid == pid {
			continue
		}
		differ, _, errno := unix.Syscall6(unix.SYS_KCMP, uintptr(pid), uintptr(tid), kcmpFiles, 0, 0, 0)
		if errno != 0 || differ == 0 {
			err = errors.Join(err, ignoreGone(errno))
			continue
		}
		thread, openErr := unix.PidfdOpen(tid, pidfdThread)
		if openErr != nil {
			err = errors.Join(err, threadError(ignoreGone(openErr)))
			continue
		}
		sockets, socketsErr := s.sockets(directory, thread)
		err = errors.Join(err, socketsErr, unix.Close(thread))
		maps.Copy(all, sockets)
	}
	return all, err
}

// threadError adds to the error what is required to inspect a thread's own descriptors.
func threadError(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("inspecting a thread with its own descriptors (requires Linux 6.9 or later): %w", err)
}

// sockets returns the new sockets of a process or thread. directory is its directory in /proc.
func (s *socketSearch) sockets(directory string, task int) (map[uint64]Socket, error) {
	all := make(map[uint64]Socket)
	descriptors, err := os.Open(directory + "/fd")
	if err != nil {
		return all, ignoreGone(err)
	}
	defer descriptors.Close()
	for {
		names, err := descriptors.Readdirnames(1024)
		for _, name := range names {
			link, linkErr := os.Readlink(directory + "/fd/" + name)
			inode, isSocket := socketInode(link)
			if linkErr != nil || !isSocket || s.known[inode] || all[inode].Inode != 0 {
				continue
			}
			descriptor, numberErr := strconv.Atoi(name)
			if numberErr != nil {
				continue
			}
			socket, ok, err := socketOf(task, descriptor)
			if err != nil {
				return all, err
			}
			if ok {
				all[socket.Inode] = socket
			}
		}
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return all, ignoreGone(err)
		}
	}
}

// socketInode reads the target of a link in /proc/PID/fd, such as socket:[4711].
func socketInode(link string) (uint64, bool) {
	number, ok := strings.CutPrefix(link, "socket:[")
	number, closed := strings.CutSuffix(number, "]")
	inode, err := strconv.ParseUint(number, 10, 64)
	return inode, ok && closed && err == nil && inode != 0
}

// socketOf reads the properties of a socket by the descriptor of another process. The second result is false if the
// descriptor no longer is a socket.
func socketOf(task, descriptor int) (Socket, bool, error) {
	own, err := unix.PidfdGetfd(task, descriptor, 0)
	if err != nil {
		return Socket{}, false, ignoreGone(err)
	}
	defer unix.Close(own)
	var stat unix.Stat_t
	if err := unix.Fstat(own, &stat); err != nil || stat.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return Socket{}, false, err
	}
	domain, domainErr := unix.GetsockoptInt(own, unix.SOL_SOCKET, unix.SO_DOMAIN)
	kind, kindErr := unix.GetsockoptInt(own, unix.SOL_SOCKET, unix.SO_TYPE)
	return Socket{domain, kind, stat.Ino}, true, errors.Join(domainErr, kindErr)
}

// describeHolder reads the names and ids of a process.
func describeHolder(pid int) (SocketHolder, error) {
	directory := "/proc/" + strconv.Itoa(pid)
	name, err := os.ReadFile(directory + "/comm")
	if err != nil {
		return SocketHolder{}, ignoreGone(err)
	}
	var p processInfo
	if err := p.readStatus(directory); err != nil {
		return SocketHolder{}, ignoreGone(err)
	}
	executable, _ := os.Readlink(directory + "/exe")
	return SocketHolder{
		PID: uint32(pid), InnerPID: p.innerPID, UID: p.uid, Program: strings.TrimSuffix(string(name), "\n"), Executable: executable,
	}, nil
}

// ignoreGone returns the error, or nil if it means that the process or its descriptor no longer exists.
func ignoreGone(err error) error {
	for _, reason := range []error{unix.Errno(0), unix.ESRCH, unix.ENOENT, unix.EBADF} {
		if errors.Is(err, reason) {
			return nil
		}
	}
	return err
}
