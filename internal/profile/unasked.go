package profile

import (
	"slices"

	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/monitor"
)

// maxReaders limits the number of programs in Readers.
const maxReaders = 64

// decide adds the demands of system calls that the kernel decides by reading capability sets, and the
// programs that read their own. It must run last: the run's other needs may be enough.
func (r *Run) decide(seen monitor.Container) {
	granted, known := r.Grants.Set()
	if !known {
		return
	}
	needed, unwritten := r.certain(), unwritten(seen.Unasked)
	var uses []Use
	for _, call := range seen.Unasked {
		var demand classify.Demand
		switch call.Unasked {
		case monitor.Traced, monitor.Scheduled:
			demand = classify.Inspection(call, granted, needed)
		case monitor.Pressured:
			demand = classify.PressureTrigger(call, granted, unwritten)
		case monitor.ReadOwn:
			r.Readers = append(r.Readers, readerOf(call))
		}
		uses = append(uses, demanded(demand, Use{
			Program: call.Program,
			Others:  call.Folding != monitor.Whole,
			Call:    call.Call.String(),
			User:    call.UID,
			Count:   call.Count,
			First:   call.First,
			Last:    call.Last,
		})...)
	}
	r.Readers = boundReaders(r.Readers)
	if len(uses) > 0 {
		r.Uses = addUp(append(r.Uses, uses...))
	}
}

// certain are the needs for which no other capability would do instead.
func (r *Run) certain() (needed capability.Set) {
	for _, use := range r.Uses {
		if use.Class.Need() && use.Alternative == nil {
			needed = needed.With(use.Capability)
		}
	}
	return needed
}

// unwritten reports whether capmon saw more openings of files of pressure stalls than triggers.
func unwritten(calls []monitor.UnaskedCall) bool {
	var opened, written uint64
	for _, call := range calls {
		switch {
		case call.Unasked != monitor.Pressured:
		case call.Pressure == monitor.WindowUnknown:
			opened += call.Count
		default:
			written += call.Count
		}
	}
	return opened > written
}

func readerOf(call monitor.UnaskedCall) string {
	if call.Folding != monitor.Whole {
		return "others"
	}
	return call.Program
}

// boundReaders sorts the names, removes duplicates, and keeps the first maxReaders.
func boundReaders(names []string) []string {
	names = slices.Compact(slices.Sorted(slices.Values(names)))
	return names[:min(len(names), maxReaders)]
}
