package syscalls

import (
	"bufio"
	"os"
	"regexp"
	"strconv"
	"testing"

	"github.com/elastic/go-seccomp-bpf/arch"
	"golang.org/x/sys/unix"
)

var (
	x8664 = Arch{arch.X86_64}
	i386  = Arch{arch.I386}
	arm64 = Arch{arch.AARCH64}
	arm   = Arch{arch.ARM}
)

func TestSyscallNames(t *testing.T) {
	for _, test := range []struct {
		arch Arch
		nr   int
		want string
	}{
		{x8664, 41, "socket"},
		{x8664, 0, "read"},
		{x8664, -1, ""},
		{x8664, 999, "syscall 999"},
		{x8664, x32Bit | 41, "socket"},
		{x8664, x32Bit | 514, "ioctl"}, // a number that only x32 has
		{x8664, 514, "syscall 514"},    // not a system call without the bit
		{x8664, x32Bit | 999, "syscall 1073742823"},
		{x8664, x32Bit | 336, "syscall 1073742160"},
		{x8664, 335, "uretprobe"},
		{x8664, 336, "uprobe"},
		{x8664, 435, "clone3"},
		{x8664, 437, "openat2"},
		{x8664, 439, "faccessat2"},
		{x8664, 446, "landlock_restrict_self"},
		{x8664, 452, "fchmodat2"},
		{x8664, 457, "statmount"},
		{x8664, 458, "listmount"},
		{x8664, 462, "mseal"},
		{x8664, 463, "setxattrat"},
		{x8664, 467, "open_tree_attr"},
		{i386, 359, "socket"},
		{i386, 336, "perf_event_open"},
		{i386, x32Bit | 1, "syscall 1073741825"}, // i386 has no x32
		{arm64, 198, "socket"},
		{arm64, 336, "syscall 336"},
		{arm64, x32Bit | 198, "syscall 1073742022"},
		{arm, 281, "socket"},
		{arm, 0x0f0005, "set_tls"},
	} {
		if got := test.arch.SyscallName(test.nr); got != test.want {
			t.Errorf("%s %d: %q, want %q", test.arch, test.nr, got, test.want)
		}
	}
}

// x/sys/unix is generated from the kernel's tables as well, and usually updated earlier.
func TestRecentSyscallsMatchUnix(t *testing.T) {
	for nr, want := range map[int]string{
		unix.SYS_FILE_GETATTR:     "file_getattr",
		unix.SYS_FILE_SETATTR:     "file_setattr",
		unix.SYS_LISTNS:           "listns",
		unix.SYS_RSEQ_SLICE_YIELD: "rseq_slice_yield",
	} {
		for _, a := range []Arch{x8664, i386, arm64, arm} {
			if got := a.SyscallName(nr); got != want {
				t.Errorf("%s %d: %q, want %q", a, nr, got, want)
			}
		}
	}
}

func TestSyscallNamesMatchTheHeaders(t *testing.T) {
	for header, a := range map[string]Arch{
		"/usr/include/x86_64-linux-gnu/asm/unistd_64.h": x8664,
		"/usr/include/x86_64-linux-gnu/asm/unistd_32.h": i386,
	} {
		t.Run(a.String(), func(t *testing.T) {
			file, err := os.Open(header)
			if err != nil {
				t.Fatal("linux-libc-dev is not installed: ", err)
			}
			defer file.Close()
			define := regexp.MustCompile(`^#define __NR_(\w+) (\d+)$`)
			lines := bufio.NewScanner(file)
			for lines.Scan() {
				match := define.FindStringSubmatch(lines.Text())
				if match == nil {
					continue
				}
				nr, err := strconv.Atoi(match[2])
				if err != nil {
					t.Fatal(err)
				}
				if got := a.SyscallName(nr); got != match[1] {
					t.Errorf("%d: %q, want %q", nr, got, match[1])
				}
			}
			if err := lines.Err(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestCompat(t *testing.T) {
	for from, want := range map[Arch]Arch{x8664: i386, i386: i386, arm64: arm, arm: arm} {
		if got := from.Compat(); got != want {
			t.Errorf("%s: %s, want %s", from, got, want)
		}
	}
}
