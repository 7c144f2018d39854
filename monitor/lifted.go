package monitor

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/bpf"
)

// Limit is a limit of the kernel's that a sysctl of the network namespace can lift. What passes
// it then makes no check, and needs a capability or the sysctl where the limit stands. Docker lifts
// both for containers that do not use the host's network (daemon/oci_linux.go, WithSysctls).
type Limit uint8

const (
	// LowPort: ports below 1024 take CAP_NET_BIND_SERVICE (net.ipv4.ip_unprivileged_port_start).
	LowPort = Limit(bpf.CapmonLiftedLIFTED_PORT)
	// PingSocket: sockets for ICMP echo that are not raw are for some groups only
	// (net.ipv4.ping_group_range). No capability helps, but a raw socket does the same with
	// CAP_NET_RAW.
	PingSocket = Limit(bpf.CapmonLiftedLIFTED_PING)
)

// LiftedCall is one kind of system call by which a container's workload passed a limit. One that
// io_uring makes is not seen.
type LiftedCall struct {
	Limit Limit
	// Family of the socket's addresses (AF_INET, AF_INET6); 0 if it is not known.
	Family uint16
	// Protocol (IPPROTO_TCP, …) and Port that were bound, of LowPort; 0 if they are not known,
	// beyond the quota of the container.
	Protocol, Port uint16
	// Program, Folding, PID and UID as in Check. Folded, Family, Protocol and Port are left out.
	Program     string
	Folding     Folding
	Count       uint64
	First, Last time.Time
	PID, UID    uint32
}

func (m *Monitor) newLiftedCall(key *bpf.CapmonCallKey, value *bpf.CapmonCallValue) LiftedCall {
	return LiftedCall{
		Limit:    Limit(key.Lifted),
		Family:   uint16(key.Args[0]),
		Protocol: uint16(key.Args[1]),
		Port:     uint16(key.Args[2]),
		Program:  cString(key.Comm[:]),
		Folding:  foldingOf(&key.Comm),
		Count:    value.Count,
		First:    m.clock.Time(value.FirstNs),
		Last:     m.clock.Time(value.LastNs),
		PID:      value.Pid,
		UID:      value.Uid,
	}
}

// Transport names the protocol that a port is of: TCP, UDP, …; "" if it is not known.
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

// seesLimits reports whether system calls that pass a limit are recorded: all of the recording's.
func (m *Monitor) recordsLifted() bool { return m.outcomes && m.attached.programs.Returned != nil }
