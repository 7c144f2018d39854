// SPDX-License-Identifier: Apache-2.0
//
// attack-fuse runs a program from a file system that it serves itself (FUSE) and that then stops
// answering. A process that reads about the program's file, for example with stat or getxattr of
// /proc/PID/exe, waits forever. The file's extended attributes are never sent to a process outside
// the container.
//
//   attack-fuse ignore     stops reading requests: a waiting process can be killed
//   attack-fuse swallow    reads requests but does not answer: not even SIGKILL ends a process
//                          that waits
//
// It prints "ready" when the file system has stopped answering. The program then opens raw sockets
// repeatedly, under another name each time. It needs /dev/fuse and CAP_SYS_ADMIN, and runs until it
// is killed. It exits 1 on failure, 2 on wrong usage.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuse.h"

static int fail(const char *what)
{
	perror(what);
	return 1;
}

// use_on reads its whole program file, so that the kernel need not request it later. Then it writes
// a byte to ready, and opens raw sockets.
static int use_on(int ready)
{
	static char buffer[1 << 16];
	int self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

	while (self >= 0 && read(self, buffer, sizeof(buffer)) > 0)
		;
	if (write(ready, "x", 1) != 1)
		return fail("write");
	for (int i = 0;; i++) {
		snprintf(buffer, sizeof(buffer), "held-%d", i % 1000);
		prctl(PR_SET_NAME, buffer);
		int fd = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
		if (fd >= 0)
			close(fd);
		usleep(20000);
	}
}

// serve_until_asked answers all requests except those for the extended attributes that a monitor
// reads: these wait forever. An answer of ENOSYS would stop the kernel from sending such requests.
static void serve_until_asked(int fd, const char *image, uint64_t size, const char *request)
{
	const struct fuse_in_header *in = (const void *)request;
	int done;

	if (in->opcode != FUSE_GETXATTR)
		done = fuse_serve(fd, image, size, request);
	else if (in->pid != 0) /* a process of this pid namespace, so not a monitor */
		done = fuse_answer(fd, in, -ENODATA, NULL, 0);
	else
		return;
	if (!done)
		perror("/dev/fuse");
}

int main(int argc, char **argv)
{
	static char request[(1 << 17) + 4096];
	char options[128], ready[16], byte;
	int swallow, fd, self, done[2];
	struct stat st;

	if (argc == 3 && strcmp(argv[1], "--use") == 0)
		return use_on(atoi(argv[2]));
	swallow = argc == 2 && strcmp(argv[1], "swallow") == 0;
	if (!swallow && (argc != 2 || strcmp(argv[1], "ignore"))) {
		fprintf(stderr, "usage: attack-fuse ignore|swallow\n");
		return 2;
	}
	fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	if (fd < 0 || self < 0 || fstat(self, &st) || pipe2(done, O_NONBLOCK))
		return fail("/dev/fuse");
	char *image = mmap(NULL, st.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, self, 0);
	snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other",
		 fd);
	if (image == MAP_FAILED || unshare(CLONE_NEWNS) ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("attack", "/mnt", "fuse", MS_NODEV, options))
		return fail("mount");
	if (fork() == 0) {
		snprintf(ready, sizeof(ready), "%d", done[1]);
		execl("/mnt/run", "attack-fuse", "--use", ready, NULL);
		_exit(1);
	}
	while (read(done[0], &byte, 1) != 1) {
		struct pollfd news[] = { { fd, POLLIN, 0 }, { done[0], POLLIN, 0 } };
		if (poll(news, 2, -1) < 0 || !news[0].revents)
			continue;
		if (read(fd, request, sizeof(request)) > 0)
			serve_until_asked(fd, image, st.st_size, request);
		else if (errno != EINTR && errno != ENOENT)
			return fail("/dev/fuse");
	}
	puts("ready");
	fflush(stdout);
	while (swallow)
		if (read(fd, request, sizeof(request)) <= 0 && errno != EINTR && errno != ENOENT)
			return fail("/dev/fuse");
	for (;;)
		pause();
}
