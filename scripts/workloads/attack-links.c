// SPDX-License-Identifier: Apache-2.0
//
// attack-links uses capabilities for files behind long symbolic links. A path of a hundred bytes
// leads through 39 links, and each link leads down through 19 directories with long names. A
// monitor that stores all these directories for each file needs much memory.
//
//   attack-links N    uses two capabilities for N files
//
// It exits 0 on success, 1 on failure, 2 on wrong usage.

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINKS 39 /* the kernel follows at most 40 */
#define LEVELS 19 /* directories in each link */

static int fail(const char *what)
{
	perror(what);
	return 1;
}

int main(int argc, char **argv)
{
	static char name[201], text[LEVELS * 201], path[256];
	int n = argc == 2 ? atoi(argv[1]) : 0;

	if (n <= 0) {
		fprintf(stderr, "usage: attack-links N\n");
		return 2;
	}
	memset(name, 'd', 200);
	for (int i = 0; i < LEVELS; i++)
		sprintf(text + 201 * i, "%s%s", name, i < LEVELS - 1 ? "/" : "");
	if (mkdir("/tmp/links", 0755) || chdir("/tmp/links"))
		return fail("/tmp/links");
	for (int i = 0; i < LINKS; i++) {
		if (symlink(text, "n"))
			return fail("symlink");
		for (int level = 0; level < LEVELS; level++)
			if (mkdir(name, 0755) || chdir(name))
				return fail("mkdir");
	}
	for (int i = 0; i < n; i++) {
		sprintf(path, "f%d", i);
		int fd = open(path, O_CREAT | O_WRONLY, 0644);
		if (fd < 0)
			return fail("open");
		close(fd);
	}
	if (chdir("/"))
		return fail("chdir");
	for (int i = 0; i < n; i++) {
		int length = sprintf(path, "/tmp/links/");
		for (int link = 0; link < LINKS; link++)
			length += sprintf(path + length, "n/");
		sprintf(path + length, "f%d", i);
		if (chown(path, 1000, 1000) || chmod(path, 0600))
			return fail(path);
	}
	return 0;
}
