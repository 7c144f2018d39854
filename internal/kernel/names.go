package kernel

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// names gives numbers the kernel's names.
type names map[uint64]string

// name of one number, or the number itself in hexadecimal.
func (n names) name(value uint64) string {
	if name, ok := n[value]; ok {
		return name
	}
	if value < 10 {
		return fmt.Sprint(value)
	}
	return fmt.Sprintf("%#x", value)
}

// names of the bits that are set, joined by |; bits without a name are left out.
func (n names) names(value uint64) string {
	var set []string
	for bit, name := range n {
		if value&bit == bit {
			set = append(set, name)
		}
	}
	slices.Sort(set)
	return strings.Join(set, "|")
}

const (
	afInet    = unix.AF_INET
	afInet6   = unix.AF_INET6
	afPacket  = unix.AF_PACKET
	afNetlink = unix.AF_NETLINK

	prCapbsetDrop = unix.PR_CAPBSET_DROP
	prCapAmbient  = unix.PR_CAP_AMBIENT
)

var families = names{
	unix.AF_UNIX: "AF_UNIX", unix.AF_INET: "AF_INET", unix.AF_INET6: "AF_INET6",
	unix.AF_NETLINK: "AF_NETLINK", unix.AF_PACKET: "AF_PACKET", unix.AF_VSOCK: "AF_VSOCK",
	unix.AF_XDP: "AF_XDP", unix.AF_ALG: "AF_ALG", unix.AF_BLUETOOTH: "AF_BLUETOOTH",
	unix.AF_CAN: "AF_CAN", unix.AF_KEY: "AF_KEY", unix.AF_LLC: "AF_LLC", unix.AF_TIPC: "AF_TIPC",
}

var socketTypes = names{
	unix.SOCK_STREAM: "SOCK_STREAM", unix.SOCK_DGRAM: "SOCK_DGRAM", unix.SOCK_RAW: "SOCK_RAW",
	unix.SOCK_RDM: "SOCK_RDM", unix.SOCK_SEQPACKET: "SOCK_SEQPACKET", unix.SOCK_PACKET: "SOCK_PACKET",
}

var ipProtocols = names{
	unix.IPPROTO_IP: "0", unix.IPPROTO_ICMP: "ICMP", unix.IPPROTO_IGMP: "IGMP", unix.IPPROTO_TCP: "TCP",
	unix.IPPROTO_UDP: "UDP", unix.IPPROTO_GRE: "GRE", unix.IPPROTO_ESP: "ESP", unix.IPPROTO_AH: "AH",
	unix.IPPROTO_ICMPV6: "ICMPV6", unix.IPPROTO_SCTP: "SCTP", unix.IPPROTO_RAW: "RAW", 89: "OSPF", 112: "VRRP",
}

var etherTypes = names{
	0: "0", unix.ETH_P_ALL: "ETH_P_ALL", unix.ETH_P_IP: "ETH_P_IP", unix.ETH_P_ARP: "ETH_P_ARP", unix.ETH_P_IPV6: "ETH_P_IPV6",
}

var netlinkFamilies = names{
	unix.NETLINK_ROUTE: "NETLINK_ROUTE", unix.NETLINK_SOCK_DIAG: "NETLINK_SOCK_DIAG", unix.NETLINK_XFRM: "NETLINK_XFRM",
	unix.NETLINK_AUDIT: "NETLINK_AUDIT", unix.NETLINK_NETFILTER: "NETLINK_NETFILTER",
	unix.NETLINK_KOBJECT_UEVENT: "NETLINK_KOBJECT_UEVENT", unix.NETLINK_GENERIC: "NETLINK_GENERIC",
}

var socketLevels = names{
	unix.SOL_SOCKET: "SOL_SOCKET", unix.IPPROTO_IP: "IPPROTO_IP", unix.IPPROTO_IPV6: "IPPROTO_IPV6",
	unix.IPPROTO_TCP: "IPPROTO_TCP", unix.IPPROTO_UDP: "IPPROTO_UDP", unix.SOL_PACKET: "SOL_PACKET", unix.SOL_NETLINK: "SOL_NETLINK",
}

var socketOptions = map[uint64]names{
	unix.SOL_SOCKET: {
		unix.SO_MARK: "SO_MARK", unix.SO_PRIORITY: "SO_PRIORITY", unix.SO_BINDTODEVICE: "SO_BINDTODEVICE",
		unix.SO_SNDBUFFORCE: "SO_SNDBUFFORCE", unix.SO_RCVBUFFORCE: "SO_RCVBUFFORCE", unix.SO_DEBUG: "SO_DEBUG",
		unix.SO_TXTIME: "SO_TXTIME", unix.SO_BUSY_POLL: "SO_BUSY_POLL", unix.SO_PREFER_BUSY_POLL: "SO_PREFER_BUSY_POLL",
		unix.SO_RESERVE_MEM: "SO_RESERVE_MEM", unix.SO_ATTACH_REUSEPORT_EBPF: "SO_ATTACH_REUSEPORT_EBPF",
	},
	unix.IPPROTO_IP: {
		unix.IP_TRANSPARENT: "IP_TRANSPARENT", unix.IP_OPTIONS: "IP_OPTIONS", unix.IP_HDRINCL: "IP_HDRINCL",
		unix.IP_IPSEC_POLICY: "IP_IPSEC_POLICY", unix.IP_XFRM_POLICY: "IP_XFRM_POLICY", 64: "IPT_SO_SET_REPLACE",
	},
	unix.IPPROTO_IPV6: {
		unix.IPV6_TRANSPARENT: "IPV6_TRANSPARENT", unix.IPV6_HOPOPTS: "IPV6_HOPOPTS", unix.IPV6_DSTOPTS: "IPV6_DSTOPTS",
		unix.IPV6_RTHDR: "IPV6_RTHDR", unix.IPV6_IPSEC_POLICY: "IPV6_IPSEC_POLICY", unix.IPV6_XFRM_POLICY: "IPV6_XFRM_POLICY",
	},
	unix.IPPROTO_TCP: {
		unix.TCP_CONGESTION: "TCP_CONGESTION", unix.TCP_REPAIR: "TCP_REPAIR", unix.TCP_ULP: "TCP_ULP", unix.TCP_MD5SIG: "TCP_MD5SIG",
	},
}

var prctls = names{
	unix.PR_SET_SECCOMP: "PR_SET_SECCOMP", unix.PR_CAPBSET_DROP: "PR_CAPBSET_DROP", unix.PR_SET_SECUREBITS: "PR_SET_SECUREBITS",
	unix.PR_SET_MM: "PR_SET_MM", unix.PR_CAP_AMBIENT: "PR_CAP_AMBIENT", unix.PR_SET_NO_NEW_PRIVS: "PR_SET_NO_NEW_PRIVS",
	unix.PR_SET_KEEPCAPS: "PR_SET_KEEPCAPS", unix.PR_SET_NAME: "PR_SET_NAME", unix.PR_SET_IO_FLUSHER: "PR_SET_IO_FLUSHER",
	unix.PR_SET_TIMERSLACK: "PR_SET_TIMERSLACK",
}

var ambientActions = names{
	unix.PR_CAP_AMBIENT_IS_SET: "IS_SET", unix.PR_CAP_AMBIENT_RAISE: "RAISE",
	unix.PR_CAP_AMBIENT_LOWER: "LOWER", unix.PR_CAP_AMBIENT_CLEAR_ALL: "CLEAR_ALL",
}

var cloneFlags = names{
	unix.CLONE_NEWUSER: "CLONE_NEWUSER", unix.CLONE_NEWNS: "CLONE_NEWNS", unix.CLONE_NEWPID: "CLONE_NEWPID",
	unix.CLONE_NEWNET: "CLONE_NEWNET", unix.CLONE_NEWIPC: "CLONE_NEWIPC", unix.CLONE_NEWUTS: "CLONE_NEWUTS",
	unix.CLONE_NEWCGROUP: "CLONE_NEWCGROUP", unix.CLONE_NEWTIME: "CLONE_NEWTIME",
}

var signals = names{
	0: "0", uint64(unix.SIGHUP): "SIGHUP", uint64(unix.SIGINT): "SIGINT", uint64(unix.SIGQUIT): "SIGQUIT",
	uint64(unix.SIGKILL): "SIGKILL", uint64(unix.SIGUSR1): "SIGUSR1", uint64(unix.SIGUSR2): "SIGUSR2",
	uint64(unix.SIGTERM): "SIGTERM", uint64(unix.SIGCHLD): "SIGCHLD", uint64(unix.SIGCONT): "SIGCONT",
	uint64(unix.SIGSTOP): "SIGSTOP", uint64(unix.SIGWINCH): "SIGWINCH", uint64(unix.SIGABRT): "SIGABRT", uint64(unix.SIGALRM): "SIGALRM",
}

var fileTypes = names{
	unix.S_IFCHR: "S_IFCHR", unix.S_IFBLK: "S_IFBLK", unix.S_IFIFO: "S_IFIFO", unix.S_IFREG: "S_IFREG", unix.S_IFSOCK: "S_IFSOCK", 0: "S_IFREG",
}

// ioctls whose handlers ask for a capability.
var ioctls = names{
	unix.SIOCSIFFLAGS: "SIOCSIFFLAGS", unix.SIOCSIFADDR: "SIOCSIFADDR", unix.SIOCSIFMTU: "SIOCSIFMTU",
	unix.SIOCSIFHWADDR: "SIOCSIFHWADDR", unix.SIOCSIFNETMASK: "SIOCSIFNETMASK", unix.SIOCSIFBRDADDR: "SIOCSIFBRDADDR",
	unix.SIOCSIFNAME: "SIOCSIFNAME", unix.SIOCSIFTXQLEN: "SIOCSIFTXQLEN", unix.SIOCGIFFLAGS: "SIOCGIFFLAGS",
	unix.SIOCGIFHWADDR: "SIOCGIFHWADDR", unix.SIOCGIFINDEX: "SIOCGIFINDEX", unix.SIOCETHTOOL: "SIOCETHTOOL",
	unix.SIOCADDRT: "SIOCADDRT", unix.SIOCDELRT: "SIOCDELRT", unix.SIOCSARP: "SIOCSARP", unix.SIOCDARP: "SIOCDARP",
	unix.SIOCBRADDBR: "SIOCBRADDBR", unix.SIOCBRDELBR: "SIOCBRDELBR",
	unix.TIOCSTI: "TIOCSTI", unix.TIOCSCTTY: "TIOCSCTTY", unix.TIOCCONS: "TIOCCONS", unix.TIOCVHANGUP: "TIOCVHANGUP",
	unix.TUNSETIFF: "TUNSETIFF", unix.TUNSETOWNER: "TUNSETOWNER",
	unix.BLKROSET: "BLKROSET", unix.BLKFLSBUF: "BLKFLSBUF", unix.BLKRRPART: "BLKRRPART", unix.BLKDISCARD: "BLKDISCARD",
	unix.FS_IOC_SETFLAGS: "FS_IOC_SETFLAGS", 0xc0045877: "FIFREEZE", 0xc0045878: "FITHAW",
}
