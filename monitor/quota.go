package monitor

import (
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/capmon/capmon/bpf"
)

// shareCount is the number of shares into which the maps are divided (enum share in bpf/types.h).
const shareCount = int(bpf.CapmonShareSHARE_MAX)

// shareSizes returns the capacity of each share, from the sizes of the maps. Folded kinds of check have shares of their
// own, so that they have room when the container's quota of unfolded kinds is used up.
func shareSizes(checks, executions, calls, files uint32) (sizes [shareCount]uint32) {
	sizes[bpf.CapmonShareSHARE_CHECKS_NAMELESS] = checks / 8
	sizes[bpf.CapmonShareSHARE_CHECKS_COARSE] = checks / 8
	sizes[bpf.CapmonShareSHARE_CHECKS] = checks - 2*(checks/8)
	sizes[bpf.CapmonShareSHARE_EXECUTIONS_FOLDED] = executions / 8
	sizes[bpf.CapmonShareSHARE_EXECUTIONS] = executions - executions/8
	sizes[bpf.CapmonShareSHARE_CALLS_NAMELESS] = calls / 4
	sizes[bpf.CapmonShareSHARE_CALLS] = calls - calls/4
	sizes[bpf.CapmonShareSHARE_FILES] = files
	return sizes
}

func specShareSizes(spec *ebpf.CollectionSpec) [shareCount]uint32 {
	of := func(name string) uint32 { return spec.Maps[name].MaxEntries }
	return shareSizes(of("checks"), of("executions"), of("calls"), of("files"))
}

func (a *attachedPrograms) shareSizes() [shareCount]uint32 {
	return shareSizes(a.maps.Checks.MaxEntries(), a.maps.Executions.MaxEntries(), a.maps.Calls.MaxEntries(), a.maps.Files.MaxEntries())
}

// Folding says what capmon left out of a kind of check because its container had used up its quota of kinds. capmon
// never leaves out the capability, the answer, the phase and the credential. It always keeps the first return addresses
// of the call site.
type Folding uint8

const (
	// Unfolded means that nothing was left out.
	Unfolded Folding = Folding(bpf.CapmonFoldFOLD_NONE)
	// Nameless means that the process name and the arguments of the system call were left out.
	Nameless Folding = Folding(bpf.CapmonFoldFOLD_NAMELESS)
	// Coarse means that the system call, the condition and the outer part of the call stack were left out as well.
	Coarse Folding = Folding(bpf.CapmonFoldFOLD_COARSE)
)

// foldingOf returns the folding of a kind of check, which is encoded in the process name (enum fold in bpf/types.h).
// Since 5.17 no process can have such a name.
func foldingOf(comm *[16]uint8) Folding {
	if comm[0] != 0 {
		return Unfolded
	}
	return Folding(comm[1])
}

// updateRemoved sets the numbers of entries that have been removed since the recording began, from which the programs
// compute the free room of each share. It computes them from the entries that exist, so an earlier error or crash has
// no lasting effect. Entries that programs add during the call count as existing, so the programs never believe that a
// share has more room than it has.
func (m *Monitor) updateRemoved() error {
	entered := make([]uint64, shareCount)
	for share := range entered {
		if err := m.attached.maps.EntriesAdded.Lookup(uint32(share), &entered[share]); err != nil {
			return fmt.Errorf("reading the number of map entries: %w", err)
		}
	}
	present, err := m.countEntries()
	if err != nil {
		return err
	}
	for share := range entered {
		removed := entered[share] - min(entered[share], present[share])
		if err := m.attached.maps.EntriesRemoved.Put(uint32(share), removed); err != nil {
			return fmt.Errorf("writing the number of removed map entries: %w", err)
		}
	}
	return nil
}

// countEntries counts the entries of each share.
func (m *Monitor) countEntries() (present [shareCount]uint64, err error) {
	maps := m.attached.maps
	if err := forEachEntry(maps.Checks, "checks", func(key *bpf.CapmonCheckKey, _ *bpf.CapmonCheckValue) {
		present[min(foldingOf(&key.Comm), Coarse)]++
	}); err != nil {
		return present, err
	}
	if err := forEachEntry(maps.Executions, "executions", func(key *bpf.CapmonExecutionKey, _ *bpf.CapmonExecutionValue) {
		if key.Folded == 0 {
			present[bpf.CapmonShareSHARE_EXECUTIONS]++
		} else {
			present[bpf.CapmonShareSHARE_EXECUTIONS_FOLDED]++
		}
	}); err != nil {
		return present, err
	}
	if err := forEachEntry(maps.Calls, "system calls", func(key *bpf.CapmonCallKey, _ *bpf.CapmonCallValue) {
		if foldingOf(&key.Comm) == Unfolded {
			present[bpf.CapmonShareSHARE_CALLS]++
		} else {
			present[bpf.CapmonShareSHARE_CALLS_NAMELESS]++
		}
	}); err != nil {
		return present, err
	}
	err = forEachEntry(maps.Files, "files", func(*bpf.CapmonFileKey, *bpf.CapmonFileValue) {
		present[bpf.CapmonShareSHARE_FILES]++
	})
	return present, err
}
