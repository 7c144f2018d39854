// SPDX-License-Identifier: Apache-2.0
//
// attack-rename makes one capability check under each of many process names. capmon counts
// patterns of use by the process name, so every name is another pattern. The attack tries to fill
// capmon's maps until the uses of other containers no longer fit.
//
//   attack-rename COUNT    use COUNT names, numbered from 0
//
// It exits 0 when all checks were made, 1 on failure, 2 on wrong usage.

#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	const char *file = "/tmp/attack-rename";
	long count = argc == 2 ? strtol(argv[1], NULL, 10) : 0;
	char name[32];

	if (count <= 0) {
		fprintf(stderr, "usage: attack-rename COUNT\n");
		return 2;
	}
	FILE *made = fopen(file, "w");
	if (!made) {
		perror(file);
		return 1;
	}
	fclose(made);
	for (long i = 0; i < count; i++) {
		snprintf(name, sizeof(name), "n%ld", i);
		prctl(PR_SET_NAME, name); /* the kernel keeps 15 bytes */
		/* chown to another owner always checks CAP_CHOWN (chown_ok, fs/attr.c). */
		if (chown(file, 1000 + i % 2, 1000)) {
			perror("chown");
			return 1;
		}
	}
	return 0;
}
