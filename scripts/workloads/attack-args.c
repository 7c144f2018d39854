// SPDX-License-Identifier: Apache-2.0
//
// attack-args makes one capability check with each of many arguments. capmon counts patterns of
// use by the arguments of the system call that explain a need, so every protocol of a raw socket
// is another pattern. The attack tries to fill capmon's maps without changing the process name.
//
//   attack-args COUNT    try to open a raw socket for COUNT protocols, numbered from 0
//
// It exits 0 when all checks were made, granted or denied, and 2 on wrong usage.

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	long count = argc == 2 ? strtol(argv[1], NULL, 10) : 0;

	if (count <= 0) {
		fprintf(stderr, "usage: attack-args COUNT\n");
		return 2;
	}
	for (long i = 0; i < count; i++) {
		/* packet_create (net/packet/af_packet.c) checks CAP_NET_RAW for each protocol. */
		int fd = socket(AF_PACKET, SOCK_RAW, i);
		if (fd >= 0)
			close(fd);
	}
	return 0;
}
