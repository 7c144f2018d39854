package live

import (
	"github.com/capmon/capmon/internal/capability"
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
