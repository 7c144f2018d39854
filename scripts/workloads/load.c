/*
 * The load of the benchmark: makes capability checks as fast as it can, and prints how long that
 * took. A line of the input has the form KIND COUNT PROCESSES. It starts PROCESSES processes,
 * distributed over the processors, and each of them performs the operation KIND COUNT times. The
 * output is the nanoseconds from the start of the first process to the end of the last one.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <netinet/in.h>

static char strangers[] = "/tmp/load.XXXXXX"; /* a file that another user owns */

static void do_mmap(void)
{
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (page == MAP_FAILED || munmap(page, 4096))
		err(1, "mmap");
}

static void do_setuid(void)
{
	if (setuid(0))
		err(1, "setuid");
}

static void do_open(void)
{
	int file = open(strangers, O_RDONLY);

	if (file < 0)
		err(1, "open %s", strangers);
	close(file);
}

static void do_rawsock(void)
{
	int raw = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);

	if (raw < 0)
		err(1, "socket");
	close(raw);
}

/* The same under a new process name each time, so that it looks like another program. */
static void do_program(void)
{
	static int programs;
	char name[16];

	snprintf(name, sizeof(name), "%d-%d", getpid(), ++programs);
	if (prctl(PR_SET_NAME, name))
		err(1, "prctl");
	do_rawsock();
}

static void do_exec(void)
{
	int status;
	pid_t child = fork();

	if (child < 0)
		err(1, "fork");
	if (child == 0) {
		execl("/proc/self/exe", "true", "true", NULL);
		_exit(127);
	}
	if (waitpid(child, &status, 0) < 0 || status)
		errx(1, "the child ended with status %d", status);
}

/* Checks CAP_SETUID for another user each time, which is another pattern of use. */
static void do_kinds(void)
{
	static int user;

	setfsuid(++user);
}

/* Makes no check, to measure the cost of tracing system calls. */
static void do_getppid(void)
{
	getppid();
}

static const struct kind {
	const char *name;
	void (*once)(void);
} kinds[] = {
	{ "mmap", do_mmap },	   { "setuid", do_setuid },   { "open", do_open },
	{ "rawsock", do_rawsock }, { "exec", do_exec },	      { "getppid", do_getppid },
	{ "kinds", do_kinds },	   { "program", do_program },
};

static const struct kind *kind_of(const char *name)
{
	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
		if (!strcmp(kinds[i].name, name))
			return &kinds[i];
	errx(2, "no such kind of load: %s", name);
}

static long long now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static void pin(int processor)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(processor, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		err(1, "sched_setaffinity");
}

/* Runs the load in other processes, which all start at the same time. */
static void carry_out(const struct kind *kind, long count, int processes)
{
	int ready[2], go[2], status;
	char byte;

	if (pipe(ready) || pipe(go))
		err(1, "pipe");
	for (int i = 0; i < processes; i++) {
		pid_t child = fork();
		if (child < 0)
			err(1, "fork");
		if (child > 0)
			continue;
		pin(i % (int)sysconf(_SC_NPROCESSORS_ONLN));
		close(go[1]);
		if (write(ready[1], "", 1) != 1 || read(go[0], &byte, 1) != 0)
			err(1, "waiting for the start");
		for (long n = 0; n < count; n++)
			kind->once();
		_exit(0);
	}
	for (int i = 0; i < processes; i++)
		if (read(ready[0], &byte, 1) != 1)
			err(1, "waiting for the processes");
	long long begin = now();
	close(go[1]);
	for (int i = 0; i < processes; i++)
		if (wait(&status) < 0 || status)
			errx(1, "a process ended with status %d", status);
	printf("%lld\n", now() - begin);
	fflush(stdout);
	close(go[0]);
	close(ready[0]);
	close(ready[1]);
}

int main(int argc, char **argv)
{
	char name[16];
	long count;
	int processes;

	if (argc > 0 && !strcmp(argv[0], "true"))
		return 0;
	int file = mkstemp(strangers);
	if (file < 0 || fchmod(file, 0600) || fchown(file, 4711, 4711))
		err(1, "%s", strangers);
	close(file);
	while (scanf("%15s %ld %d", name, &count, &processes) == 3)
		carry_out(kind_of(name), count, processes);
	unlink(strangers);
	return 0;
}
