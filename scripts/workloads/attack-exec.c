// SPDX-License-Identifier: Apache-2.0
//
// attack-exec executes many different program files. capmon records each file that a container
// executes, to read which capabilities it carries: an attempt to fill the map of executions.
//
//   attack-exec COUNT    write and execute COUNT files, each a program that only exits
//
// It exits 0 when all were executed, 1 on failure, 2 on wrong usage.

#include <elf.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

int main(int argc, char **argv)
{
	long count = argc == 2 ? strtol(argv[1], NULL, 10) : 0;
	char path[64];
	int status;

	if (count <= 0) {
		fprintf(stderr, "usage: attack-exec COUNT\n");
		return 2;
	}
	for (long i = 0; i < count; i++) {
		snprintf(path, sizeof(path), "/tmp/e%ld", i); /* kept, so that each has its inode */
		if (write_program(path)) {
			perror(path);
			return 1;
		}
		pid_t child = vfork();
		if (!child) {
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
