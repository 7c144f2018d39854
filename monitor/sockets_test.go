package monitor

import (
	"fmt"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

func FuzzSocketInode(f *testing.F) {
	for _, link := range []string{"socket:[4711]", "socket:[0]", "socket:[-1]", "socket:[18446744073709551616]", "pipe:[4711]", "/tmp/socket:[1]", "socket:[1] (deleted)"} {
		f.Add(link)
	}
	f.Fuzz(func(t *testing.T, link string) {
		inode, ok := socketInode(link)
		if ok && (inode == 0 || len(link) < len("socket:[1]") || link[:8] != "socket:[") {
			t.Errorf("%q: %d", link, inode)
		}
		if again, ok := socketInode(fmt.Sprintf("socket:[%d]", inode)); inode != 0 && (!ok || again != inode) {
			t.Errorf("%d is read as %d", inode, again)
		}
	})
}

// The sockets of a process are found once, with their properties, and stay open. Sockets of processes that are not in
// the container, or do not exist, are not found.
func TestSocketsOfAProcess(t *testing.T) {
	raw, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMP)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(raw)
	again, err := unix.FcntlInt(uintptr(raw), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(again)
	sleeper := exec.CommandContext(t.Context(), "sleep", "1000")
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	isRaw := func(s Socket) bool { return s.Domain == unix.AF_INET && s.Type == unix.SOCK_RAW }
	always, never := func() bool { return true }, func() bool { return false }
	for name, test := range map[string]struct {
		pid    int
		inside func() bool
		wanted int
	}{
		"this process":                  {os.Getpid(), always, 1},
		"outside the container":         {os.Getpid(), never, 0},
		"a process that does not exist": {1 << 22, always, 0},
		"a process without a socket":    {sleeper.Process.Pid, always, 0},
	} {
		search := socketSearch{wanted: isRaw, known: make(map[uint64]bool)}
		holder, err := search.process(test.pid, test.inside)
		if err != nil || len(holder.Sockets) != test.wanted {
			t.Errorf("%s: %+v, %v", name, holder, err)
		}
		if test.wanted > 0 && (holder.Program == "" || holder.PID != uint32(test.pid) || holder.Executable == "") {
			t.Errorf("%s: %+v", name, holder)
		}
		if second, err := search.process(test.pid, test.inside); err != nil || len(second.Sockets) != 0 {
			t.Errorf("%s: found again: %+v, %v", name, second, err)
		}
	}
	if _, err := unix.GetsockoptInt(raw, unix.SOL_SOCKET, unix.SO_TYPE); err != nil {
		t.Errorf("the socket is not open any more: %v", err)
	}
}
