package monitor

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// batchSize is the number of map entries that one system call reads or writes.
const batchSize = 512

// forEachEntry calls use for every entry of a hash map, in any order. The error names the map. Entries that programs
// add during the call may be left out; programs remove no entries.
func forEachEntry[K, V any](m *ebpf.Map, mapName string, use func(key *K, value *V)) error {
	var cursor ebpf.MapBatchCursor
	keys, values := make([]K, batchSize), make([]V, batchSize)
	for {
		n, err := m.BatchLookup(&cursor, keys, values, nil)
		if errors.Is(err, unix.ENOSPC) { // a hash bucket has more than len(keys) entries (__htab_map_lookup_and_delete_batch, kernel/bpf/hashtab.c)
			keys, values = make([]K, 2*len(keys)), make([]V, 2*len(values))
			continue
		}
		end := errors.Is(err, ebpf.ErrKeyNotExist)
		if err != nil && !end {
			return fmt.Errorf("reading the map of %s: %w", mapName, err)
		}
		for i := range n {
			use(&keys[i], &values[i])
		}
		if end {
			return nil
		}
	}
}
