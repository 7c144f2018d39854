package monitor

import (
	"testing"

	"github.com/cilium/ebpf"
)

// A map with more entries than one system call reads is read completely, each entry once.
func TestAllEntriesAreRead(t *testing.T) {
	const filled = 5*batchSize + 3
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Hash, KeySize: 8, ValueSize: 8, MaxEntries: 2 * filled})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	read := func() map[uint64]uint64 {
		found := make(map[uint64]uint64)
		err := forEachEntry(m, "numbers", func(key, value *uint64) {
			if _, before := found[*key]; before {
				t.Errorf("%d was read twice", *key)
			}
			found[*key] = *value
		})
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	if found := read(); len(found) != 0 {
		t.Errorf("read %d entries of an empty map", len(found))
	}
	for i := range uint64(filled) {
		if err := m.Put(i, 7*i); err != nil {
			t.Fatal(err)
		}
	}
	found := read()
	for i := range uint64(filled) {
		if found[i] != 7*i {
			t.Errorf("%d: got %d", i, found[i])
		}
	}
	if len(found) != filled {
		t.Errorf("read %d entries of %d", len(found), filled)
	}
}
