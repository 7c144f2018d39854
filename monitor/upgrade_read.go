package monitor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/capmon/capmon/bpf"
)

// estate is a recording that another version of capmon has made.
type oldRecording struct {
	directory    string
	older, newer *btf.Spec
}

func openOldRecording(directory string) (*oldRecording, error) {
	older, err := readLayout(directory)
	if err != nil {
		return nil, err
	}
	spec, err := bpf.LoadCapmon()
	if err != nil {
		return nil, fmt.Errorf("reading the programs: %w", err)
	}
	return &oldRecording{directory, older, spec.Types}, nil
}

// open opens one of its maps.
func (e *oldRecording) open(name string) (*ebpf.Map, error) {
	return ebpf.LoadPinnedMap(filepath.Join(e.directory, mapsPin, name), nil)
}

// translator is of a type that both versions have.
func (e *oldRecording) converter(name string) (*layoutConverter, error) {
	var older, newer *btf.Struct
	if err := errors.Join(e.older.TypeByName(name, &older), e.newer.TypeByName(name, &newer)); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return newLayoutConverter(older, newer)
}

// readEstate reads a map of structures into one of this version's.
func readOldMap[K comparable, V any](e *oldRecording, name string, key, value string, into map[K]V, add func(value, more *V)) error {
	m, err := e.open(name)
	if err != nil {
		return err
	}
	defer m.Close()
	ofKey, ofValue := &layoutConverter{size: 8, copies: []fieldCopy{{0, 0, 8}}}, (*layoutConverter)(nil)
	if key != "" {
		if ofKey, err = e.converter(key); err != nil {
			return err
		}
	}
	if ofValue, err = e.converter(value); err != nil {
		return err
	}
	rawKey, rawValue := make([]byte, m.KeySize()), make([]byte, m.ValueSize())
	all := m.Iterate()
	for all.Next(&rawKey, &rawValue) {
		var k K
		var v V
		if err := errors.Join(decode(ofKey.convert(rawKey), &k), decode(ofValue.convert(rawValue), &v)); err != nil {
			return err
		}
		if old, ok := into[k]; ok {
			add(&old, &v)
			v = old
		}
		into[k] = v
	}
	return all.Err()
}

func decode(raw []byte, into any) error {
	_, err := binary.Decode(raw, binary.NativeEndian, into)
	return err
}

// read adds all that a recording has counted.
func (h *carriedOver) read(directory string) error {
	e, err := openOldRecording(directory)
	if err != nil {
		return err
	}
	containers := make(map[uint64]bpf.CapmonContainer)
	if err := readOldMap(e, "containers", "", "container", containers, addContainer); err != nil {
		return err
	}
	err = errors.Join(
		readOldMap(e, "checks", "check_key", "check_value", h.checks, addCheck),
		readOldMap(e, "executions", "execution_key", "execution_value", h.executions, addExecution),
		readOldMap(e, "calls", "call_key", "call_value", h.calls, addCall),
		readOldMap(e, "files", "file_key", "file_value", h.files, addFile),
		e.readCheckCaches(h.checks), e.readCounters(&h.counters))
	if err != nil {
		return err
	}
	for cgroup, value := range containers {
		if old, ok := h.containers[cgroup]; ok {
			addContainer(&old, &value)
			value = old
		}
		h.containers[cgroup] = value
	}
	h.dropFromMemory(func(cgroup uint64) bool { // what is of no container has been handed over
		_, known := h.containers[cgroup]
		return !known
	})
	what, err := readMetadata(directory)
	h.skipped += what.Skipped
	return err
}

// readMemos adds what the CPUs remembered beside the map of checks.
func (e *oldRecording) readCheckCaches(checks checkCounts) error {
	m, err := e.open("memos")
	if err != nil {
		return err
	}
	defer m.Close()
	var remembered, memo *btf.Struct
	if err := errors.Join(e.older.TypeByName("remembered", &remembered), e.older.TypeByName("memo", &memo)); err != nil {
		return err
	}
	memos, key := memberOf(remembered, "memo"), memberOf(memo, "key")
	array, ok := memos.Type.(*btf.Array)
	if !ok {
		return errors.New("what the CPUs remember is laid out in an unknown way")
	}
	ofKey, err := e.converter("check_key")
	if err != nil {
		return err
	}
	ofValue, err := newLayoutConverter(
		&btf.Struct{Size: memo.Size, Members: []btf.Member{memberOf(memo, "count"), memberOf(memo, "last_ns")}},
		&btf.Struct{Size: 16, Members: []btf.Member{{Name: "count", Type: u64}, {Name: "last_ns", Type: u64, Offset: 64}}})
	if err != nil {
		return err
	}
	var perCPU [][]byte
	if err := m.Lookup(uint32(0), &perCPU); err != nil {
		return err
	}
	for _, raw := range perCPU {
		for i := range array.Nelems {
			one := raw[memos.Offset.Bytes()+i*memo.Size:]
			var kind bpf.CapmonCheckKey
			var counted struct{ Count, LastNs uint64 }
			if err := errors.Join(decode(ofKey.convert(one[key.Offset.Bytes():]), &kind), decode(ofValue.convert(one), &counted)); err != nil {
				return err
			}
			if known, ok := checks[kind]; ok && counted.Count > 0 { // else it has been handed over
				addCheck(&known, &bpf.CapmonCheckValue{Count: counted.Count, LastNs: counted.LastNs})
				checks[kind] = known
			}
		}
	}
	return nil
}

var u64 = &btf.Int{Name: "__u64", Size: 8}

// memberOf is the member of a structure with a name; without a type if it has none.
func memberOf(of *btf.Struct, name string) btf.Member {
	i := slices.IndexFunc(of.Members, func(member btf.Member) bool { return member.Name == name })
	if i < 0 {
		return btf.Member{Name: name}
	}
	return of.Members[i]
}

// readCounters adds the counters, whose numbers are the same in all versions.
func (e *oldRecording) readCounters(counters *[bpf.CapmonCounterCOUNTER_MAX]uint64) error {
	m, err := e.open("counters")
	if err != nil {
		return err
	}
	defer m.Close()
	if int(m.MaxEntries()) > len(counters) {
		return fmt.Errorf("%d counters, of which %d are known", m.MaxEntries(), len(counters))
	}
	for which := range m.MaxEntries() {
		var perCPU []uint64
		if err := m.Lookup(which, &perCPU); err != nil {
			return err
		}
		for _, n := range perCPU {
			counters[which] += n
		}
	}
	return nil
}
