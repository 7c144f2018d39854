// SPDX-License-Identifier: Apache-2.0
//
// attack-fuse runs a program from a file system that it serves itself (FUSE) and that then stops
// answering. Whoever asks about the program's file, as by stat or getxattr of /proc/PID/exe, waits
// for ever. Nobody outside of the container is ever told the file's attributes.
//
//   attack-fuse ignore     stops to read requests: whoever asks can be killed
//   attack-fuse swallow    reads requests and does not answer: not even SIGKILL ends who asks
//
// It prints "ready" when the file system has stopped answering. The program then opens a raw socket
// again and again, under another name each time. It needs /dev/fuse and CAP_SYS_ADMIN, and runs
// until it is killed. It exits 1 on failure, 2 on wrong usage.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
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

static int fail(const char *what)
{
	perror(what);
	return 1;
}

// use_on reads all of its own file, so that the kernel need not ask for it later, says so, and
// opens raw sockets.
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

static struct fuse_attr attributes_of(uint64_t node, uint64_t size)
{
	struct fuse_attr attributes = {
		.ino = node,
		.mode = node == FUSE_ROOT_ID ? S_IFDIR | 0755 : S_IFREG | 0755,
		.nlink = 1,
		.size = node == FUSE_ROOT_ID ? 0 : size,
		.blksize = 4096,
	};
	return attributes;
}

static void answer(int fd, const struct fuse_in_header *in, int error, const void *data,
		   size_t length)
{
	static char reply[sizeof(struct fuse_out_header) + (1 << 18)];
	struct fuse_out_header out = { sizeof(out) + length, error, in->unique };

	memcpy(reply, &out, sizeof(out));
	memcpy(reply + sizeof(out), data, length);
	if (write(fd, reply, sizeof(out) + length) < 0)
		perror("/dev/fuse");
}

// serve answers one request about a file system whose only file is this program.
static void serve(int fd, const char *image, uint64_t size, const char *request)
{
	const struct fuse_in_header *in = (const void *)request;
	const void *body = request + sizeof(*in);

	switch (in->opcode) {
	case FUSE_INIT: {
		struct fuse_init_out out = { .major = FUSE_KERNEL_VERSION,
					     .minor = 31,
					     .max_readahead = 1 << 17,
					     .max_background = 8,
					     .congestion_threshold = 6,
					     .max_write = 4096 };
		answer(fd, in, 0, &out, sizeof(out));
		return;
	}
	case FUSE_LOOKUP: {
		struct fuse_entry_out out = { .nodeid = 2, .attr = attributes_of(2, size) };
		answer(fd, in, 0, &out, sizeof(out));
		return;
	}
	case FUSE_GETATTR: { /* valid for no time: each stat asks again */
		struct fuse_attr_out out = { .attr = attributes_of(in->nodeid, size) };
		answer(fd, in, 0, &out, sizeof(out));
		return;
	}
	case FUSE_OPEN: {
		struct fuse_open_out out = { .open_flags = FOPEN_KEEP_CACHE };
		answer(fd, in, 0, &out, sizeof(out));
		return;
	}
	case FUSE_READ: {
		const struct fuse_read_in *read = body;
		uint64_t at = read->offset < size ? read->offset : size;
		uint64_t n = read->size < size - at ? read->size : size - at;
		answer(fd, in, 0, image + at, n);
		return;
	}
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
	case FUSE_INTERRUPT:
		return;
	case FUSE_FLUSH:
	case FUSE_RELEASE:
		answer(fd, in, 0, NULL, 0);
		return;
	case FUSE_GETXATTR: /* after ENOSYS the kernel would not ask again */
		if (in->pid != 0) /* somebody of this pid namespace, and no monitor */
			answer(fd, in, -ENODATA, NULL, 0);
		return;
	default:
		answer(fd, in, -ENOSYS, NULL, 0);
	}
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
			serve(fd, image, st.st_size, request);
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
