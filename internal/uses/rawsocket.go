package uses

import (
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/observe"
	"github.com/capmon/capmon/monitor"
)

// RawSocket is a family of sockets that receive or send packets without a transport protocol.
type RawSocket string

// The families of raw sockets.
const (
	IPv4   RawSocket = "IPv4"
	IPv6   RawSocket = "IPv6"
	Packet RawSocket = "packet" // AF_PACKET, raw or cooked
	XDP    RawSocket = "XDP"    // AF_XDP
)

// RawSockets returns all families.
func RawSockets() []RawSocket { return []RawSocket{IPv4, IPv6, Packet, XDP} }

// creators are the kernel functions that create the sockets. The first two check CAP_NET_RAW only if the type is
// SOCK_RAW, the others always. They identify a raw socket however it is created: with socket, socketcall or io_uring.
var creators = map[string]RawSocket{
	"inet_create":   IPv4,   // net/ipv4/af_inet.c
	"inet6_create":  IPv6,   // net/ipv6/af_inet6.c
	"packet_create": Packet, // net/packet/af_packet.c
	"xsk_create":    XDP,    // net/xdp/xsk.c
}

// RawSocketOf returns the family of the raw socket for which a capability was checked, given the stack of kernel
// functions. It returns "" if there is none.
func RawSocketOf(checked capability.Capability, stack []string) RawSocket {
	if checked != capability.NetRaw {
		return ""
	}
	for _, function := range stack {
		if family, ok := creators[function]; ok {
			return family
		}
	}
	return ""
}

// familyOfOpen returns the family of an open raw socket, "" if the socket is not raw.
func familyOfOpen(socket monitor.Socket) RawSocket {
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

// IsRaw reports whether an open socket is raw.
func IsRaw(socket monitor.Socket) bool { return familyOfOpen(socket) != "" }

// openReason is the reason of a use that is an open socket.
const openReason = "already open when watch started: capmon has not seen the check for it"

// openSockets returns the raw sockets that a process has open, as one use for each family.
func openSockets(holder monitor.SocketHolder, at time.Time) (all []Use) {
	count := make(map[RawSocket]uint64)
	for _, socket := range holder.Sockets {
		count[familyOfOpen(socket)]++
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

// HandleOpenSockets reports the raw sockets that a process already had open at the start. It does not block.
func (w *Watcher) HandleOpenSockets(observer *observe.Observer, holder monitor.SocketHolder) {
	at, now := time.Now(), observer.Now()
	uses := slices.DeleteFunc(openSockets(holder, now), func(use Use) bool { return !w.options.Selection.wantsUse(use) })
	if len(uses) == 0 {
		return
	}
	w.enqueue(holder.Cgroup, func() {
		container, wanted := w.identify(observer, holder.Cgroup, holder.ID, at)
		for _, use := range uses {
			use.Container = container
			if wanted {
				w.report(holder.Cgroup, use)
			}
		}
	})
}
