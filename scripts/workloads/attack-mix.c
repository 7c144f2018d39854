// SPDX-License-Identifier: Apache-2.0
//
// attack-mix combines all attacks that may hide its uses from capmon, blind or hang capmon, or make
// capmon attribute its uses to another container: it runs the ingredients below in random order.
//
//   attack-mix SECONDS SEED [INGREDIENT,...]   without a list: all ingredients
//
// The same seed gives the same sequence. An ingredient that the kernel or seccomp denies does
// nothing. The program has to be the first process of its container: when it ends, the kernel
// kills the processes that it started. It uses at most a few thousand threads, and what the limits
// of the container allow. At the end it prints how often it ran each ingredient. It exits 0 when
// the time is over, 2 on wrong usage.
//
// The environment variable ATTACK_IDS has IDs of other containers, separated by spaces. Some nested
// cgroups get these names.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fuse.h"

#define LANES 2 /* parallel sequences: one may hang while the other continues */
#define STEP_SECONDS 3 /* then a step is killed */
#define MAX_THREADS 1500 /* in one step */

extern char **environ;

static uint64_t state;
static int lane;

// below returns a random number less than n (xorshift64*).
static unsigned below(unsigned n)
{
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return (state * 0x2545f4914f6cdd1dull >> 33) % n;
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

// --- uses --------------------------------------------------------------------

static void raw_socket(void)
{
	int fd = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);

	if (fd >= 0)
		close(fd);
}

// use_all uses several capabilities once.
static void use_all(void)
{
	char path[64];
	int fd;

	raw_socket();
	snprintf(path, sizeof(path), "/tmp/use-%d", lane);
	fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	if (fd >= 0) {
		if (fchown(fd, 1000 + below(100), 1000) == 0)
			syscall(SYS_setuid, 0);
		close(fd);
	}
	fd = open("/data/secret", O_RDONLY | O_CLOEXEC);
	if (fd >= 0)
		close(fd);
}

// go_on is the main function of an executed copy. Without a descriptor, it uses capabilities once.
// With a descriptor, it reads its whole program file, writes a byte to the descriptor, and uses
// capabilities until it is killed.
static int go_on(const char *descriptor)
{
	static char buffer[1 << 16];

	use_all();
	if (descriptor == NULL)
		return 0;
	int self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	while (self >= 0 && read(self, buffer, sizeof(buffer)) > 0)
		;
	if (write(atoi(descriptor), "x", 1) != 1)
		return 1;
	for (int i = 0;; i++) {
		snprintf(buffer, sizeof(buffer), "held-%d", i);
		prctl(PR_SET_NAME, buffer);
		raw_socket();
		usleep(10000);
	}
}

// --- ingredients -------------------------------------------------------------

// rename: makes a check under each of many names.
static void do_rename(void)
{
	char name[32];
	unsigned from = below(1 << 30);

	for (int i = 0; i < 8000; i++) {
		snprintf(name, sizeof(name), "%x", from + i);
		prctl(PR_SET_NAME, name);
		if (i % 4 == 0)
			raw_socket();
		else
			syscall(SYS_setuid, 0);
	}
}

static int copy_self(int to)
{
	int from = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), ok = 0;
	struct stat st;

	if (from >= 0 && fstat(from, &st) == 0) {
		off_t at = 0;
		while (at < st.st_size && sendfile(to, from, &at, st.st_size - at) > 0)
			;
		ok = at == st.st_size;
	}
	if (from >= 0)
		close(from);
	return ok;
}

static char *const copy_arguments[] = { "attack-mix", "--use", NULL };

// memfd: executes itself from memory files (memfd_create).
static void do_memfd(void)
{
	for (int i = 0; i < 20; i++) {
		if (fork() != 0) {
			wait(NULL);
			continue;
		}
		int fd = memfd_create("attack", MFD_CLOEXEC);
		if (fd >= 0 && copy_self(fd))
			fexecve(fd, copy_arguments, environ);
		_exit(1);
	}
}

// files: executes many different files.
static void do_files(void)
{
	char path[64];

	for (int i = 0; i < 30; i++) {
		snprintf(path, sizeof(path), "/tmp/file-%d-%u", lane, below(1 << 30));
		int fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0755);
		int ok = fd >= 0 && copy_self(fd);
		if (fd >= 0)
			close(fd);
		if (ok && fork() == 0) {
			execve(path, copy_arguments, environ);
			_exit(1);
		}
		wait(NULL);
		unlink(path);
	}
}

// userns: uses capabilities in its own user namespace, where they do not count for the container.
static void do_userns(void)
{
	for (int i = 0; i < 20; i++) {
		if (fork() == 0) {
			if (unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWNS) == 0) {
				mount("none", "/tmp", "tmpfs", 0, "size=1m");
				use_all();
			}
			_exit(0);
		}
		wait(NULL);
	}
}

static void drop_bounding(void)
{
	for (int cap = 0; cap <= CAP_LAST_CAP; cap++)
		if (below(2))
			prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
}

// bounding: drops much of its bounding set, uses the rest, and executes itself with it.
static void do_bounding(void)
{
	for (int i = 0; i < 20; i++) {
		if (fork() == 0) {
			below(1 + i); /* so that each child has another sequence */
			state += i;
			drop_bounding();
			use_all();
			execve("/proc/self/exe", copy_arguments, environ);
			_exit(1);
		}
		wait(NULL);
	}
}

static struct __user_cap_data_struct racing[2];

static void *flip(void *unused)
{
	for (;;)
		__atomic_xor_fetch(&racing[0].effective, 1 << CAP_NET_RAW, __ATOMIC_RELAXED);
	return NULL;
}

// capset: a thread changes the sets in memory while the kernel reads them.
static void do_capset(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	pthread_t thread;

	if (syscall(SYS_capget, &header, racing) || pthread_create(&thread, NULL, flip, NULL))
		return;
	for (int i = 0; i < 3000; i++) {
		syscall(SYS_capset, &header, racing);
		raw_socket();
	}
}

static int hold_threads;

static void *thread_main(void *number)
{
	char name[32];

	snprintf(name, sizeof(name), "t%ld", (long)number);
	prctl(PR_SET_NAME, name);
	raw_socket();
	syscall(SYS_setuid, 0);
	while (__atomic_load_n(&hold_threads, __ATOMIC_RELAXED))
		usleep(50000);
	return NULL;
}

// threads: runs thousands of threads at a time, each with its own name and uses.
static void do_threads(void)
{
	static pthread_t threads[MAX_THREADS];
	pthread_attr_t attributes;
	int n = 0;

	hold_threads = 1;
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, 1 << 15);
	while (n < MAX_THREADS &&
	       pthread_create(&threads[n], &attributes, thread_main, (void *)(long)n) == 0)
		n++;
	hold_threads = 0;
	while (n > 0)
		pthread_join(threads[--n], NULL);
}

// paths: uses files at the end of paths of 50,000 bytes and of chains of 39 long symbolic links.
static void do_paths(void)
{
	char name[201], text[4096], link[64];
	int fd;

	snprintf(link, sizeof(link), "/tmp/paths-%d", lane);
	mkdir(link, 0755);
	if (chdir(link))
		return;
	for (int i = 0; i < 39; i++) {
		int length = 0;
		while (length < 3900)
			length += sprintf(text + length, "./");
		sprintf(text + length, "%s%d", i ? "link-" : "end-", i ? i - 1 : 0);
		snprintf(link, sizeof(link), "link-%d", i);
		if (symlink(text, link) && errno != EEXIST)
			return;
	}
	fd = open("end-0", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	if (fd >= 0)
		close(fd);
	for (int i = 0; i < 200; i++)
		if (chown("link-38", 1000 + i % 2, 1000))
			break;
	memset(name, 'd', 200);
	name[200] = '\0';
	for (int i = 0; i < 250; i++)
		if ((mkdir(name, 0755) && errno != EEXIST) || chdir(name))
			return;
	fd = open("file", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	if (fd < 0)
		return;
	for (int i = 0; i < 200; i++)
		if (fchown(fd, 1000 + i % 2, 1000) || chown("file", 1002, 1000))
			break;
	close(fd);
	fd = open("run", O_CREAT | O_WRONLY | O_CLOEXEC, 0755);
	if (fd >= 0 && copy_self(fd)) {
		close(fd);
		if (fork() == 0) {
			execve("./run", copy_arguments, environ);
			_exit(1);
		}
		wait(NULL);
	}
	unlink("run");
}

// --- io_uring ----------------------------------------------------------------

// submit_open opens a file with a ring of one entry. It does not always wait for the result.
static void submit_open(int ring, const struct io_uring_params *params, int personality)
{
	char *sq = mmap(NULL, params->sq_off.array + sizeof(__u32), PROT_READ | PROT_WRITE,
			MAP_SHARED, ring, IORING_OFF_SQ_RING);
	struct io_uring_sqe *sqe =
		mmap(NULL, sizeof(*sqe), PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQES);

	if (sq == MAP_FAILED || sqe == MAP_FAILED)
		return;
	*sqe = (struct io_uring_sqe){
		.opcode = IORING_OP_OPENAT,
		.flags = IOSQE_ASYNC,
		.fd = AT_FDCWD,
		.addr = (__u64) "/data/secret",
		.open_flags = O_RDONLY,
		.personality = personality,
	};
	*(__u32 *)(sq + params->sq_off.array) = 0;
	__atomic_store_n((__u32 *)(sq + params->sq_off.tail), 1, __ATOMIC_RELEASE);
	syscall(SYS_io_uring_enter, ring, 1, params->flags & IORING_SETUP_SQPOLL ? 0 : 1,
		IORING_ENTER_GETEVENTS | IORING_ENTER_SQ_WAKEUP, NULL, 0);
	if (params->flags & IORING_SETUP_SQPOLL)
		usleep(20000);
}

// uring: uses rings that a kernel thread polls, and rings with the credential from before the
// bounding set was dropped.
static void do_uring(void)
{
	for (int i = 0; i < 20; i++) {
		if (fork() == 0) {
			struct io_uring_params params = { .flags = i % 2 ? IORING_SETUP_SQPOLL : 0,
							  .sq_thread_idle = 100 };
			int ring = syscall(SYS_io_uring_setup, 1, &params);
			int personality = syscall(SYS_io_uring_register, ring,
						  IORING_REGISTER_PERSONALITY, NULL, 0);

			if (ring < 0)
				_exit(0);
			state += i;
			drop_bounding();
			submit_open(ring, &params, personality > 0 ? personality : 0);
			_exit(0);
		}
		wait(NULL);
	}
}

// --- cgroups -----------------------------------------------------------------

static void enter(const char *file)
{
	int fd = open(file, O_WRONLY | O_CLOEXEC);

	if (fd >= 0) {
		if (write(fd, "0", 1) != 1) {
		}
		close(fd);
	}
}

// other_id returns one of ATTACK_IDS, or a random name that looks like an ID.
static void other_id(char id[65])
{
	const char *ids = getenv("ATTACK_IDS");
	size_t n = ids ? (strlen(ids) + 1) / 65 : 0;

	if (n > 0 && below(2)) {
		memcpy(id, ids + 65 * below(n), 64);
		id[64] = '\0';
		return;
	}
	for (int i = 0; i < 64; i++)
		id[i] = "0123456789abcdef"[below(16)];
	id[64] = '\0';
}

// nest makes 100 nested cgroups below the working directory, and uses capabilities in the
// innermost. Some cgroups have long names, others have names of other containers.
static void nest(void)
{
	static char names[100][201];
	int depth = 0;

	for (; depth < 100; depth++) {
		if (depth % 3 == 0) {
			other_id(names[depth]);
		} else {
			memset(names[depth], 'c', 200);
			names[depth][below(2) ? 200 : 8] = '\0';
		}
		if ((mkdir(names[depth], 0755) && errno != EEXIST) || chdir(names[depth]))
			break;
	}
	if (fork() == 0) {
		enter("cgroup.procs");
		for (int i = 0; i < 50; i++)
			use_all();
		_exit(0);
	}
	wait(NULL);
	while (depth-- > 0)
		if (chdir("..") == 0)
			rmdir(names[depth]);
}

// cgroups: makes nested cgroups, in every hierarchy that can be mounted.
static void do_cgroups(void)
{
	static const struct {
		const char *type, *options;
	} hierarchies[] = { { "cgroup2", NULL },
			    { "cgroup", "pids" },
			    { "cgroup", "cpu" },
			    { "cgroup", "memory" },
			    { "cgroup", "none,name=systemd" } };
	char directory[64];

	snprintf(directory, sizeof(directory), "/tmp/cgroup-%d", lane);
	mkdir(directory, 0755);
	if (unshare(CLONE_NEWCGROUP | CLONE_NEWNS) ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return;
	for (size_t i = 0; i < sizeof(hierarchies) / sizeof(hierarchies[0]); i++) {
		if (mount("none", directory, hierarchies[i].type, 0, hierarchies[i].options))
			continue;
		if (chdir(directory) == 0) {
			char own[16];

			snprintf(own, sizeof(own), "lane-%d", lane);
			mkdir(own, 0755);
			if (chdir(own) == 0) {
				nest();
				if (chdir("..") == 0)
					rmdir(own);
			}
		}
		if (chdir("/") == 0)
			umount2(directory, MNT_DETACH);
	}
}

// mounts: mounts and unmounts its own file system.
static void do_mounts(void)
{
	if (unshare(CLONE_NEWNS))
		return;
	for (int i = 0; i < 20; i++)
		if (mount("none", "/mnt", "tmpfs", 0, "size=1m") == 0)
			umount2("/mnt", MNT_DETACH);
}

// --- FUSE --------------------------------------------------------------------

// fuse: executes itself from a file system whose server then stops answering. It ends when the step
// is killed: the kernel aborts the connection when the server has ended.
static void do_fuse(void)
{
	static char request[(1 << 17) + 4096];
	char directory[64], options[128], program[80], ready[16], byte;
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC), done[2];
	int self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || self < 0 || fstat(self, &st) || pipe2(done, O_NONBLOCK))
		return;
	const char *image = mmap(NULL, st.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, self, 0);
	snprintf(directory, sizeof(directory), "/tmp/fuse-%d", lane);
	snprintf(program, sizeof(program), "%s/run", directory);
	snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other",
		 fd);
	mkdir(directory, 0755);
	if (image == MAP_FAILED || unshare(CLONE_NEWNS) ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("attack", directory, "fuse", MS_NODEV, options))
		return;
	if (fork() == 0) {
		snprintf(ready, sizeof(ready), "%d", done[1]);
		execve(program, (char *const[]){ "attack-mix", "--use", ready, NULL }, environ);
		_exit(1);
	}
	while (read(done[0], &byte, 1) != 1) {
		if (read(fd, request, sizeof(request)) <= 0 && errno != EINTR && errno != ENOENT)
			return;
		fuse_serve(fd, image, st.st_size, request);
		usleep(0);
	}
	for (;;)
		pause();
}

// raw: opens raw sockets, which cause alerts, between the other ingredients.
static void do_raw(void)
{
	for (unsigned n = 1 + below(50); n > 0; n--)
		raw_socket();
}

// --- the mix -----------------------------------------------------------------

static const struct ingredient {
	const char *name;
	void (*run)(void);
} ingredients[] = {
	{ "rename", do_rename },   { "memfd", do_memfd },	{ "files", do_files },
	{ "userns", do_userns },   { "bounding", do_bounding }, { "capset", do_capset },
	{ "threads", do_threads }, { "paths", do_paths },	{ "uring", do_uring },
	{ "cgroups", do_cgroups }, { "mounts", do_mounts },	{ "fuse", do_fuse },
	{ "raw", do_raw },
};

#define INGREDIENTS (sizeof(ingredients) / sizeof(ingredients[0]))

// chosen returns whether a list of names has an ingredient. NULL stands for all ingredients.
static int chosen(const char *list, const char *name)
{
	size_t length = strlen(name);

	if (list == NULL)
		return 1;
	for (const char *at = list; (at = strstr(at, name)) != NULL; at++)
		if ((at == list || at[-1] == ',') && (at[length] == ',' || at[length] == '\0'))
			return 1;
	return 0;
}

// step runs an ingredient in a child for a limited time, and then kills its processes.
static void step(const struct ingredient *what, int seconds)
{
	sigset_t child;
	pid_t pid;

	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	pid = fork();
	if (pid == 0) {
		setpgid(0, 0);
		sigprocmask(SIG_UNBLOCK, &child, NULL);
		what->run();
		_exit(0);
	}
	if (pid < 0)
		return;
	setpgid(pid, pid);
	for (double end = now() + seconds; now() < end && waitpid(pid, NULL, WNOHANG) == 0;)
		sigtimedwait(&child, NULL, &(struct timespec){ .tv_nsec = 100000000 });
	kill(-pid, SIGKILL);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void run_lane(const struct ingredient **chosen, int n, double end, unsigned *counts)
{
	sigset_t child;

	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, NULL);
	/* The first round is in order, so that even a short attack runs all ingredients. */
	for (int i = 0; now() < end; i++) {
		int next = i < n ? (i + lane * n / LANES) % n : (int)below(n);
		int fuse = chosen[next]->run == do_fuse;

		__atomic_add_fetch(&counts[chosen[next] - ingredients], 1, __ATOMIC_SEQ_CST);
		step(chosen[next], fuse ? 2 + below(14) : STEP_SECONDS);
	}
	_exit(0);
}

int main(int argc, char **argv)
{
	const struct ingredient *list[INGREDIENTS];
	unsigned *counts;
	int n = 0;

	if (argc >= 2 && strcmp(argv[1], "--use") == 0)
		return go_on(argv[2]);
	int seconds = argc == 3 || argc == 4 ? atoi(argv[1]) : 0;
	for (size_t i = 0; i < INGREDIENTS; i++)
		if (chosen(argc == 4 ? argv[3] : NULL, ingredients[i].name))
			list[n++] = &ingredients[i];
	if (seconds <= 0 || n == 0) {
		fprintf(stderr, "usage: attack-mix SECONDS SEED [INGREDIENT,...]\n");
		return 2;
	}
	double end = now() + seconds;
	counts = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (counts == MAP_FAILED) {
		perror("mmap");
		return 1;
	}
	for (lane = 0; lane < LANES; lane++) {
		if (fork() == 0) {
			state = (strtoull(argv[2], NULL, 0) + lane) * 0x9e3779b97f4a7c15ull | 1;
			run_lane(list, n, end, counts);
		}
	}
	/* The first process inherits all processes whose parents ended. A lane may hang. */
	while (now() < end + 20 && waitpid(-1, NULL, WNOHANG) >= 0)
		usleep(100000);
	if (getpid() == 1)
		kill(-1, SIGKILL);
	for (size_t i = 0; i < INGREDIENTS; i++)
		printf("%s %u\n", ingredients[i].name, counts[i]);
	return 0;
}
