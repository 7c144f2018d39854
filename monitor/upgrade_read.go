package monitor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/capmon/capmon/bpf"
)

// oldRecording is a pinned recording of another version of capmon.
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

// open opens a map of the recording.
func (r *oldRecording) open(name string) (*ebpf.Map, error) {
	return ebpf.LoadPinnedMap(filepath.Join(r.directory, mapsPin, name), nil)
}

// converter returns the converter for a type that both versions have.
func (r *oldRecording) converter(name string) (*layoutConverter, error) {
	var older, newer *btf.Struct
	if err := errors.Join(r.older.TypeByName(name, &older), r.newer.TypeByName(name, &newer)); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return newLayoutConverter(older, newer)
}

// readOldMap reads a map of an older recording into a Go map with the types of this version. name, key and value are
// the names of the map and of its C types. key is "" if the keys are 64-bit integers. add adds the second of two values
// of the same key to the first. A version that has no such map did not record what the map has.
func readOldMap[K comparable, V any](r *oldRecording, name string, key, value string, into map[K]V, add func(value, more *V)) error {
	m, err := r.open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer m.Close()
	ofKey, ofValue := &layoutConverter{size: 8, copies: []fieldCopy{{0, 0, 8}}}, (*layoutConverter)(nil)
	if key != "" {
		if ofKey, err = r.converter(key); err != nil {
			return err
		}
	}
	if ofValue, err = r.converter(value); err != nil {
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

// read adds everything that the recording in a directory has counted.
func (c *carriedOver) read(directory string) error {
	r, err := openOldRecording(directory)
	if err != nil {
		return err
	}
	containers := make(map[uint64]bpf.CapmonContainer)
	if err := readOldMap(r, "containers", "", "container", containers, addContainer); err != nil {
		return err
	}
	err = errors.Join(
		readOldMap(r, "checks", "check_key", "check_value", c.checks, addCheck),
		readOldMap(r, "executions", "execution_key", "execution_value", c.executions, addExecution),
		readOldMap(r, "calls", "call_key", "call_value", c.calls, addCall),
		readOldMap(r, "files", "file_key", "file_value", c.files, addFile),
		r.readCheckCaches(c.checks), r.readCounters(&c.counters))
	if err != nil {
		return err
	}
	for cgroup, value := range containers {
		if old, ok := c.containers[cgroup]; ok {
			addContainer(&old, &value)
			value = old
		}
		c.containers[cgroup] = value
	}
	c.dropFromMemory(func(cgroup uint64) bool { // data without a container has been saved and removed
		_, known := c.containers[cgroup]
		return !known
	})
	metadata, err := readMetadata(directory)
	c.skipped += metadata.Skipped
	return err
}

// readCheckCaches adds the counts in the per-CPU check caches.
func (r *oldRecording) readCheckCaches(checks checkCounts) error {
	m, err := r.open("check_caches")
	if err != nil {
		return err
	}
	defer m.Close()
	var cache, cached *btf.Struct
	if err := errors.Join(r.older.TypeByName("check_cache", &cache), r.older.TypeByName("cached_check", &cached)); err != nil {
		return err
	}
	cachedChecks, key := memberOf(cache, "checks"), memberOf(cached, "key")
	array, ok := cachedChecks.Type.(*btf.Array)
	if !ok {
		return errors.New("the check caches have an unknown layout")
	}
	ofKey, err := r.converter("check_key")
	if err != nil {
		return err
	}
	ofValue, err := newLayoutConverter(
		&btf.Struct{Size: cached.Size, Members: []btf.Member{memberOf(cached, "count"), memberOf(cached, "last_ns")}},
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
			one := raw[cachedChecks.Offset.Bytes()+i*cached.Size:]
			var kind bpf.CapmonCheckKey
			var counted struct{ Count, LastNs uint64 }
			if err := errors.Join(decode(ofKey.convert(one[key.Offset.Bytes():]), &kind), decode(ofValue.convert(one), &counted)); err != nil {
				return err
			}
			if known, ok := checks[kind]; ok && counted.Count > 0 { // otherwise it has been saved and removed
				addCheck(&known, &bpf.CapmonCheckValue{Count: counted.Count, LastNs: counted.LastNs})
				checks[kind] = known
			}
		}
	}
	return nil
}

var u64 = &btf.Int{Name: "__u64", Size: 8}

// memberOf returns the member of a structure with a name. The result has no type if there is none.
func memberOf(of *btf.Struct, name string) btf.Member {
	i := slices.IndexFunc(of.Members, func(member btf.Member) bool { return member.Name == name })
	if i < 0 {
		return btf.Member{Name: name}
	}
	return of.Members[i]
}

// readCounters adds the counters. Their numbers are the same in all versions.
func (r *oldRecording) readCounters(counters *[bpf.CapmonCounterCOUNTER_MAX]uint64) error {
	m, err := r.open("counters")
	if err != nil {
		return err
	}
	defer m.Close()
	if int(m.MaxEntries()) > len(counters) {
		return fmt.Errorf("the old recording has %d counters, this version knows %d", m.MaxEntries(), len(counters))
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
