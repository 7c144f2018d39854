// SPDX-License-Identifier: Apache-2.0
//
// attack-opened opens /proc/self/pagemap with its own groups and session keyring. Then it drops
// every capability that it can, changes its groups and its keyring again, and reads page frame
// numbers. For these, the kernel checks the credential with which the file was opened. The attack
// tries to make capmon attribute a use of CAP_SYS_ADMIN to another process.
//
// It exits 0 if it read a number, 1 on failure.

#define _GNU_SOURCE
#include <fcntl.h>
#include <grp.h>
#include <linux/keyctl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FRAME ((1ULL << 55) - 1)

static long need(long result, const char *what)
{
	if (result < 0) {
		perror(what);
		exit(1);
	}
	return result;
}

// Docker's seccomp profile denies the keyring.
static void change_groups(gid_t group)
{
	need(setgroups(1, &group), "setgroups");
	syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL);
}

int main(void)
{
	uint64_t entry = 0;

	change_groups(4711);
	int pagemap = need(open("/proc/self/pagemap", O_RDONLY), "pagemap");
	change_groups(4712);
	for (int capability = 0; prctl(PR_CAPBSET_READ, capability) >= 0; capability++)
		prctl(PR_CAPBSET_DROP, capability);
	need(setresuid(1000, 1000, 1000), "setresuid");
	off_t at = (uintptr_t)&entry / sysconf(_SC_PAGESIZE) * sizeof(entry);
	need(pread(pagemap, &entry, sizeof(entry), at), "pread");
	if (!(entry & FRAME)) {
		fprintf(stderr, "no page frame number was told\n");
		return 1;
	}
	return 0;
}
