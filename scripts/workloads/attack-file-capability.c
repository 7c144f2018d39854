// SPDX-License-Identifier: Apache-2.0
//
// attack-file-capability executes a file that carries CAP_NET_RAW with the effective flag, but
// looks like another file. The attack tries to hide the file's capability from capmon.
//
//   attack-file-capability later DIRECTORY    sets the capability of a file executed before
//   attack-file-capability reused DIRECTORY   removes an executed file, and makes one that may have
//                                             the same inode number
//   attack-file-capability sooner DIRECTORY   removes the capability right after the execution
//
// A monitor may examine each file only once. To give it the time for that, the attack executes many
// other files in between. It exits 0 when the file was executed, 1 on failure.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#define NAME "security.capability"
#define OTHERS 300 // executions of other files

static long need(long result, const char *what)
{
	if (result < 0) {
		perror(what);
		exit(1);
	}
	return result;
}

static void copy_self(const char *path)
{
	int from = need(open("/proc/self/exe", O_RDONLY), "/proc/self/exe");
	int to = need(open(path, O_CREAT | O_EXCL | O_WRONLY, 0755), path);
	struct stat info;

	need(fchmod(to, 0755), path);
	need(fstat(from, &info), "/proc/self/exe");
	for (off_t at = 0; at < info.st_size;)
		need(sendfile(to, from, &at, info.st_size - at), path);
	close(from);
	close(to);
}

static void give(const char *path)
{
	struct vfs_cap_data data = { .magic_etc = VFS_CAP_REVISION_2 | VFS_CAP_FLAGS_EFFECTIVE };

	data.data[0].permitted = 1 << CAP_NET_RAW;
	need(setxattr(path, NAME, &data, sizeof(data), 0), path);
}

// Executes a copy of this program without arguments, so the copy only exits.
static void execute(const char *path)
{
	int status;
	pid_t child = need(vfork(), "vfork");

	if (!child) {
		execl(path, path, NULL);
		_exit(1);
	}
	need(waitpid(child, &status, 0), "waitpid");
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		exit(1);
}

static void execute_others(void)
{
	for (int i = 0; i < OTHERS; i++)
		execute("/proc/self/exe");
}

int main(int argc, char **argv)
{
	if (argc < 3)
		return 0;
	need(chdir(argv[2]), argv[2]);
	copy_self("program");
	if (!strcmp(argv[1], "sooner")) {
		give("program");
		execute("program");
		need(removexattr("program", NAME), "removexattr");
		execute_others();
		return 0;
	}
	execute_others(); // so that the file is not new when it is executed
	execute("program");
	execute_others();
	if (!strcmp(argv[1], "reused")) {
		need(unlink("program"), "unlink");
		copy_self("program");
	}
	give("program");
	execute("program");
	execute_others();
	return 0;
}
