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

	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/internal/container"
)

// Holder is a process of a container with sockets that it has open.
type SocketHolder struct {
	// ID and Cgroup as in Container.
	ID     string
	Cgroup uint64
	// PID and Program as in Check, UID the process's effective user in the initial user
	// namespace, InnerPID its number in its own pid namespace.
	PID, InnerPID, UID uint32
	Program            string
	// Executable is the path of the file that it executes, as it has it; empty if that cannot
	// be told.
	Executable string
	Sockets    []Socket
}

// Socket is one that is open.
type Socket struct {
	// Domain and Type as in socket(2): AF_INET and so on, SOCK_RAW and so on.
	Domain, Type int
	// Inode is the same of all descriptors of the socket, and no other's while it is open.
	Inode uint64
}

// Holders finds the processes of running containers that have sockets open for which wanted
// is true. A socket that several processes of a container have is the oldest one's. It is
// known by its descriptors: what only a message under way has, a mapping or a ring of io_uring,
// is not found. Processes and descriptors that vanish meanwhile are passed over; found is
// called as soon as one is known.
//
// The error is of what could not be looked at though it is there; the others were found all
// the same.
func (m *Monitor) SocketHolders(ctx context.Context, wanted func(Socket) bool, found func(SocketHolder)) error {
	var unseen inspectErrors
	err := m.forEachContainerCgroup(func(cgroup string) error {
		id, err := m.cgroups.ID(cgroup)
		if err != nil {
			return err
		}
		name, _ := container.IDFromCgroup(path.Base(cgroup))
		look := socketSearch{wanted: wanted, known: make(map[uint64]bool)}
		list := func() ([]int, error) { return processesBelow(m.cgroups, cgroup) }
		return look.container(list, func(pid int) {
			if ctx.Err() != nil {
				return
			}
			holder, err := look.process(pid, func() bool { return m.cgroups.Contains(id, pid) })
			unseen.add(pid, err)
			if len(holder.Sockets) > 0 {
				holder.ID, holder.Cgroup = name, id
				found(holder)
			}
		})
	})
	return errors.Join(err, unseen.err(), ctx.Err())
}

// unseen are processes that could not be looked at.
type inspectErrors struct {
	processes int
	first     error
}

func (u *inspectErrors) add(pid int, err error) {
	if err == nil {
		return
	}
	u.processes++
	if u.first == nil {
		u.first = fmt.Errorf("process %d: %w", pid, err)
	}
}

func (u *inspectErrors) err() error {
	if u.first == nil {
		return nil
	}
	return fmt.Errorf("the sockets of %d processes of containers could not be looked at, the first of which is %w", u.processes, u.first)
}

// rounds bounds how often it is looked for processes that were started meanwhile.
const maxListings = 16

// socketLook is a look for the sockets of one container.
type socketSearch struct {
	wanted func(Socket) bool
	known  map[uint64]bool // by inode: it is found, or not wanted
}

// container looks at the processes that list gives, and at those that they have started
// meanwhile and may have left their sockets to.
func (l *socketSearch) container(list func() ([]int, error), look func(pid int)) error {
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
			look(pid)
		}
	}
	return nil
}

// process finds the sockets of a process that are not known yet. What was read by its number
// is of the process that inside was asked about, and not of a later one with the same, if that
// still runs in the end.
func (l *socketSearch) process(pid int, inside func() bool) (SocketHolder, error) {
	process, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return SocketHolder{}, ignoreGone(err)
	}
	defer unix.Close(process)
	if !inside() {
		return SocketHolder{}, nil
	}
	sockets, err := l.sockets(fmt.Sprintf("/proc/%d", pid), process)
	threads, threadsErr := l.threads(pid)
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
		l.known[inode] = true
		if l.wanted(socket) {
			holder.Sockets = append(holder.Sockets, socket)
		}
	}
	return holder, err
}

// ended reports whether a process has, by a descriptor of it. To send it a signal would take
// CAP_KILL.
func ended(process int) bool {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(process), Events: unix.POLLIN}}, 0)
	return err == nil && n > 0
}

// Of kcmp(2) and pidfd_open(2), since Linux 6.9.
const (
	kcmpFiles   = 2
	pidfdThread = unix.O_EXCL
)

// threads finds the sockets of those threads of a process that have descriptors of their own.
func (l *socketSearch) threads(pid int) (map[uint64]Socket, error) {
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
		sockets, socketsErr := l.sockets(directory, thread)
		err = errors.Join(err, socketsErr, unix.Close(thread))
		maps.Copy(all, sockets)
	}
	return all, err
}

// ofThread says what it takes to look at a thread's own descriptors.
func threadError(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("a thread has descriptors of its own, which Linux 6.9 and later show: %w", err)
}

// sockets are those of a process or thread, by its directory in /proc, that are not known yet.
func (l *socketSearch) sockets(directory string, task int) (map[uint64]Socket, error) {
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
			if linkErr != nil || !isSocket || l.known[inode] || all[inode].Inode != 0 {
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

// socketInode reads what a descriptor in /proc links to: socket:[4711].
func socketInode(link string) (uint64, bool) {
	number, ok := strings.CutPrefix(link, "socket:[")
	number, closed := strings.CutSuffix(number, "]")
	inode, err := strconv.ParseUint(number, 10, 64)
	return inode, ok && closed && err == nil && inode != 0
}

// socketOf asks the socket itself what it is, by a descriptor of another process; false if that
// is none any more.
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

// describeHolder reads who a process is.
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

// unlessGone is the error unless it says that the process, or its descriptor, is no more.
func ignoreGone(err error) error {
	for _, gone := range []error{unix.Errno(0), unix.ESRCH, unix.ENOENT, unix.EBADF} {
		if errors.Is(err, gone) {
			return nil
		}
	}
	return err
}
