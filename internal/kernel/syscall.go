package kernel

import (
	"fmt"
	"runtime"

	"github.com/elastic/go-seccomp-bpf/arch"
)

// Arch is a system call table.
type Arch struct{ info *arch.Info }

// NativeArch is that of this machine's own programs.
func NativeArch() Arch {
	if runtime.GOARCH == "arm64" {
		return Arch{arch.AARCH64}
	}
	return Arch{arch.X86_64}
}

// Compat is that of 32-bit programs on the same kernel.
func (a Arch) Compat() Arch {
	if a.info == arch.AARCH64 {
		return Arch{arch.ARM}
	}
	return Arch{arch.I386}
}

// x32Bit marks a system call of the x32 ABI (arch/x86/include/uapi/asm/unistd.h).
const x32Bit = 0x40000000

// SyscallName names a system call; "" for a negative number, which means that no
// system call was under way.
func (a Arch) SyscallName(nr int) string {
	if nr < 0 {
		return ""
	}
	if name, ok := a.info.SyscallNumbers[nr&^x32Bit]; ok {
		return name
	}
	return fmt.Sprintf("syscall %d", nr)
}
