// SPDX-License-Identifier: Apache-2.0
//
// probe performs one small privileged (or seemingly privileged) operation per subcommand, so that
// an end-to-end test knows exactly which capability checks its container causes. It exits 0 on
// success, 1 with a message on failure, 2 on wrong usage. Subcommands that end in an exec exit with
// the status of the executed program.
//
// probe makes a system call directly if libc would choose another one.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/io_uring.h>
#include <linux/netlink.h>
#include <linux/packet_diag.h>
#include <linux/perf_event.h>
#include <linux/reboot.h>
#include <linux/seccomp.h>
#include <linux/securebits.h>
#include <linux/sock_diag.h>
#include <mqueue.h>
#include <netinet/tcp.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

extern char **environ;

// run executes the subcommand in the arguments and returns an exit code.
static int run(char **args);

// fail ends the program with "probe: WHAT: errno's text".
static void __attribute__((noreturn, format(printf, 1, 2))) fail(const char *what, ...)
{
	int err = errno;
	va_list args;

	fprintf(stderr, "probe: ");
	va_start(args, what);
	vfprintf(stderr, what, args);
	va_end(args);
	fprintf(stderr, ": %s\n", strerror(err));
	exit(1);
}

// need returns the result of a system call, and fails if it is negative.
static int need(long result, const char *what)
{
	if (result < 0)
		fail("%s", what);
	return result;
}

static int number(const char *text)
{
	char *end;
	long value = strtol(text, &end, 0);

	if (*text == '\0' || *end != '\0' || value < 0 || value > 1 << 30) {
		fprintf(stderr, "probe: %s is not a number\n", text);
		exit(2);
	}
	return value;
}

// await_child fails unless the child exits with 0.
static void await_child(pid_t child)
{
	int status;

	need(waitpid(child, &status, 0), "waitpid");
	if (status != 0) {
		fprintf(stderr, "probe: child ended with status %#x\n", status);
		exit(1);
	}
}

// --- identities --------------------------------------------------------------

// setuid0: redundant for root, a need (CAP_SETUID) for anyone else.
static void setuid0(char **args)
{
	need(setuid(0), "setuid(0)");
}

// compat-setuid0: the same with the system call of 32-bit programs.
static void compat_setuid0(char **args)
{
#ifdef __x86_64__
	long result;

	asm volatile("int $0x80" : "=a"(result) : "a"(213 /* setuid32 */), "b"(0) : "memory");
	errno = -result;
	need(result < 0 ? -1 : 0, "setuid32(0)");
#else
	need(setuid(0), "setuid(0)");
#endif
}

static void setgid0(char **args)
{
	need(setgid(0), "setgid(0)");
}

// setfsuid0: setfsuid(2) reports no errors; the next call returns the current ID.
static void setfsuid0(char **args)
{
	setfsuid(0);
	if (setfsuid(-1) != 0) {
		errno = EPERM;
		fail("setfsuid(0)");
	}
}

// setfsuid UID: causes no check if UID is one of the process's own IDs.
static void setfsuid_to(char **args)
{
	setfsuid(number(args[0]));
	printf("%d\n", setfsuid(-1));
}

static void set_groups(char **args)
{
	gid_t group = number(args[0]);

	need(setgroups(1, &group), "setgroups");
}

// setgroups-same: sets the groups that the process already has.
static void set_same_groups(char **args)
{
	gid_t groups[64];
	int n = need(getgroups(64, groups), "getgroups");

	need(setgroups(n, groups), "setgroups");
}

// capbset-read CAP: exits with 1 if capability number CAP is not in the bounding set.
static void capbset_read(char **args)
{
	if (need(prctl(PR_CAPBSET_READ, number(args[0]), 0, 0, 0), "prctl(PR_CAPBSET_READ)") == 0)
		exit(1);
}

// capbset-drop CAP: removes capability number CAP from the bounding set.
static void capbset_drop(char **args)
{
	need(prctl(PR_CAPBSET_DROP, number(args[0]), 0, 0, 0), "prctl(PR_CAPBSET_DROP)");
}

// bset-only CAP COMMAND...: runs a command with only capability number CAP in the bounding set.
static void bset_only(char **args)
{
	int cap = number(args[0]);

	for (int other = 0; prctl(PR_CAPBSET_READ, other, 0, 0, 0) >= 0; other++)
		if (other != cap)
			need(prctl(PR_CAPBSET_DROP, other, 0, 0, 0), "prctl(PR_CAPBSET_DROP)");
	execvp(args[1], args + 1);
	fail("%s", args[1]);
}

static void securebits(char **args)
{
	need(prctl(PR_SET_SECUREBITS, SECBIT_NOROOT, 0, 0, 0), "prctl(PR_SET_SECUREBITS)");
}

/* Without no_new_privs: with it, the kernel would check no capability. */
static void seccomp_filter(char **args)
{
	struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	struct sock_fprog filter = { .len = 1, .filter = &allow };

	need(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter), "prctl(PR_SET_SECCOMP)");
}

static struct __user_cap_header_struct caps_header = {
	.version = _LINUX_CAPABILITY_VERSION_3,
};

static void capabilities(struct __user_cap_data_struct sets[2])
{
	need(syscall(SYS_capget, &caps_header, sets), "capget");
}

// capset-same: sets the sets that the process already has.
static void capset_same(char **args)
{
	struct __user_cap_data_struct sets[2];

	capabilities(sets);
	need(syscall(SYS_capset, &caps_header, sets), "capset");
}

// capset-only CAP: keeps only capability number CAP permitted and effective.
static void capset_only(char **args)
{
	struct __user_cap_data_struct sets[2] = {};
	int cap = number(args[0]);

	sets[CAP_TO_INDEX(cap) & 1].permitted = CAP_TO_MASK(cap);
	sets[CAP_TO_INDEX(cap) & 1].effective = CAP_TO_MASK(cap);
	need(syscall(SYS_capset, &caps_header, sets), "capset");
}

// capset-add CAP: adds capability number CAP to the permitted set.
static void capset_add(char **args)
{
	struct __user_cap_data_struct sets[2];
	int cap = number(args[0]);

	capabilities(sets);
	sets[CAP_TO_INDEX(cap) & 1].permitted |= CAP_TO_MASK(cap);
	need(syscall(SYS_capset, &caps_header, sets), "capset");
}

// capget CAP: exits with 1 if capability number CAP is not effective.
static void capget_has(char **args)
{
	struct __user_cap_data_struct sets[2];
	int cap = number(args[0]);

	capabilities(sets);
	if (!(sets[CAP_TO_INDEX(cap) & 1].effective & CAP_TO_MASK(cap)))
		exit(1);
}

// capset-raise CAP: adds capability number CAP to the permitted and the effective set.
static void capset_raise(char **args)
{
	struct __user_cap_data_struct sets[2];
	int cap = number(args[0]);

	capabilities(sets);
	sets[CAP_TO_INDEX(cap) & 1].permitted |= CAP_TO_MASK(cap);
	sets[CAP_TO_INDEX(cap) & 1].effective |= CAP_TO_MASK(cap);
	need(syscall(SYS_capset, &caps_header, sets), "capset");
}

// capset-effective CAP: empties the effective set, and then makes capability number CAP effective.
static void capset_effective(char **args)
{
	struct __user_cap_data_struct sets[2];
	int cap = number(args[0]), index = CAP_TO_INDEX(cap) & 1;

	capabilities(sets);
	sets[0].effective = sets[1].effective = 0;
	need(syscall(SYS_capset, &caps_header, sets), "capset of nothing effective");
	sets[index].effective = CAP_TO_MASK(cap);
	need(syscall(SYS_capset, &caps_header, sets), "capset");
}

// capset-inheritable CAP: keeps only CAP_SETPCAP permitted, and makes capability number CAP of the
// bounding set inheritable.
static void capset_inheritable(char **args)
{
	struct __user_cap_data_struct sets[2] = {};
	int cap = number(args[0]);

	sets[0].permitted = sets[0].effective = CAP_TO_MASK(CAP_SETPCAP);
	need(syscall(SYS_capset, &caps_header, sets), "capset of CAP_SETPCAP alone");
	sets[CAP_TO_INDEX(cap) & 1].inheritable = CAP_TO_MASK(cap);
	need(syscall(SYS_capset, &caps_header, sets), "capset");
}

// ambient CAP: raises capability number CAP in the inheritable and the ambient set. This only
// requires that the capability is permitted.
static void ambient(char **args)
{
	struct __user_cap_data_struct sets[2];
	int cap = number(args[0]);

	capabilities(sets);
	sets[CAP_TO_INDEX(cap) & 1].inheritable |= CAP_TO_MASK(cap);
	need(syscall(SYS_capset, &caps_header, sets), "capset");
	need(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0), "prctl(PR_CAP_AMBIENT_RAISE)");
}

// --- network -----------------------------------------------------------------

/* Runs with another real user, like a set-user-ID program of root. */
static void real_user(char **args)
{
	need(setresuid(atoi(args[0]), 0, 0), "setresuid");
	run(args + 1);
}

static void rawsock(char **args)
{
	need(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP), "socket(AF_INET, SOCK_RAW, ICMP)");
}

// echo: uses a datagram socket if a raw socket is denied, like ping of iputils.
static void echo_socket(char **args)
{
	if (socket(AF_INET, SOCK_RAW, IPPROTO_ICMP) < 0)
		need(socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP),
		     "socket(AF_INET, SOCK_DGRAM, ICMP)");
}

// socket FAMILY TYPE PROTOCOL, as numbers.
static void socket_of(char **args)
{
	close(need(socket(number(args[0]), number(args[1]), number(args[2])), "socket"));
}

// compat-socket FAMILY TYPE PROTOCOL: the same with the system call of 32-bit programs.
static void compat_socket(char **args)
{
#ifdef __x86_64__
	int *arguments = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	long result;

	if (arguments == MAP_FAILED)
		fail("mmap");
	for (int i = 0; i < 3; i++)
		arguments[i] = number(args[i]);
	asm volatile("int $0x80"
		     : "=a"(result)
		     : "a"(102 /* socketcall */), "b"(1 /* SYS_SOCKET */), "c"(arguments)
		     : "memory");
	errno = -result;
	close(need(result < 0 ? -1 : result, "socketcall"));
#else
	socket_of(args);
#endif
}

// hold FAMILY TYPE PROTOCOL N: opens N such sockets, prints "ready" and keeps them open.
static void hold(char **args)
{
	for (int n = number(args[3]); n > 0; n--)
		need(socket(number(args[0]), number(args[1]), number(args[2])), "socket");
	puts("ready");
	fflush(stdout);
	for (;;)
		pause();
}

static void *hold_apart_thread(void *args)
{
	need(unshare(CLONE_FILES), "unshare(CLONE_FILES)");
	hold(args);
	return NULL;
}

// hold-apart FAMILY TYPE PROTOCOL N: the same in a thread with its own descriptors.
static void hold_apart(char **args)
{
	pthread_t thread;

	errno = pthread_create(&thread, NULL, hold_apart_thread, args);
	need(errno ? -1 : 0, "pthread_create");
	pthread_join(thread, NULL);
}

static void *juggle_thread(void *unused)
{
	for (;;) {
		close(open("/dev/null", O_RDONLY));
		close(socket(AF_INET, SOCK_DGRAM, 0));
	}
	return NULL;
}

// juggle N SUBCOMMAND...: runs the subcommand with N open files, while a thread constantly opens
// and closes other files, and children start and end.
static void juggle(char **args)
{
	struct rlimit most;
	pthread_t thread;

	need(getrlimit(RLIMIT_NOFILE, &most), "getrlimit");
	most.rlim_cur = most.rlim_max;
	need(setrlimit(RLIMIT_NOFILE, &most), "setrlimit");
	for (int n = number(args[0]); n > 0; n--)
		need(open("/dev/null", O_RDONLY), "/dev/null");
	if (need(fork(), "fork") == 0) {
		for (;;) {
			if (fork() == 0)
				_exit(0);
			while (waitpid(-1, NULL, WNOHANG) > 0)
				;
		}
	}
	errno = pthread_create(&thread, NULL, juggle_thread, NULL);
	need(errno ? -1 : 0, "pthread_create");
	exit(run(args + 1));
}

static volatile sig_atomic_t flood_over;

static void end_flood(int signal)
{
	flood_over = 1;
}

// rawsock-flood PROCESSES NAMES: opens raw sockets as fast as it can in that many processes, each
// under that many names, until it receives SIGTERM. Then it prints how many sockets it opened.
static void rawsock_flood(char **args)
{
	int names = number(args[1]);
	unsigned long *made =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	char name[16];

	if (made == MAP_FAILED)
		fail("mmap");
	sigset_t term;
	int caught;
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	need(sigprocmask(SIG_BLOCK, &term, NULL), "sigprocmask");
	for (int n = number(args[0]); n > 0; n--) {
		if (need(fork(), "fork") != 0)
			continue;
		signal(SIGTERM, end_flood);
		need(sigprocmask(SIG_UNBLOCK, &term, NULL), "sigprocmask");
		unsigned long mine = 0;
		for (; !flood_over; mine++) {
			if (names > 1) {
				snprintf(name, sizeof(name), "%d", (int)(mine % names));
				need(prctl(PR_SET_NAME, name, 0, 0, 0), "prctl(PR_SET_NAME)");
			}
			close(need(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP), "socket"));
		}
		__atomic_add_fetch(made, mine, __ATOMIC_SEQ_CST);
		_exit(0);
	}
	sigwait(&term, &caught);
	kill(0, SIGTERM);
	for (int status; wait(&status) > 0;)
		if (status)
			fail("one of the processes");
	printf("%lu\n", *made);
}

static void packet(char **args)
{
	need(socket(AF_PACKET, SOCK_DGRAM, 0), "socket(AF_PACKET, SOCK_DGRAM)");
}

// bind PORT [FAMILY TYPE]: by default, Docker lets all users bind all ports. Use
// --sysctl net.ipv4.ip_unprivileged_port_start=1024 to make low ports privileged. The beginning of
// the address is the same for IPv4 and IPv6, and the rest is zero, which means any address.
static void bind_port(char **args)
{
	struct sockaddr_in6 address = {
		.sin6_family = args[1] ? number(args[1]) : AF_INET,
		.sin6_port = htons(number(args[0])),
	};
	int fd = need(socket(address.sin6_family, args[1] ? number(args[2]) : SOCK_STREAM, 0),
		      "socket");

	need(bind(fd, (struct sockaddr *)&address, sizeof(address)), "bind");
}

// compat-bind PORT: the same with the system call of 32-bit programs.
static void compat_bind(char **args)
{
#ifdef __x86_64__
	struct {
		int arguments[3];
		struct sockaddr_in address;
	} *low = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT,
		      -1, 0);
	long result;

	if (low == MAP_FAILED)
		fail("mmap");
	low->address.sin_family = AF_INET;
	low->address.sin_port = htons(number(args[0]));
	low->arguments[0] = need(socket(AF_INET, SOCK_STREAM, 0), "socket");
	low->arguments[1] = (int)(long)&low->address;
	low->arguments[2] = sizeof(low->address);
	asm volatile("int $0x80"
		     : "=a"(result)
		     : "a"(102 /* socketcall */), "b"(2 /* SYS_BIND */), "c"(low->arguments)
		     : "memory");
	errno = -result;
	need(result < 0 ? -1 : 0, "socketcall");
#else
	bind_port((char *[]){ args[0], NULL });
#endif
}

// setsockopt LEVEL NAME VALUE: sets an integer option of a TCP socket.
static void set_option(char **args)
{
	int fd = need(socket(AF_INET, SOCK_STREAM, 0), "socket");
	int value = number(args[2]);

	need(setsockopt(fd, number(args[0]), number(args[1]), &value, sizeof(value)), "setsockopt");
}

// rebind-device FROM TO: binds a socket to one network device, which every user may do, and then to
// another device.
static void rebind_device(char **args)
{
	int fd = need(socket(AF_INET, SOCK_DGRAM, 0), "socket");

	for (int i = 0; i < 2; i++)
		need(setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, args[i], strlen(args[i])),
		     "SO_BINDTODEVICE");
}

static void congestion(char **args)
{
	int fd = need(socket(AF_INET, SOCK_STREAM, 0), "socket");

	need(setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, args[0], strlen(args[0])),
	     "TCP_CONGESTION");
}

// packet-diag: lists packet sockets. The list is empty.
static void packet_diag(char **args)
{
	struct {
		struct nlmsghdr header;
		struct packet_diag_req request;
	} message = {
		.header = {
			.nlmsg_len = sizeof(message),
			.nlmsg_type = SOCK_DIAG_BY_FAMILY,
			.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP,
		},
		.request = { .sdiag_family = AF_PACKET, .pdiag_show = PACKET_SHOW_FILTER },
	};
	char answer[4096];
	int fd = need(socket(AF_NETLINK, SOCK_RAW, NETLINK_SOCK_DIAG), "socket(NETLINK_SOCK_DIAG)");

	need(send(fd, &message, sizeof(message), 0), "send");
	need(recv(fd, answer, sizeof(answer), 0), "recv");
	printf("%d\n", ((struct nlmsghdr *)answer)->nlmsg_type);
}

// --- files -------------------------------------------------------------------

// access-w FILE: access(2) runs its check under temporary credentials. Newer
// architectures have only faccessat(2), which does the same.
static void access_w(char **args)
{
#ifdef SYS_access
	need(syscall(SYS_access, args[0], W_OK), "access");
#else
	need(syscall(SYS_faccessat, AT_FDCWD, args[0], W_OK), "faccessat");
#endif
}

#ifndef SYS_faccessat2
#define SYS_faccessat2 439
#endif

static void faccessat2_w(char **args)
{
	need(syscall(SYS_faccessat2, AT_FDCWD, args[0], W_OK, 0), "faccessat2");
}

static void mknod_null(char **args)
{
	need(mknod(args[0], S_IFCHR | 0666, makedev(1, 3)), "mknod");
}

static int create(const char *path)
{
	return need(open(path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0644), path);
}

// write-sgid PATH: writing to a set-group-ID executable clears the bit unless the writer has
// CAP_FSETID. Both are a success; probe prints which one happened.
static void write_sgid(char **args)
{
	int fd = create(args[0]);
	struct stat st;

	need(fchmod(fd, 02755), "fchmod");
	need(write(fd, "x", 1), "write");
	need(fstat(fd, &st), "fstat");
	printf("set-group-ID bit %s\n", st.st_mode & S_ISGID ? "kept" : "lost");
}

// chmod-own PATH [MODE]: makes a file and changes its mode, by default to 0600. In /sgid, the new
// file gets a group that root is not a member of.
static void chmod_own(char **args)
{
	int fd = create(args[0]);

	need(fchmod(fd, args[1] ? strtol(args[1], NULL, 8) : 0600), "fchmod");
}

// open-noatime FILE: only the owner, or a process with CAP_FOWNER, may open a file with O_NOATIME.
static void open_noatime(char **args)
{
	need(open(args[0], O_RDONLY | O_NOATIME), args[0]);
}

// open-at DIRECTORY NAME: opens a file relative to an open directory.
static void open_at(char **args)
{
	int directory = need(open(args[0], O_PATH | O_DIRECTORY), args[0]);

	need(openat(directory, args[1], O_RDONLY), args[1]);
}

// chown-open PATH UID: changes the owner of an open file.
static void chown_open(char **args)
{
	int fd = need(open(args[0], O_RDONLY), args[0]);

	need(fchown(fd, number(args[1]), -1), "fchown");
	close(fd);
}

// chmod-open PATH MODE: changes the mode of an open file.
static void chmod_open(char **args)
{
	int fd = need(open(args[0], O_RDONLY), args[0]);

	need(fchmod(fd, strtol(args[1], NULL, 8)), "fchmod");
	close(fd);
}

static void *unmap_again_and_again(void *page)
{
	for (;;)
		madvise(page, 4096, MADV_DONTNEED);
	return NULL;
}

// open-unmapped PATH N: opens PATH N times. The path is in a page that is repeatedly discarded. The
// kernel can wait for the page, but an eBPF program cannot.
static void open_unmapped(char **args)
{
	int fd = need(memfd_create("name", 0), "memfd_create");
	char *page = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
	pthread_t thread;

	need(write(fd, args[0], strlen(args[0]) + 1), "write");
	need(ftruncate(fd, 4096), "ftruncate");
	errno = page == MAP_FAILED ? errno :
				     pthread_create(&thread, NULL, unmap_again_and_again, page);
	if (errno != 0)
		fail("open-unmapped");
	for (int n = number(args[1]); n > 0; n--)
		close(need(open(page, O_RDONLY), args[0]));
}

static void get_xattr(char **args)
{
	char value[4096];

	need(getxattr(args[0], args[1], value, sizeof(value)), args[1]);
}

static void list_xattr(char **args)
{
	char names[4096];

	need(listxattr(args[0], names, sizeof(names)), "listxattr");
}

// An access control list with an entry for user 1000, as setfacl writes it.
static const struct {
	unsigned version;
	struct {
		unsigned short tag, perm;
		unsigned id;
	} entries[5];
} acl = { 2,
	  { { 0x01, 7, -1u },
	    { 0x02, 7, 1000 },
	    { 0x04, 5, -1u },
	    { 0x10, 7, -1u },
	    { 0x20, 5, -1u } } };

// set-acl PATH [fd]: gives a new file an access control list, by its path or by a descriptor. Do
// not use it on overlayfs, which makes a check only if there is a bit to clear.
static void set_acl(char **args)
{
	static const char name[] = "system.posix_acl_access";
	int fd = create(args[0]);

	if (args[1] != NULL)
		need(fsetxattr(fd, name, &acl, sizeof(acl), 0), "fsetxattr");
	else
		need(setxattr(args[0], name, &acl, sizeof(acl), 0), "setxattr");
}

// --- memory and queues -------------------------------------------------------

static void *map(size_t length, int flags)
{
	void *address = mmap(NULL, length, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);

	if (address == MAP_FAILED)
		fail("mmap");
	return address;
}

// map-locked BYTES: needs no capability within RLIMIT_MEMLOCK.
static void map_locked(char **args)
{
	map(number(args[0]), MAP_LOCKED);
}

// remap-locked FROM TO: makes locked memory larger.
static void remap_locked(char **args)
{
	void *address = map(number(args[0]), MAP_LOCKED);

	if (mremap(address, number(args[0]), number(args[1]), MREMAP_MAYMOVE) == MAP_FAILED)
		fail("mremap");
}

// brk-locked BYTES: makes the heap larger after mlockall(MCL_FUTURE).
static void brk_locked(char **args)
{
	need(mlockall(MCL_FUTURE), "mlockall(MCL_FUTURE)");
	if (sbrk(number(args[0])) == (void *)-1)
		fail("sbrk");
}

static void shm_lock(char **args)
{
	int id = need(shmget(IPC_PRIVATE, 4096, 0600), "shmget");

	need(shmctl(id, SHM_LOCK, NULL), "shmctl(SHM_LOCK)");
	need(shmctl(id, IPC_RMID, NULL), "shmctl(IPC_RMID)");
}

static void io_uring(char **args)
{
	struct io_uring_params params = { 0 };

	need(syscall(SYS_io_uring_setup, 1, &params), "io_uring_setup");
}

// submit performs an operation with a ring of one entry, and returns its result. With
// IORING_SETUP_SQPOLL, a kernel thread polls for entries and submits them.
static int submit(int ring, const struct io_uring_params *params, struct io_uring_sqe what)
{
	int flags = IORING_ENTER_GETEVENTS;

	if (params->flags & IORING_SETUP_SQPOLL)
		flags |= IORING_ENTER_SQ_WAKEUP;
	char *sq = mmap(NULL, params->sq_off.array + sizeof(__u32), PROT_READ | PROT_WRITE,
			MAP_SHARED, ring, IORING_OFF_SQ_RING);
	char *cq = mmap(NULL, params->cq_off.cqes + 2 * sizeof(struct io_uring_cqe),
			PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_CQ_RING);
	struct io_uring_sqe *sqe =
		mmap(NULL, sizeof(*sqe), PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQES);
	if (sq == MAP_FAILED || cq == MAP_FAILED || sqe == MAP_FAILED)
		fail("mmap of the ring");
	*sqe = what;
	*(__u32 *)(sq + params->sq_off.array) = 0;
	__atomic_store_n((__u32 *)(sq + params->sq_off.tail), 1, __ATOMIC_RELEASE);
	need(syscall(SYS_io_uring_enter, ring, 1, 1, flags, NULL, 0), "io_uring_enter");
	struct io_uring_cqe *cqe = (void *)(cq + params->cq_off.cqes);
	errno = cqe->res < 0 ? -cqe->res : 0;
	return cqe->res < 0 ? -1 : cqe->res;
}

// io-uring-open FILE [UID]: a kernel worker thread opens the file. With UID, the process first
// becomes that user, and the file is opened with the credential that it registered as root.
static void io_uring_open(char **args)
{
	struct io_uring_params params = { 0 };
	int ring = need(syscall(SYS_io_uring_setup, 1, &params), "io_uring_setup");
	int personality = 0;

	if (args[1] != NULL) {
		personality = need(
			syscall(SYS_io_uring_register, ring, IORING_REGISTER_PERSONALITY, NULL, 0),
			"io_uring_register(IORING_REGISTER_PERSONALITY)");
		need(setuid(number(args[1])), "setuid");
	}
	need(submit(ring, &params,
		    (struct io_uring_sqe){
			    .opcode = IORING_OP_OPENAT,
			    .flags = IOSQE_ASYNC,
			    .fd = AT_FDCWD,
			    .addr = (__u64)args[0],
			    .open_flags = O_RDONLY,
			    .personality = personality,
		    }),
	     "opening by io_uring");
}

// io-uring-poll FILE: prints "ready" and waits for a line of input. Then a kernel thread that
// already runs (IORING_SETUP_SQPOLL) opens the file.
static void io_uring_poll(char **args)
{
	struct io_uring_params params = { .flags = IORING_SETUP_SQPOLL };
	int ring = need(syscall(SYS_io_uring_setup, 1, &params), "io_uring_setup");
	char line[2];

	need(write(1, "ready\n", 6), "write");
	need(read(0, line, sizeof(line)), "read");
	need(submit(ring, &params,
		    (struct io_uring_sqe){
			    .opcode = IORING_OP_OPENAT,
			    .fd = AT_FDCWD,
			    .addr = (__u64)args[0],
			    .open_flags = O_RDONLY,
		    }),
	     "opening by io_uring");
}

// io-uring-write FILE: a kernel thread that polls for entries opens the file for writing.
static void io_uring_write(char **args)
{
	struct io_uring_params params = { .flags = IORING_SETUP_SQPOLL };
	int ring = need(syscall(SYS_io_uring_setup, 1, &params), "io_uring_setup");

	need(submit(ring, &params,
		    (struct io_uring_sqe){
			    .opcode = IORING_OP_OPENAT,
			    .fd = AT_FDCWD,
			    .addr = (__u64)args[0],
			    .open_flags = O_WRONLY,
		    }),
	     "opening by io_uring");
}

// io-uring-socket FAMILY TYPE PROTOCOL: opens a socket without the system call socket.
static void io_uring_socket(char **args)
{
	struct io_uring_params params = { 0 };
	int ring = need(syscall(SYS_io_uring_setup, 1, &params), "io_uring_setup");

	need(submit(ring, &params,
		    (struct io_uring_sqe){
			    .opcode = 45, /* IORING_OP_SOCKET, since 5.19 */
			    .fd = number(args[0]),
			    .off = number(args[1]),
			    .len = number(args[2]),
		    }),
	     "a socket by io_uring");
}

// mq-open [MESSAGES SIZE]: makes a message queue, by default of the default size.
static void open_queue(char **args)
{
	struct mq_attr attributes = { 0 };

	if (args[0] != NULL && args[1] != NULL) {
		attributes.mq_maxmsg = number(args[0]);
		attributes.mq_msgsize = number(args[1]);
	}
	need(mq_open("/probe", O_CREAT | O_RDWR, 0600, args[0] ? &attributes : NULL), "mq_open");
	need(mq_unlink("/probe"), "mq_unlink");
}

// --- tracing -----------------------------------------------------------------

static void bpf_array(char **args)
{
	union bpf_attr attributes = {
		.map_type = BPF_MAP_TYPE_ARRAY,
		.key_size = 4,
		.value_size = 8,
		.max_entries = 3,
	};

	need(syscall(SYS_bpf, BPF_MAP_CREATE, &attributes, sizeof(attributes)),
	     "bpf(BPF_MAP_CREATE)");
}

// perf-clock: counts the time that all tasks use on one CPU.
static void perf_clock(char **args)
{
	struct perf_event_attr attributes = {
		.type = PERF_TYPE_SOFTWARE,
		.size = sizeof(attributes),
		.config = PERF_COUNT_SW_CPU_CLOCK,
	};

	need(syscall(SYS_perf_event_open, &attributes, -1, 0, -1, 0), "perf_event_open");
}

// --- processes ---------------------------------------------------------------

// kill-user: root sends a signal to a process of another user.
static void kill_user(char **args)
{
	int ready[2], status;
	pid_t child;
	char byte;

	need(pipe(ready), "pipe");
	child = need(fork(), "fork");
	if (child == 0) {
		need(setuid(1000), "setuid(1000)");
		need(write(ready[1], "x", 1), "write");
		pause();
		_exit(1);
	}
	close(ready[1]);
	if (read(ready[0], &byte, 1) != 1) {
		await_child(child);
		exit(1);
	}
	if (kill(child, SIGTERM) < 0) {
		int err = errno;

		// Otherwise the child would remain as the last process of the container.
		setresuid(1000, 1000, -1);
		kill(child, SIGKILL);
		errno = err;
		fail("kill");
	}
	need(waitpid(child, &status, 0), "waitpid");
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGTERM) {
		fprintf(stderr, "probe: child ended with status %#x\n", status);
		exit(1);
	}
}

static void set_priority(char **args)
{
	need(setpriority(PRIO_PROCESS, 0, -number(args[0])), "setpriority");
}

// trace PID: attaches to a process without stopping it.
static void trace(char **args)
{
	need(ptrace(PTRACE_SEIZE, number(args[0]), 0, 0), "ptrace(PTRACE_SEIZE)");
}

// take-descriptor PID: copies the standard input of a process.
static void take_descriptor(char **args)
{
	int pidfd = need(syscall(SYS_pidfd_open, number(args[0]), 0), "pidfd_open");

	need(syscall(SYS_pidfd_getfd, pidfd, 0, 0), "pidfd_getfd");
}

// raise-limit: raises the hard limit of open files.
static void raise_limit(char **args)
{
	struct rlimit limit;

	need(getrlimit(RLIMIT_NOFILE, &limit), "getrlimit");
	limit.rlim_max++;
	need(setrlimit(RLIMIT_NOFILE, &limit), "setrlimit");
}

// ioprio-realtime: requires CAP_SYS_ADMIN or CAP_SYS_NICE.
static void ioprio_realtime(char **args)
{
	need(syscall(SYS_ioprio_set, 1 /* IOPRIO_WHO_PROCESS */, 0, 1 << 13 /* IOPRIO_CLASS_RT */),
	     "ioprio_set");
}

static void fork_children(char **args)
{
	int n = number(args[0]);

	for (int i = 0; i < n; i++) {
		pid_t child = need(fork(), "fork");

		if (child == 0)
			_exit(0);
		await_child(child);
	}
}

// memfd-exec ARGUMENT...: executes itself from a memory file, with other arguments.
static void memfd_exec(char **args)
{
	int from = need(open("/proc/self/exe", O_RDONLY | O_CLOEXEC), "/proc/self/exe");
	int to = need(syscall(SYS_memfd_create, "probe", 1 /* MFD_CLOEXEC */), "memfd_create");
	char buffer[1 << 16];
	ssize_t n;

	while ((n = need(read(from, buffer, sizeof(buffer)), "read")) > 0)
		if (write(to, buffer, n) != n)
			fail("write");
	need(syscall(SYS_execveat, to, "", args - 1, environ, AT_EMPTY_PATH), "execveat");
}

static void *exec_self(void *argv)
{
	execve("/proc/self/exe", argv, environ);
	fail("execve");
}

// thread-exec ARGUMENT...: a second thread executes the program again. This thread becomes the only
// one of the process, and gets the first thread's ID.
static void thread_exec(char **args)
{
	pthread_t thread;

	errno = pthread_create(&thread, NULL, exec_self, args - 1);
	if (errno != 0)
		fail("pthread_create");
	pthread_join(thread, NULL);
}

static void *run_in_thread(void *args)
{
	return run(args) == 0 ? NULL : args;
}

// thread SUBCOMMAND...: runs the subcommand in a second thread.
static void thread(char **args)
{
	pthread_t thread;
	void *failed;

	errno = pthread_create(&thread, NULL, run_in_thread, args);
	if (errno != 0)
		fail("pthread_create");
	pthread_join(thread, &failed);
	if (failed != NULL)
		exit(2);
}

// vfork SUBCOMMAND...: runs the subcommand in a child that shares the parent's memory.
static void vfork_child(char **args)
{
	pid_t child = vfork();

	if (child == 0)
		_exit(run(args));
	await_child(need(child, "vfork"));
}

// reboot: ends within the system call, which also ends the first process of the pid namespace.
static void reboot_container(char **args)
{
	need(syscall(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, LINUX_REBOOT_CMD_RESTART,
		     NULL),
	     "reboot");
}

// --- namespaces and cgroups --------------------------------------------------

// unshare-user-mount: makes a privileged call inside its own user namespace. Docker's default
// seccomp profile denies unshare: run it with --security-opt seccomp=unconfined.
static void unshare_user_mount(char **args)
{
	need(unshare(CLONE_NEWUSER | CLONE_NEWNS), "unshare(CLONE_NEWUSER | CLONE_NEWNS)");
	need(mount("tmpfs", "/tmp", "tmpfs", 0, NULL), "mount tmpfs");
}

// unshare-mounts SUBCOMMAND...: runs the subcommand in a new mount namespace. Its program file
// stays a file of the old mount namespace.
static void unshare_mounts(char **args)
{
	need(unshare(CLONE_NEWNS), "unshare(CLONE_NEWNS)");
	exit(run(args));
}

// enter_below makes a cgroup "below" in the cgroup directory and moves there.
static int enter_below(const char *directory)
{
	char path[4200];
	int fd, moved;

	snprintf(path, sizeof(path), "%s/below", directory);
	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		return 0;
	snprintf(path, sizeof(path), "%s/below/cgroup.procs", directory);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	moved = write(fd, "0", 1) == 1;
	close(fd);
	return moved;
}

// cgroup-below [ARGUMENT...]: moves into a cgroup below its own in every hierarchy where that is
// possible (at least one), then executes itself with the arguments. It needs a writable
// /sys/fs/cgroup.
static void cgroup_below(char **args)
{
	FILE *file = fopen("/proc/self/cgroup", "re");
	char line[4096], path[4200];
	int entered = 0;

	if (file == NULL)
		fail("/proc/self/cgroup");
	while (fgets(line, sizeof(line), file) != NULL) {
		char *controllers = strchr(line, ':') + 1;
		char *own = strchr(controllers, ':');

		*own++ = '\0';
		own[strcspn(own, "\n")] = '\0';
		if (strncmp(controllers, "name=", 5) == 0)
			controllers += 5;
		// The container may see the whole hierarchy or only its own part of it. The
		// hierarchy of version 2 may be the only one, or next to the ones of version 1.
		const char *mounts[] = { controllers, *controllers ? controllers : "unified" };
		const char *paths[] = { own, "" };

		for (int i = 0, done = 0; i < 4 && !done; i++) {
			snprintf(path, sizeof(path), "/sys/fs/cgroup/%s/%s", mounts[i / 2],
				 paths[i % 2]);
			// A directory of the tmpfs between the mounts is not a cgroup.
			strcat(path, "/cgroup.procs");
			if (access(path, F_OK) < 0)
				continue;
			path[strlen(path) - strlen("/cgroup.procs")] = '\0';
			// The container sees only the root of a hierarchy that it has no part in.
			struct stat status;
			if (stat(path, &status) < 0 || !(status.st_mode & S_IWUSR))
				continue;
			done = enter_below(path);
			entered += done;
		}
	}
	fclose(file);
	if (entered == 0) {
		fprintf(stderr, "probe: no hierarchy let me make a cgroup below mine\n");
		exit(1);
	}
	if (args[0] != NULL)
		exec_self(args - 1);
}

// --- the table ---------------------------------------------------------------

/* Docker's seccomp profile allows it only with CAP_SYS_NICE. The kernel itself does not check
 * this capability. */
static void set_mempolicy_default(char **args)
{
	(void)args;
	if (syscall(SYS_set_mempolicy, 0 /* MPOL_DEFAULT */, NULL, 0) && errno != ENOSYS)
		fail("set_mempolicy");
}

// grow-stack N: makes the kernel write N times below the used part of the stack, so that the stack
// grows through a page fault in the middle of a system call.
static void grow_stack(char **args)
{
	int zeros = need(open("/dev/zero", O_RDONLY | O_CLOEXEC), "/dev/zero");
	char *stack =
		(char *)__builtin_frame_address(0) - (256 << 10); // the kernel maps part ahead

	for (int n = number(args[0]); n > 0; n--) {
		stack -= 16 << 10;
		need(read(zeros, stack, 1), "read");
	}
	close(zeros);
}

// repeat N SUBCOMMAND...: runs the subcommand exactly N times in one process.
static void repeat(char **args)
{
	for (int n = number(args[0]); n > 0; n--)
		if (run(args + 1) != 0)
			exit(2);
}

// named NAME SUBCOMMAND...: runs the subcommand under another process name.
static void named(char **args)
{
	need(prctl(PR_SET_NAME, args[0], 0, 0, 0), "prctl(PR_SET_NAME)");
	exit(run(args + 1));
}

// names N SUBCOMMAND...: runs the subcommand N times, each time under another name.
static void names(char **args)
{
	char name[16];

	for (int n = number(args[0]); n > 0; n--) {
		snprintf(name, sizeof(name), "name-%d", n);
		need(prctl(PR_SET_NAME, name, 0, 0, 0), "prctl(PR_SET_NAME)");
		if (run(args + 1) != 0)
			exit(2);
	}
}

// nest N SUBCOMMAND...: runs the subcommand in the innermost of N nested processes, each the parent
// of the next.
static void nest(char **args)
{
	for (int n = number(args[0]); n > 0; n--) {
		pid_t child = need(fork(), "fork");

		if (child != 0) {
			await_child(child);
			exit(0);
		}
	}
	exit(run(args + 1));
}

// descend N SUBCOMMAND...: like nest, but first prints "ready" and waits for a line of input.
static void descend(char **args)
{
	char line[2];

	for (int n = number(args[0]); n > 0; n--) {
		pid_t child = need(fork(), "fork");

		if (child != 0) {
			await_child(child);
			exit(0);
		}
	}
	need(write(1, "ready\n", 6), "write");
	need(read(0, line, sizeof(line)), "read");
	exit(run(args + 1));
}

static const struct subcommand {
	const char *name;
	void (*run)(char **args);
	int least; // number of required arguments
	const char *arguments;
} subcommands[] = {
	{ "access-w", access_w, 1, "FILE" },
	{ "ambient", ambient, 1, "CAP" },
	{ "bind", bind_port, 1, "PORT [FAMILY TYPE]" },
	{ "bpf-array", bpf_array, 0, "" },
	{ "brk-locked", brk_locked, 1, "BYTES" },
	{ "bset-only", bset_only, 2, "CAP COMMAND..." },
	{ "capbset-drop", capbset_drop, 1, "CAP" },
	{ "capbset-read", capbset_read, 1, "CAP" },
	{ "capget", capget_has, 1, "CAP" },
	{ "capset-add", capset_add, 1, "CAP" },
	{ "capset-effective", capset_effective, 1, "CAP" },
	{ "capset-inheritable", capset_inheritable, 1, "CAP" },
	{ "capset-only", capset_only, 1, "CAP" },
	{ "capset-raise", capset_raise, 1, "CAP" },
	{ "capset-same", capset_same, 0, "" },
	{ "cgroup-below", cgroup_below, 0, "[SUBCOMMAND...]" },
	{ "chown-open", chown_open, 2, "PATH UID" },
	{ "chmod-open", chmod_open, 2, "PATH MODE" },
	{ "chmod-own", chmod_own, 1, "PATH [MODE]" },
	{ "compat-bind", compat_bind, 1, "PORT" },
	{ "compat-setuid0", compat_setuid0, 0, "" },
	{ "compat-socket", compat_socket, 3, "FAMILY TYPE PROTOCOL" },
	{ "congestion", congestion, 1, "NAME" },
	{ "descend", descend, 2, "N SUBCOMMAND..." },
	{ "echo", echo_socket, 0, "" },
	{ "faccessat2-w", faccessat2_w, 1, "FILE" },
	{ "fork", fork_children, 1, "N" },
	{ "getxattr", get_xattr, 2, "FILE NAME" },
	{ "grow-stack", grow_stack, 1, "N" },
	{ "hold", hold, 4, "FAMILY TYPE PROTOCOL N" },
	{ "hold-apart", hold_apart, 4, "FAMILY TYPE PROTOCOL N" },
	{ "io-uring", io_uring, 0, "" },
	{ "io-uring-open", io_uring_open, 1, "FILE [UID]" },
	{ "io-uring-poll", io_uring_poll, 1, "FILE" },
	{ "io-uring-socket", io_uring_socket, 3, "FAMILY TYPE PROTOCOL" },
	{ "io-uring-write", io_uring_write, 1, "FILE" },
	{ "ioprio-realtime", ioprio_realtime, 0, "" },
	{ "juggle", juggle, 2, "N SUBCOMMAND..." },
	{ "kill-user", kill_user, 0, "" },
	{ "listxattr", list_xattr, 1, "FILE" },
	{ "map-locked", map_locked, 1, "BYTES" },
	{ "memfd-exec", memfd_exec, 1, "SUBCOMMAND..." },
	{ "mknod", mknod_null, 1, "PATH" },
	{ "mq-open", open_queue, 0, "[MESSAGES SIZE]" },
	{ "named", named, 2, "NAME SUBCOMMAND..." },
	{ "names", names, 2, "N SUBCOMMAND..." },
	{ "nest", nest, 2, "N SUBCOMMAND..." },
	{ "open-noatime", open_noatime, 1, "FILE" },
	{ "open-at", open_at, 2, "DIRECTORY NAME" },
	{ "open-unmapped", open_unmapped, 2, "PATH N" },
	{ "packet", packet, 0, "" },
	{ "packet-diag", packet_diag, 0, "" },
	{ "perf-clock", perf_clock, 0, "" },
	{ "raise-limit", raise_limit, 0, "" },
	{ "rawsock", rawsock, 0, "" },
	{ "rawsock-flood", rawsock_flood, 2, "PROCESSES NAMES" },
	{ "real-user", real_user, 2, "UID SUBCOMMAND..." },
	{ "rebind-device", rebind_device, 2, "FROM TO" },
	{ "reboot", reboot_container, 0, "" },
	{ "remap-locked", remap_locked, 2, "FROM TO" },
	{ "repeat", repeat, 2, "N SUBCOMMAND..." },
	{ "seccomp-filter", seccomp_filter, 0, "" },
	{ "securebits", securebits, 0, "" },
	{ "set-acl", set_acl, 1, "PATH [fd]" },
	{ "set-mempolicy", set_mempolicy_default, 0, "" },
	{ "setfsuid", setfsuid_to, 1, "UID" },
	{ "setfsuid0", setfsuid0, 0, "" },
	{ "setgid0", setgid0, 0, "" },
	{ "setgroups", set_groups, 1, "GID" },
	{ "setgroups-same", set_same_groups, 0, "" },
	{ "setpriority", set_priority, 1, "N" },
	{ "setsockopt", set_option, 3, "LEVEL NAME VALUE" },
	{ "setuid0", setuid0, 0, "" },
	{ "shm-lock", shm_lock, 0, "" },
	{ "socket", socket_of, 3, "FAMILY TYPE PROTOCOL" },
	{ "take-descriptor", take_descriptor, 1, "PID" },
	{ "thread", thread, 1, "SUBCOMMAND..." },
	{ "thread-exec", thread_exec, 1, "SUBCOMMAND..." },
	{ "trace", trace, 1, "PID" },
	{ "unshare-mounts", unshare_mounts, 1, "SUBCOMMAND..." },
	{ "unshare-user-mount", unshare_user_mount, 0, "" },
	{ "vfork", vfork_child, 1, "SUBCOMMAND..." },
	{ "write-sgid", write_sgid, 1, "PATH" },
};

static int run(char **args)
{
	size_t n = sizeof(subcommands) / sizeof(subcommands[0]);
	int given = 0;

	while (args[given] != NULL)
		given++;
	for (size_t i = 0; given > 0 && i < n; i++) {
		if (strcmp(args[0], subcommands[i].name) == 0 && given > subcommands[i].least) {
			subcommands[i].run(args + 1);
			return 0;
		}
	}
	for (size_t i = 0; i < n; i++)
		fprintf(stderr, "probe %s %s\n", subcommands[i].name, subcommands[i].arguments);
	return 2;
}

int main(int argc, char **argv)
{
	return argc > 0 ? run(argv + 1) : 2;
}
