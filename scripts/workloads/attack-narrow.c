// SPDX-License-Identifier: Apache-2.0
//
// attack-narrow drops every capability from its bounding set and executes a program. As the first
// process of a container, it tries to make capmon use its empty set as the container's grant.
//
//   attack-narrow PROGRAM [ARGUMENT...]
//
// It exits 1 if the program cannot be executed, 2 on wrong usage.

#include <stdio.h>
#include <sys/prctl.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	if (argc < 2) {
		fprintf(stderr, "usage: attack-narrow PROGRAM [ARGUMENT...]\n");
		return 2;
	}
	for (int capability = 0; prctl(PR_CAPBSET_READ, capability) >= 0; capability++)
		prctl(PR_CAPBSET_DROP, capability);
	execvp(argv[1], argv + 1);
	perror(argv[1]);
	return 1;
}
