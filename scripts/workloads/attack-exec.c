// SPDX-License-Identifier: Apache-2.0
//
// attack-exec executes many different program files. capmon records each file that a container
// executes, to read which capabilities it carries. The attack tries to fill the map of executions.
//
//   attack-exec COUNT            write and execute COUNT files, each a program that only exits
//   attack-exec COUNT ambient    each with another ambient set; capmon does not add these up
//
// It exits 0 when all files were executed, 1 on failure, 2 on wrong usage.

#include <elf.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define BASE 0x400000

/* exit(0) */
#if defined(__x86_64__)
#define MACHINE EM_X86_64
static const unsigned char code[] = { 0xb8, 60, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05 };
#elif defined(__aarch64__)
#define MACHINE EM_AARCH64
static const unsigned int code[] = { 0xd2800ba8, 0xd2800000, 0xd4000001 };
#endif

struct program {
	Elf64_Ehdr header;
	Elf64_Phdr segment;
	unsigned char code[16];
};

static int write_program(const char *path)
{
	struct program program = {
		.header = {
			.e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
			.e_type = ET_EXEC,
			.e_machine = MACHINE,
			.e_version = EV_CURRENT,
			.e_entry = BASE + offsetof(struct program, code),
			.e_phoff = offsetof(struct program, segment),
			.e_ehsize = sizeof(Elf64_Ehdr),
			.e_phentsize = sizeof(Elf64_Phdr),
			.e_phnum = 1,
		},
		.segment = {
			.p_type = PT_LOAD,
			.p_flags = PF_R | PF_X,
			.p_vaddr = BASE,
			.p_paddr = BASE,
			.p_filesz = sizeof(program),
			.p_memsz = sizeof(program),
			.p_align = 0x1000,
		},
	};
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);

	memcpy(program.code, code, sizeof(code));
	if (fd < 0 || write(fd, &program, sizeof(program)) != sizeof(program))
		return -1;
	return close(fd);
}

static struct __user_cap_header_struct self = { _LINUX_CAPABILITY_VERSION_3, 0 };

/* Makes all permitted capabilities inheritable, so that they can become ambient. */
static int inherit(struct __user_cap_data_struct sets[2])
{
	if (syscall(SYS_capget, &self, sets))
		return -1;
	sets[0].inheritable = sets[0].permitted;
	sets[1].inheritable = sets[1].permitted;
	return syscall(SYS_capset, &self, sets);
}

/* Raises the permitted capabilities that which selects: bit n stands for the nth one. */
static int raise_ambient(const struct __user_cap_data_struct sets[2], long which)
{
	for (int capability = 0; capability < 64; capability++) {
		if (!(sets[capability / 32].permitted >> capability % 32 & 1))
			continue;
		if (which & 1 && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0))
			return -1;
		which >>= 1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	long count = argc > 1 ? strtol(argv[1], NULL, 10) : 0;
	bool ambient = argc == 3 && !strcmp(argv[2], "ambient");
	struct __user_cap_data_struct sets[2] = {};
	char path[64];
	int status;

	if (count <= 0 || argc > 2 + ambient) {
		fprintf(stderr, "usage: attack-exec COUNT [ambient]\n");
		return 2;
	}
	if (ambient && inherit(sets)) {
		perror("making capabilities inheritable");
		return 1;
	}
	for (long i = 0; i < count; i++) {
		snprintf(path, sizeof(path), "/tmp/e%ld", i); /* kept: each has its own inode */
		if (write_program(path)) {
			perror(path);
			return 1;
		}
		pid_t child = fork();
		if (!child) {
			if (raise_ambient(sets, i))
				_exit(126);
			execl(path, path, NULL);
			_exit(127);
		}
		if (child < 0 || waitpid(child, &status, 0) < 0 || status) {
			perror("executing");
			return 1;
		}
	}
	return 0;
}
