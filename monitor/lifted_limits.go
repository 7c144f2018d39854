package monitor

import (
	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/bpf"
)

// Limit is a limit that a sysctl of the network namespace can lift. The kernel makes no check for a system call that
// passes a lifted limit. With an engine that does not lift the limit, the same call needs a capability or the sysctl.
// Docker lifts both limits for containers that do not use the host's network (daemon/oci_linux.go, WithSysctls).
type Limit uint8

const (
	// LowPort is the limit for ports below 1024, which require CAP_NET_BIND_SERVICE
	// (net.ipv4.ip_unprivileged_port_start).
	LowPort Limit = Limit(bpf.CapmonLiftedLimitLIFTED_PORT)
	// PingSocket is the limit for ICMP echo sockets that are not raw: only some groups may use them
	// (net.ipv4.ping_group_range). No capability allows them, but with CAP_NET_RAW a program can use a raw socket
	// instead.
	PingSocket Limit = Limit(bpf.CapmonLiftedLimitLIFTED_PING)
)

// LiftedCall is one kind of system call with which a container's workload passed a lifted limit. capmon does not see
// calls that io_uring makes.
type LiftedCall struct {
	Limit Limit
	// Family is the address family of the socket (AF_INET or AF_INET6); 0 if it is unknown.
	Family uint16
	// Protocol (IPPROTO_TCP, …) and Port are what the program bound, for LowPort. They are 0 if the call is folded.
	Protocol, Port uint16
	// CallRecord: if the call is folded, Program is empty, and Family, Protocol and Port are 0.
	CallRecord
}

func (m *Monitor) newLiftedCall(key *bpf.CapmonCallKey, value *bpf.CapmonCallValue) LiftedCall {
	return LiftedCall{
		Limit:      Limit(key.Lifted),
		Family:     uint16(key.Args[0]),
		Protocol:   uint16(key.Args[1]),
		Port:       uint16(key.Args[2]),
		CallRecord: m.newCallRecord(key, value),
	}
}

// Transport returns the name of the port's protocol, such as TCP or UDP; "" if it is unknown.
func (c LiftedCall) Transport() string {
	switch c.Protocol {
	case unix.IPPROTO_TCP, unix.IPPROTO_MPTCP:
		return "TCP"
	case unix.IPPROTO_UDP, unix.IPPROTO_UDPLITE:
		return "UDP"
	case unix.IPPROTO_SCTP:
		return "SCTP"
	case unix.IPPROTO_DCCP:
		return "DCCP"
	}
	return ""
}

// recordsLifted reports whether the programs record the system calls that pass a lifted limit.
func (m *Monitor) recordsLifted() bool { return m.outcomes && m.attached.programs.CapmonSysExit != nil }
