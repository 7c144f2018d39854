package profile

import (
	"slices"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/monitor"
)

// maxReaders limits the number of programs in Readers.
const maxReaders = 64

// addUncheckedNeeds adds the needs of system calls that the kernel decides by reading capability sets, without a check.
// It also adds the programs that read their own sets. It must run last, because the other needs of the run may be
// sufficient.
func (r *Run) addUncheckedNeeds(seen monitor.ContainerRecord) {
	granted, known := r.Grants.Set()
	if !known {
		return
	}
	needed, unwritten := r.certain(), unwritten(seen.Unchecked)
	var uses []UsePattern
	for _, call := range seen.Unchecked {
		var need classify.ImplicitNeed
		switch call.Kind {
		case monitor.InspectedProcess, monitor.ScheduledProcess:
			need = classify.InspectionNeed(call, granted, needed)
		case monitor.WrotePressureFile:
			need = classify.PressureTriggerNeed(call, granted, unwritten)
		case monitor.ReadOwnCapabilities:
			r.Readers = append(r.Readers, readerOf(call))
		}
		uses = append(uses, implicitUses(need, UsePattern{
			Program: call.Program,
			Others:  call.Folding != monitor.Unfolded,
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

// certain returns the needs for which no other capability is sufficient.
func (r *Run) certain() (needed capability.Set) {
	for _, use := range r.Uses {
		if use.Class.Need() && use.Alternative == nil {
			needed = needed.With(use.Capability)
		}
	}
	return needed
}

// unwritten reports whether capmon saw fewer writes of triggers to files of pressure stall information than opened
// files.
func unwritten(calls []monitor.UncheckedCall) bool {
	var opened, written uint64
	for _, call := range calls {
		switch {
		case call.Kind != monitor.WrotePressureFile:
		case call.Pressure == monitor.WindowUnknown:
			opened += call.Count
		default:
			written += call.Count
		}
	}
	return opened > written
}

func readerOf(call monitor.UncheckedCall) string {
	if call.Folding != monitor.Unfolded {
		return "others"
	}
	return call.Program
}

// boundReaders sorts the names, removes duplicates, and keeps the first maxReaders.
func boundReaders(names []string) []string {
	names = slices.Compact(slices.Sorted(slices.Values(names)))
	return names[:min(len(names), maxReaders)]
}
