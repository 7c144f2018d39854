package monitor

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// entriesAtOnce is how many entries of a map are read by one system call.
const batchSize = 512

// entries hands every entry of a hash map to use, in any order, and names the map in
// its error. Entries that are added meanwhile may be among them or not; the programs
// remove none.
func forEachEntry[K, V any](m *ebpf.Map, what string, use func(key *K, value *V)) error {
	var cursor ebpf.MapBatchCursor
	keys, values := make([]K, batchSize), make([]V, batchSize)
	for {
		n, err := m.BatchLookup(&cursor, keys, values, nil)
		if errors.Is(err, unix.ENOSPC) { // a bucket has more than that (__htab_map_lookup_and_delete_batch, kernel/bpf/hashtab.c)
			keys, values = make([]K, 2*len(keys)), make([]V, 2*len(values))
			continue
		}
		end := errors.Is(err, ebpf.ErrKeyNotExist)
		if err != nil && !end {
			return fmt.Errorf("reading the map of %s: %w", what, err)
		}
		for i := range n {
			use(&keys[i], &values[i])
		}
		if end {
			return nil
		}
	}
}
