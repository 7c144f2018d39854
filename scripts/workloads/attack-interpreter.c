// SPDX-License-Identifier: Apache-2.0
//
// attack-interpreter opens a raw socket as the interpreter of another file. The kernel starts
// it for a program of the host that a container executes: in the place of the dynamic linker
// (PT_INTERP) that the container runtime asks for, or registered with binfmt_misc. capmon must
// count it as the workload, although the executed file is not the container's.
//
//   attack-interpreter [ARGUMENT...]    the arguments mean nothing
//
// It exits 0 when the socket was opened, 1 when not. It has no C library: that would take
// the headers of the other program, which the kernel describes in the auxiliary vector, for
// its own. images.sh leaves the library out.

#include <linux/in.h>
#include <sys/syscall.h>

#define AF_INET 2
#define SOCK_RAW 3

static long call(long number, long a, long b, long c)
{
#if defined(__x86_64__)
	long result;

	asm volatile("syscall"
		     : "=a"(result)
		     : "a"(number), "D"(a), "S"(b), "d"(c)
		     : "rcx", "r11", "memory");
	return result;
#elif defined(__aarch64__)
	register long x0 asm("x0") = a, x1 asm("x1") = b, x2 asm("x2") = c, x8 asm("x8") = number;

	asm volatile("svc 0" : "+r"(x0) : "r"(x1), "r"(x2), "r"(x8) : "memory");
	return x0;
#endif
}

// Older kernels zero the end of an interpreter's last page, and end who executes the program if it
// cannot be written to (load_elf_interp and padzero, fs/binfmt_elf.c). So there has to be data.
static volatile long failed = 1;

void _start(void)
{
	failed = call(SYS_socket, AF_INET, SOCK_RAW, IPPROTO_ICMP) < 0;
	call(SYS_exit_group, failed, 0, 0);
	__builtin_unreachable();
}
