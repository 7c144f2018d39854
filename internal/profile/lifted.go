package profile

import (
	"cmp"
	"slices"
	"time"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/monitor"
)

// Lifted is a use of a kernel limit that a sysctl of the network namespace lifted, so that the kernel made no check. An
// engine that does not lift the limit must grant the capability, or set the sysctl.
type Lifted struct {
	// Capability is sufficient if the limit is not lifted. It is NET_BIND_SERVICE for a port below 1024. For ICMP echo,
	// it is NET_RAW, which helps only a program that uses a raw socket.
	Capability capability.Capability `json:"capability"`
	// Transport and Port are the protocol and the port that the container bound; empty for ICMP echo, and if they are
	// not known.
	Transport string `json:"transport,omitempty"`
	Port      uint16 `json:"port,omitempty"`
	// Program, Others and User as in Use.
	Program string    `json:"program"`
	Others  bool      `json:"others,omitempty"`
	User    uint32    `json:"user"`
	Count   uint64    `json:"count"`
	First   time.Time `json:"first"`
	Last    time.Time `json:"last"`
}

// maxLifted limits the entries. Beyond it, entries with different programs are added up, and then entries with
// different ports.
const maxLifted = 256

func newLifted(call monitor.LiftedCall) Lifted {
	lifted := Lifted{
		Capability: capability.NetBindService,
		Transport:  call.Transport(),
		Port:       call.Port,
		Program:    call.Program,
		Others:     call.Folding != monitor.Unfolded,
		User:       call.UID,
		Count:      call.Count,
		First:      call.First,
		Last:       call.Last,
	}
	if call.Limit == monitor.PingSocket {
		lifted.Capability = capability.NetRaw
	}
	return lifted
}

// addLifted records the uses of lifted limits, and whether capmon could see all of them.
func (r *Run) addLifted(seen monitor.ContainerRecord, limitsSeen bool) {
	var all []Lifted
	for _, call := range seen.Lifted {
		all = append(all, newLifted(call))
	}
	r.Lifted, r.LimitsSeen = addUpLifted(all), limitsSeen
}

// addUpLifted merges entries that look the same to a reader, and sorts the result.
func addUpLifted(all []Lifted) []Lifted {
	all = addUpLiftedBy(all, func(l Lifted) Lifted { return l })
	if len(all) > maxLifted {
		all = addUpLiftedBy(all, func(l Lifted) Lifted { l.Program, l.Others = "", true; return l })
	}
	if len(all) > maxLifted {
		all = addUpLiftedBy(all, func(l Lifted) Lifted { l.Port = 0; return l })
	}
	return all
}

// addUpLiftedBy merges the entries that reduce makes equal, apart from their counts and times.
func addUpLiftedBy(all []Lifted, reduce func(Lifted) Lifted) []Lifted {
	at := make(map[Lifted]int)
	var sums []Lifted
	for _, one := range all {
		one = reduce(one)
		key := one
		key.Count, key.First, key.Last = 0, time.Time{}, time.Time{}
		i, known := at[key]
		if !known {
			at[key] = len(sums)
			sums = append(sums, one)
			continue
		}
		sums[i].Count += one.Count
		sums[i].First = earliest(sums[i].First, one.First)
		if one.Last.After(sums[i].Last) {
			sums[i].Last = one.Last
		}
	}
	slices.SortFunc(sums, func(a, b Lifted) int {
		return cmp.Or(cmp.Compare(a.Capability, b.Capability), cmp.Compare(a.Port, b.Port), cmp.Compare(a.Transport, b.Transport),
			cmp.Compare(a.Program, b.Program), cmp.Compare(a.User, b.User))
	})
	return sums
}

// LiftedFor returns the uses of lifted limits for which the capability would be sufficient.
func (s Summary) LiftedFor(c capability.Capability) []Lifted {
	return slices.DeleteFunc(slices.Clone(s.Lifted), func(l Lifted) bool { return l.Capability != c })
}
