package monitor

import (
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/capmon/capmon/bpf"
)

// shares is the number of shares into which the maps are divided (enum share in bpf/record.h).
const shareCount = int(bpf.CapmonShareSHARE_MAX)

// rooms returns how many entries each share has room for, from the sizes of the maps. Patterns
// beyond the quota of their container have shares of their own, so that they find room.
func shareSizes(checks, executions, calls, files uint32) (shareSizes [shareCount]uint32) {
	shareSizes[bpf.CapmonShareSHARE_CHECKS_NAME] = checks / 8
	shareSizes[bpf.CapmonShareSHARE_CHECKS_COARSE] = checks / 8
	shareSizes[bpf.CapmonShareSHARE_CHECKS] = checks - 2*(checks/8)
	shareSizes[bpf.CapmonShareSHARE_EXECUTIONS_FOLDED] = executions / 8
	shareSizes[bpf.CapmonShareSHARE_EXECUTIONS] = executions - executions/8
	shareSizes[bpf.CapmonShareSHARE_CALLS_NAME] = calls / 4
	shareSizes[bpf.CapmonShareSHARE_CALLS] = calls - calls/4
	shareSizes[bpf.CapmonShareSHARE_FILES] = files
	return shareSizes
}

func specShareSizes(spec *ebpf.CollectionSpec) [shareCount]uint32 {
	of := func(name string) uint32 { return spec.Maps[name].MaxEntries }
	return shareSizes(of("checks"), of("executions"), of("calls"), of("files"))
}

func (a *attached) shareSizes() [shareCount]uint32 {
	return shareSizes(a.maps.Checks.MaxEntries(), a.maps.Executions.MaxEntries(), a.maps.Calls.MaxEntries(), a.maps.Files.MaxEntries())
}

// Folding tells how much of a pattern of use was left out because its container had used up its
// quota of patterns. Capability, answer, phase, credential and call site are recorded all the
// same.
type Folding uint8

const (
	// Whole: nothing was left out.
	Unfolded = Folding(bpf.CapmonFoldFOLD_NONE)
	// Nameless: the process name and the arguments of the system call were left out.
	Nameless = Folding(bpf.CapmonFoldFOLD_NAME)
	// Coarse: the system call, the condition, and the outer part of the call stack were left
	// out as well.
	Coarse = Folding(bpf.CapmonFoldFOLD_COARSE)
)

// foldingOf reads from a process name how its pattern was folded: no process can be called so.
func foldingOf(comm *[16]uint8) Folding {
	if comm[0] != 0 {
		return Unfolded
	}
	return Folding(comm[1])
}

// freeRoom tells the kernel side how many entries have been removed since the recording began.
// It counts those that are there, so that an error or a crash has no lasting effect. Entries made
// meanwhile count as present, so that the kernel side never takes a share for emptier than it is.
func (m *Monitor) updateRemoved() error {
	entered := make([]uint64, shareCount)
	for share := range entered {
		if err := m.attached.maps.Entered.Lookup(uint32(share), &entered[share]); err != nil {
			return fmt.Errorf("reading how much of the maps is taken: %w", err)
		}
	}
	present, err := m.countEntries()
	if err != nil {
		return err
	}
	for share := range entered {
		removed := entered[share] - min(entered[share], present[share])
		if err := m.attached.maps.Removed.Put(uint32(share), removed); err != nil {
			return fmt.Errorf("noting how much of the maps is free: %w", err)
		}
	}
	return nil
}

// present counts the entries of each share.
func (m *Monitor) countEntries() (countEntries [shareCount]uint64, err error) {
	maps := m.attached.maps
	if err := forEachEntry(maps.Checks, "checks", func(key *bpf.CapmonCheckKey, _ *bpf.CapmonCheckValue) {
		countEntries[min(foldingOf(&key.Comm), Coarse)]++
	}); err != nil {
		return countEntries, err
	}
	if err := forEachEntry(maps.Executions, "executions", func(key *bpf.CapmonExecutionKey, _ *bpf.CapmonExecutionValue) {
		if key.Folded == 0 {
			countEntries[bpf.CapmonShareSHARE_EXECUTIONS]++
		} else {
			countEntries[bpf.CapmonShareSHARE_EXECUTIONS_FOLDED]++
		}
	}); err != nil {
		return countEntries, err
	}
	if err := forEachEntry(maps.Calls, "system calls", func(key *bpf.CapmonCallKey, _ *bpf.CapmonCallValue) {
		if foldingOf(&key.Comm) == Unfolded {
			countEntries[bpf.CapmonShareSHARE_CALLS]++
		} else {
			countEntries[bpf.CapmonShareSHARE_CALLS_NAME]++
		}
	}); err != nil {
		return countEntries, err
	}
	err = forEachEntry(maps.Files, "files", func(*bpf.CapmonFileKey, *bpf.CapmonFileValue) {
		countEntries[bpf.CapmonShareSHARE_FILES]++
	})
	return countEntries, err
}
