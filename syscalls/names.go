package syscalls

import (
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// names maps the values of one kind of argument to their names in the kernel's headers. It has the values that can
// cause a capability check, and other common ones.
type names map[uint64]string

// decimal returns the name of a value, or the value in decimal.
func (n names) decimal(value uint64) string {
	if name, ok := n[value]; ok {
		return name
	}
	return strconv.FormatUint(value, 10)
}

// hex returns the name of a value, or the value in hexadecimal.
func (n names) hex(value uint64) string {
	if name, ok := n[value]; ok {
		return name
	}
	return "0x" + strconv.FormatUint(value, 16)
}

// set returns the names of the bits that are set, sorted and joined with "|". It omits bits without a name.
func (n names) set(value uint64) string {
	var set []string
	for bit, name := range n {
		if value&bit == bit {
			set = append(set, name)
		}
	}
	slices.Sort(set)
	return strings.Join(set, "|")
}

var families = names{
	unix.AF_UNSPEC:     "AF_UNSPEC",
	unix.AF_UNIX:       "AF_UNIX",
	unix.AF_INET:       "AF_INET",
	unix.AF_AX25:       "AF_AX25",
	unix.AF_APPLETALK:  "AF_APPLETALK",
	unix.AF_INET6:      "AF_INET6",
	unix.AF_KEY:        "AF_KEY",
	unix.AF_NETLINK:    "AF_NETLINK",
	unix.AF_PACKET:     "AF_PACKET",
	unix.AF_RDS:        "AF_RDS",
	unix.AF_PPPOX:      "AF_PPPOX",
	unix.AF_LLC:        "AF_LLC",
	unix.AF_CAN:        "AF_CAN",
	unix.AF_TIPC:       "AF_TIPC",
	unix.AF_BLUETOOTH:  "AF_BLUETOOTH",
	unix.AF_IEEE802154: "AF_IEEE802154",
	unix.AF_ALG:        "AF_ALG",
	unix.AF_NFC:        "AF_NFC",
	unix.AF_VSOCK:      "AF_VSOCK",
	unix.AF_KCM:        "AF_KCM",
	unix.AF_QIPCRTR:    "AF_QIPCRTR",
	unix.AF_SMC:        "AF_SMC",
	unix.AF_XDP:        "AF_XDP",
}

var socketTypes = names{
	unix.SOCK_STREAM:    "SOCK_STREAM",
	unix.SOCK_DGRAM:     "SOCK_DGRAM",
	unix.SOCK_RAW:       "SOCK_RAW",
	unix.SOCK_RDM:       "SOCK_RDM",
	unix.SOCK_SEQPACKET: "SOCK_SEQPACKET",
	unix.SOCK_DCCP:      "SOCK_DCCP",
	unix.SOCK_PACKET:    "SOCK_PACKET",
}

// ipProtocols are IPPROTO_* without the prefix. 0 is the default protocol of the socket type.
var ipProtocols = names{
	unix.IPPROTO_ICMP:    "ICMP",
	unix.IPPROTO_IGMP:    "IGMP",
	unix.IPPROTO_IPIP:    "IPIP",
	unix.IPPROTO_TCP:     "TCP",
	unix.IPPROTO_UDP:     "UDP",
	unix.IPPROTO_DCCP:    "DCCP",
	unix.IPPROTO_IPV6:    "IPV6",
	unix.IPPROTO_GRE:     "GRE",
	unix.IPPROTO_ESP:     "ESP",
	unix.IPPROTO_AH:      "AH",
	unix.IPPROTO_ICMPV6:  "ICMPV6",
	89:                   "OSPF", // no constant in linux/in.h; IANA
	unix.IPPROTO_PIM:     "PIM",
	112:                  "VRRP", // no constant in linux/in.h; used by keepalived
	unix.IPPROTO_L2TP:    "L2TP",
	unix.IPPROTO_SCTP:    "SCTP",
	unix.IPPROTO_UDPLITE: "UDPLITE",
	unix.IPPROTO_RAW:     "RAW",
	unix.IPPROTO_MPTCP:   "MPTCP",
}

var etherTypes = names{
	0:                   "0", // receives nothing until bound
	unix.ETH_P_ALL:      "ETH_P_ALL",
	unix.ETH_P_IP:       "ETH_P_IP",
	unix.ETH_P_ARP:      "ETH_P_ARP",
	unix.ETH_P_RARP:     "ETH_P_RARP",
	unix.ETH_P_8021Q:    "ETH_P_8021Q",
	unix.ETH_P_IPV6:     "ETH_P_IPV6",
	unix.ETH_P_PAE:      "ETH_P_PAE",
	unix.ETH_P_LLDP:     "ETH_P_LLDP",
	unix.ETH_P_802_2:    "ETH_P_802_2",
	unix.ETH_P_PPP_DISC: "ETH_P_PPP_DISC",
	unix.ETH_P_PPP_SES:  "ETH_P_PPP_SES",
}

var netlinkFamilies = names{
	unix.NETLINK_ROUTE:          "NETLINK_ROUTE",
	unix.NETLINK_USERSOCK:       "NETLINK_USERSOCK",
	unix.NETLINK_SOCK_DIAG:      "NETLINK_SOCK_DIAG",
	unix.NETLINK_XFRM:           "NETLINK_XFRM",
	unix.NETLINK_SELINUX:        "NETLINK_SELINUX",
	unix.NETLINK_AUDIT:          "NETLINK_AUDIT",
	unix.NETLINK_CONNECTOR:      "NETLINK_CONNECTOR",
	unix.NETLINK_NETFILTER:      "NETLINK_NETFILTER",
	unix.NETLINK_KOBJECT_UEVENT: "NETLINK_KOBJECT_UEVENT",
	unix.NETLINK_GENERIC:        "NETLINK_GENERIC",
	unix.NETLINK_RDMA:           "NETLINK_RDMA",
	unix.NETLINK_CRYPTO:         "NETLINK_CRYPTO",
}

var socketLevels = names{
	unix.SOL_SOCKET:     "SOL_SOCKET",
	unix.IPPROTO_IP:     "IPPROTO_IP",
	unix.IPPROTO_TCP:    "IPPROTO_TCP",
	unix.IPPROTO_UDP:    "IPPROTO_UDP",
	unix.IPPROTO_IPV6:   "IPPROTO_IPV6",
	unix.IPPROTO_ICMPV6: "IPPROTO_ICMPV6",
	unix.IPPROTO_SCTP:   "IPPROTO_SCTP",
	unix.SOL_RAW:        "SOL_RAW",
	unix.SOL_PACKET:     "SOL_PACKET",
	unix.SOL_NETLINK:    "SOL_NETLINK",
	unix.SOL_ALG:        "SOL_ALG",
	unix.SOL_XDP:        "SOL_XDP",
}

// socketOptions are the options of each level.
var socketOptions = map[uint64]names{
	// sk_setsockopt, net/core/sock.c
	unix.SOL_SOCKET: {
		unix.SO_DEBUG:                 "SO_DEBUG",
		unix.SO_PRIORITY:              "SO_PRIORITY",
		unix.SO_BINDTODEVICE:          "SO_BINDTODEVICE",
		unix.SO_ATTACH_FILTER:         "SO_ATTACH_FILTER",
		unix.SO_SNDBUFFORCE:           "SO_SNDBUFFORCE",
		unix.SO_RCVBUFFORCE:           "SO_RCVBUFFORCE",
		unix.SO_MARK:                  "SO_MARK",
		unix.SO_LOCK_FILTER:           "SO_LOCK_FILTER",
		unix.SO_BUSY_POLL:             "SO_BUSY_POLL",
		unix.SO_ATTACH_BPF:            "SO_ATTACH_BPF",
		unix.SO_ATTACH_REUSEPORT_CBPF: "SO_ATTACH_REUSEPORT_CBPF",
		unix.SO_ATTACH_REUSEPORT_EBPF: "SO_ATTACH_REUSEPORT_EBPF",
		unix.SO_ZEROCOPY:              "SO_ZEROCOPY",
		unix.SO_TXTIME:                "SO_TXTIME",
		unix.SO_BINDTOIFINDEX:         "SO_BINDTOIFINDEX",
		unix.SO_PREFER_BUSY_POLL:      "SO_PREFER_BUSY_POLL",
		unix.SO_BUSY_POLL_BUDGET:      "SO_BUSY_POLL_BUDGET",
		unix.SO_RESERVE_MEM:           "SO_RESERVE_MEM",
		unix.SO_RCVMARK:               "SO_RCVMARK",
		unix.SO_RCVPRIORITY:           "SO_RCVPRIORITY",
	},
	// do_ip_setsockopt, net/ipv4/ip_sockglue.c; iptables and multicast routing from 64 on
	unix.IPPROTO_IP: {
		unix.IP_TOS:          "IP_TOS",
		unix.IP_HDRINCL:      "IP_HDRINCL",
		unix.IP_OPTIONS:      "IP_OPTIONS",
		unix.IP_IPSEC_POLICY: "IP_IPSEC_POLICY",
		unix.IP_XFRM_POLICY:  "IP_XFRM_POLICY",
		unix.IP_TRANSPARENT:  "IP_TRANSPARENT",
		unix.IP_FREEBIND:     "IP_FREEBIND",
		64:                   "IPT_SO_SET_REPLACE",
		65:                   "IPT_SO_SET_ADD_COUNTERS",
		200:                  "MRT_INIT",
	},
	// do_ipv6_setsockopt, net/ipv6/ipv6_sockglue.c
	unix.IPPROTO_IPV6: {
		unix.IPV6_HOPOPTS:      "IPV6_HOPOPTS",
		unix.IPV6_RTHDRDSTOPTS: "IPV6_RTHDRDSTOPTS",
		unix.IPV6_RTHDR:        "IPV6_RTHDR",
		unix.IPV6_DSTOPTS:      "IPV6_DSTOPTS",
		unix.IPV6_TRANSPARENT:  "IPV6_TRANSPARENT",
		unix.IPV6_FREEBIND:     "IPV6_FREEBIND",
		unix.IPV6_IPSEC_POLICY: "IPV6_IPSEC_POLICY",
		unix.IPV6_XFRM_POLICY:  "IPV6_XFRM_POLICY",
		64:                     "IP6T_SO_SET_REPLACE",
		65:                     "IP6T_SO_SET_ADD_COUNTERS",
		200:                    "MRT6_INIT",
	},
	// do_tcp_setsockopt, net/ipv4/tcp.c
	unix.IPPROTO_TCP: {
		unix.TCP_CONGESTION:   "TCP_CONGESTION",
		unix.TCP_MD5SIG:       "TCP_MD5SIG",
		unix.TCP_MD5SIG_EXT:   "TCP_MD5SIG_EXT",
		unix.TCP_REPAIR:       "TCP_REPAIR",
		unix.TCP_ULP:          "TCP_ULP",
		unix.TCP_FASTOPEN_KEY: "TCP_FASTOPEN_KEY",
		unix.TCP_TX_DELAY:     "TCP_TX_DELAY",
	},
}

// prctls are the values of prctl's first argument (kernel/sys.c, security/commoncap.c).
var prctls = names{
	unix.PR_SET_DUMPABLE:     "PR_SET_DUMPABLE",
	unix.PR_SET_KEEPCAPS:     "PR_SET_KEEPCAPS",
	unix.PR_SET_NAME:         "PR_SET_NAME",
	unix.PR_SET_SECCOMP:      "PR_SET_SECCOMP",
	unix.PR_CAPBSET_READ:     "PR_CAPBSET_READ",
	unix.PR_CAPBSET_DROP:     "PR_CAPBSET_DROP",
	unix.PR_SET_SECUREBITS:   "PR_SET_SECUREBITS",
	unix.PR_SET_TIMERSLACK:   "PR_SET_TIMERSLACK",
	unix.PR_SET_MM:           "PR_SET_MM",
	unix.PR_SET_NO_NEW_PRIVS: "PR_SET_NO_NEW_PRIVS",
	unix.PR_CAP_AMBIENT:      "PR_CAP_AMBIENT",
	unix.PR_SET_IO_FLUSHER:   "PR_SET_IO_FLUSHER",
	unix.PR_SCHED_CORE:       "PR_SCHED_CORE",
	unix.PR_SET_VMA:          "PR_SET_VMA",
	unix.PR_SET_PTRACER:      "PR_SET_PTRACER",
}

// ambientActions are the values of the second argument of prctl(PR_CAP_AMBIENT).
var ambientActions = names{
	unix.PR_CAP_AMBIENT_IS_SET:    "PR_CAP_AMBIENT_IS_SET",
	unix.PR_CAP_AMBIENT_RAISE:     "PR_CAP_AMBIENT_RAISE",
	unix.PR_CAP_AMBIENT_LOWER:     "PR_CAP_AMBIENT_LOWER",
	unix.PR_CAP_AMBIENT_CLEAR_ALL: "PR_CAP_AMBIENT_CLEAR_ALL",
}

// cloneFlags are the flags that need a capability.
var cloneFlags = names{
	unix.CLONE_NEWCGROUP: "CLONE_NEWCGROUP",
	unix.CLONE_NEWIPC:    "CLONE_NEWIPC",
	unix.CLONE_NEWNET:    "CLONE_NEWNET",
	unix.CLONE_NEWNS:     "CLONE_NEWNS",
	unix.CLONE_NEWPID:    "CLONE_NEWPID",
	unix.CLONE_NEWTIME:   "CLONE_NEWTIME", // uses one of clone's signal bits, but no signal has that number
	unix.CLONE_NEWUSER:   "CLONE_NEWUSER",
	unix.CLONE_NEWUTS:    "CLONE_NEWUTS",
}

var fileTypes = names{
	0:             "S_IFREG", // mknod accepts 0 for it
	unix.S_IFIFO:  "S_IFIFO",
	unix.S_IFCHR:  "S_IFCHR",
	unix.S_IFDIR:  "S_IFDIR",
	unix.S_IFBLK:  "S_IFBLK",
	unix.S_IFREG:  "S_IFREG",
	unix.S_IFLNK:  "S_IFLNK",
	unix.S_IFSOCK: "S_IFSOCK",
}
