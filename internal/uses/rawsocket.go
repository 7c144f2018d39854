package uses

import (
	"github.com/capmon/capmon/capability"
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
