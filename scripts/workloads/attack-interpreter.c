// SPDX-License-Identifier: Apache-2.0
//
// attack-interpreter opens a raw socket as the interpreter of another file. The kernel starts it
// when a container executes a program of the host: in place of the dynamic linker (PT_INTERP) of
// the container runtime, or because it is registered with binfmt_misc. capmon must count it as
// workload, although the executed file does not belong to the container.
//
//   attack-interpreter [ARGUMENT...]    the arguments are ignored
//
// It exits 0 if the socket was opened, 1 otherwise. images.sh links it without the C library: the
// kernel describes the other program's headers in the auxiliary vector, and the C library would
// take them for its own.

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

// Older kernels zero the end of an interpreter's last page, and kill the process that executes the
// program if that page is not writable (load_elf_interp and padzero, fs/binfmt_elf.c). So the
// program needs a data section.
static volatile long failed = 1;

void _start(void)
{
	failed = call(SYS_socket, AF_INET, SOCK_RAW, IPPROTO_ICMP) < 0;
	call(SYS_exit_group, failed, 0, 0);
	__builtin_unreachable();
}
