package profile

import (
	"cmp"
	"slices"
	"time"

	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/monitor"
)

// Lifted is a way in which a run passed a limit of the kernel's that a sysctl of its network
// namespace lifted. There was no check. An engine that leaves the limit as it is needs the
// capability in the list, or the sysctl.
type Lifted struct {
	// Capability that serves where the limit stands: NET_BIND_SERVICE for a port below 1024,
	// NET_RAW for ICMP echo, and then only by a raw socket.
	Capability capability.Capability `json:"capability"`
	// Transport and Port that were bound; empty for ICMP echo, and if they are not known.
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

// maxLifted bounds them: beyond it programs are not listed one by one, nor are ports.
const maxLifted = 256

func newLifted(call monitor.LiftedCall) Lifted {
	lifted := Lifted{
		Capability: capability.NetBindService,
		Transport:  call.Transport(),
		Port:       call.Port,
		Program:    call.Program,
		Others:     call.Folding != monitor.Whole,
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

// lift records which limits the run passed, if that was seen.
func (r *Run) lift(seen monitor.Container, limitsSeen bool) {
	var all []Lifted
	for _, call := range seen.Lifted {
		all = append(all, newLifted(call))
	}
	r.Lifted, r.LimitsSeen = addUpLifted(all), limitsSeen
}

// addUpLifted makes one of those that a reader could not tell apart, and sorts them.
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

// addUpLiftedBy adds up those that reduce makes equal but for what is counted.
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
		sums[i].First = earlier(sums[i].First, one.First)
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

// Behind are the ways in which limits were passed behind which a capability serves.
func (s Summary) Behind(c capability.Capability) []Lifted {
	return slices.DeleteFunc(slices.Clone(s.Lifted), func(l Lifted) bool { return l.Capability != c })
}
