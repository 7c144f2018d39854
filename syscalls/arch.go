package syscalls

import (
	"fmt"
	"runtime"

	"github.com/elastic/go-seccomp-bpf/arch"
)

// Arch is a system call table. Use [NativeArch] to get one; the zero value is not valid.
type Arch struct{ info *arch.Info }

// NativeArch returns the table for 64-bit programs on this machine: x86_64 or arm64.
func NativeArch() Arch {
	if runtime.GOARCH == "arm64" {
		return Arch{arch.AARCH64}
	}
	return Arch{arch.X86_64}
}

// Compat returns the table for 32-bit programs on the same kernel: i386 or arm.
func (a Arch) Compat() Arch {
	switch a.info {
	case arch.AARCH64, arch.ARM:
		return Arch{arch.ARM}
	default:
		return Arch{arch.I386}
	}
}

// String returns the name of the architecture that seccomp profiles and strace use.
func (a Arch) String() string { return a.info.Name }

// x32Bit marks a system call of the x32 ABI, which tasks of x86_64 can make at any time
// (arch/x86/include/uapi/asm/unistd.h). Numbers from 512 on exist only in that ABI.
const x32Bit = 0x40000000

// SyscallName returns the name of a system call. It returns "" for a negative number, which means that no system call
// was in progress, and "syscall 999" for a number that is not in the table: callers can use any number.
func (a Arch) SyscallName(nr int) string {
	if nr < 0 || a.info == nil {
		return ""
	}
	table, number := a.info, nr
	if a.info == arch.X86_64 && nr&x32Bit != 0 {
		table, number = arch.X32, nr&^x32Bit
	}
	if name, ok := table.SyscallNumbers[number]; ok {
		return name
	}
	if name, ok := recentSyscalls[number]; ok {
		return name
	}
	if table == arch.X86_64 && number == 336 {
		return "uprobe" // 6.18, arch/x86/entry/syscalls/syscall_64.tbl
	}
	return fmt.Sprintf("syscall %d", nr)
}

// recentSyscalls are newer than the library's tables (scripts/syscall.tbl of the version given). Like all system calls
// since 424, they have the same number on all architectures.
var recentSyscalls = map[int]string{
	468: "file_getattr",     // 6.17
	469: "file_setattr",     // 6.17
	470: "listns",           // 6.19
	471: "rseq_slice_yield", // 7.0
}
