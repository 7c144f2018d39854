// SPDX-License-Identifier: Apache-2.0
//
// A file system in user space with a program as its only file. Each function answers one request.
// It returns 0 if the answer could not be written, because no process waits for it any longer.

#ifndef FUSE_H
#define FUSE_H

#include <errno.h>
#include <linux/fuse.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct fuse_attr fuse_attributes_of(uint64_t node, uint64_t size)
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

static int fuse_answer(int fd, const struct fuse_in_header *in, int error, const void *data,
		       size_t length)
{
	static char reply[sizeof(struct fuse_out_header) + (1 << 18)];
	struct fuse_out_header out = { sizeof(out) + length, error, in->unique };

	memcpy(reply, &out, sizeof(out));
	memcpy(reply + sizeof(out), data, length);
	return write(fd, reply, sizeof(out) + length) >= 0;
}

// fuse_serve answers a request. image is the program, and size its number of bytes.
static int fuse_serve(int fd, const char *image, uint64_t size, const char *request)
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
		return fuse_answer(fd, in, 0, &out, sizeof(out));
	}
	case FUSE_LOOKUP: {
		struct fuse_entry_out out = { .nodeid = 2, .attr = fuse_attributes_of(2, size) };
		return fuse_answer(fd, in, 0, &out, sizeof(out));
	}
	case FUSE_GETATTR: { /* not cached: each stat sends a request */
		struct fuse_attr_out out = { .attr = fuse_attributes_of(in->nodeid, size) };
		return fuse_answer(fd, in, 0, &out, sizeof(out));
	}
	case FUSE_OPEN: {
		struct fuse_open_out out = { .open_flags = FOPEN_KEEP_CACHE };
		return fuse_answer(fd, in, 0, &out, sizeof(out));
	}
	case FUSE_READ: {
		const struct fuse_read_in *read = body;
		uint64_t at = read->offset < size ? read->offset : size;
		uint64_t n = read->size < size - at ? read->size : size - at;
		return fuse_answer(fd, in, 0, image + at, n);
	}
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
	case FUSE_INTERRUPT:
		return 1;
	case FUSE_FLUSH:
	case FUSE_RELEASE:
		return fuse_answer(fd, in, 0, NULL, 0);
	default:
		return fuse_answer(fd, in, -ENOSYS, NULL, 0);
	}
}

#endif
