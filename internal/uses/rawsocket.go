package uses

import (
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/observe"
	"github.com/capmon/capmon/monitor"
)

// RawSocket is a family of sockets that see or make packets past the protocols.
type RawSocket string

// The families.
const (
	IPv4   RawSocket = "IPv4"
	IPv6   RawSocket = "IPv6"
	Packet RawSocket = "packet" // AF_PACKET, raw or cooked
	XDP    RawSocket = "XDP"    // AF_XDP
)

// RawSockets lists all families.
func RawSockets() []RawSocket { return []RawSocket{IPv4, IPv6, Packet, XDP} }

// creators are the kernel functions that make the sockets. The first two ask for
// CAP_NET_RAW only if the type is SOCK_RAW, the others always. So they tell by whatever way it
// is asked for: socket, socketcall, io_uring.
var creators = map[string]RawSocket{
	"inet_create":   IPv4,   // net/ipv4/af_inet.c
	"inet6_create":  IPv6,   // net/ipv6/af_inet6.c
	"packet_create": Packet, // net/packet/af_packet.c
	"xsk_create":    XDP,    // net/xdp/xsk.c
}

// RawSocketOf tells which raw socket a capability was asked for by a stack of kernel functions,
// "" for none.
func RawSocketOf(asked capability.Capability, stack []string) RawSocket {
	if asked != capability.NetRaw {
		return ""
	}
	for _, function := range stack {
		if family, ok := creators[function]; ok {
			return family
		}
	}
	return ""
}

// familyOf tells which raw socket one is that is open, "" for none.
func familyOf(socket monitor.Socket) RawSocket {
	switch {
	case socket.Domain == unix.AF_INET && socket.Type == unix.SOCK_RAW:
		return IPv4
	case socket.Domain == unix.AF_INET6 && socket.Type == unix.SOCK_RAW:
		return IPv6
	case socket.Domain == unix.AF_PACKET:
		return Packet
	case socket.Domain == unix.AF_XDP:
		return XDP
	}
	return ""
}

// IsRaw reports whether a socket is a raw one.
func IsRaw(socket monitor.Socket) bool { return familyOf(socket) != "" }

// openReason is all that is known of how a socket came to be that was open already.
const openReason = "it was open when the watch began: whose capability it took is not known"

// held are the raw sockets that a process has open, one use for each family.
func held(holder monitor.Holder, at time.Time) (all []Use) {
	count := make(map[RawSocket]uint64)
	for _, socket := range holder.Sockets {
		count[familyOf(socket)]++
	}
	for _, family := range RawSockets() {
		if count[family] == 0 {
			continue
		}
		all = append(all, Use{
			Schema: Schema, Time: at, First: true, Count: count[family], Container: Container{ID: holder.ID},
			Process: Process{
				PID: holder.PID, InnerPID: holder.InnerPID, Program: holder.Program, Executable: holder.Executable,
				User: &holder.UID, Parents: []Parent{},
			},
			Capability: capability.NetRaw, Granted: true, RawSocket: true, Family: family, Open: true,
			Stack: []string{}, Reason: openReason,
		})
	}
	return all
}

// TakeOpen takes who has raw sockets open when the watch begins, and does not wait.
func (w *Watcher) TakeOpen(observer *observe.Observer, holder monitor.Holder) {
	at, now := time.Now(), observer.Now()
	uses := slices.DeleteFunc(held(holder, now), func(use Use) bool { return !w.options.Selection.wantsUse(use) })
	if len(uses) == 0 {
		return
	}
	w.enqueue(holder.Cgroup, func() {
		container, wanted := w.container(observer, holder.Cgroup, holder.ID, at)
		for _, use := range uses {
			use.Container = container
			if wanted {
				w.tell(holder.Cgroup, use)
			}
		}
	})
}
