/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * Recognizes system calls that pass a limit that a sysctl of the network namespace can lift (enum
 * lifted_limit). If the limit is lifted, the kernel makes no check. With another engine the same
 * call fails.
 *
 * capmon does not see the operations of io_uring here, since they are not system calls
 * (IORING_OP_BIND, IORING_OP_SOCKET).
 */
#ifndef CAPMON_LIFTED_LIMITS_H
#define CAPMON_LIFTED_LIMITS_H

#include "syscall.h"
#include "condition.h"
#include "phase.h"

#define PORT_LIMIT 1024 /* PROT_SOCK, include/net/sock.h */
#define SOCKETCALL_SOCKET 1 /* include/uapi/linux/net.h */
#define SOCKETCALL_BIND 2

/* Whether a successful bind gave its socket a port below 1024 without a check of
 * CAP_NET_BIND_SERVICE (__inet_bind, net/ipv4/af_inet.c). A network namespace that belongs to a
 * user namespace of the workload does not count, since there everybody can have this capability. */
static __always_inline bool binds_low_port(struct task_struct *task, __u32 descriptor,
					   struct call_key *key)
{
	struct file *file = file_of_descriptor(task, descriptor);
	struct socket *socket = BPF_CORE_READ(file, private_data);
	struct sock *sock = BPF_CORE_READ(socket, sk);
	struct net *net = BPF_CORE_READ(sock, __sk_common.skc_net.net);
	__u16 port = BPF_CORE_READ(sock, __sk_common.skc_num);

	key->args[0] = BPF_CORE_READ(sock, __sk_common.skc_family);
	key->args[1] = BPF_CORE_READ(sock, sk_protocol);
	key->args[2] = port;
	if (!port || port >= PORT_LIMIT || port < BPF_CORE_READ(net, ipv4.sysctl_ip_prot_sock))
		return false;
	if (!is_inet(key->args[0]) || BPF_CORE_READ(sock, sk_type) == SOCK_RAW ||
	    is_icmp(key->args[0], key->args[1]))
		return false;
	struct container *container = bpf_map_lookup_elem(&containers, &key->container);
	return container && (!container->base_userns ||
			     BPF_CORE_READ(net, user_ns, ns.inum) == container->base_userns);
}

/* Whether a call of socket opens a socket for ICMP echo that is not raw (ping_init_sock,
 * net/ipv4/ping.c). */
static __always_inline bool opens_ping_socket(__u64 family, __u64 type, __u64 protocol)
{
	return is_inet(family) && (type & SOCK_TYPE_MASK) == SOCK_DGRAM &&
	       is_icmp(family, protocol);
}

/* Whether a successful system call passed a limit. Sets lifted and args of the key. */
static __always_inline bool passes_lifted_limit(struct task_struct *task, const struct call *call,
						__u32 limit, struct call_key *key)
{
	__u64 args[3] = { call->args[0], call->args[1], call->args[2] };

	if (limit == LIFTED_PORT_OR_PING) { /* the arguments are in memory */
		__u32 inner[3] = {};
		bpf_probe_read_user(inner, sizeof(inner), (void *)args[1]);
		limit = args[0] == SOCKETCALL_BIND   ? LIFTED_PORT :
			args[0] == SOCKETCALL_SOCKET ? LIFTED_PING :
						       LIFTED_NONE;
		for (int i = 0; i < 3; i++)
			args[i] = inner[i];
	}
	key->lifted = limit;
	if (limit == LIFTED_PORT)
		return binds_low_port(task, args[0], key);
	if (limit == LIFTED_PING) {
		key->args[0] = args[0];
		return opens_ping_socket(args[0], args[1], args[2]);
	}
	return false;
}

#endif
