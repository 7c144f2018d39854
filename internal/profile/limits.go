package profile

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Limits of the lists in a run and in a summary of many runs. A container can use any number of process names,
// arguments, programs and files, but must not make a report too large.
const (
	// MaxUses limits the uses. Beyond it, uses with different process names and arguments are added up.
	MaxUses = 1024
	// MaxFiles limits the files. The checks for further files are counted as unlisted.
	MaxFiles = 1024
	// maxReasons limits the reasons why the runs of a container are incomplete.
	maxReasons = 32
	// maxNames limits the names in a sentence.
	maxNames = 16
)

// withoutNames returns the key of uses that differ only in the program and the arguments of the call.
func withoutNames(use UsePattern) useKey {
	use.Program, use.Others = "", true
	use.Call = use.CallName()
	return keyOf(use)
}

// withoutCalls returns the key of uses with the same call site and the same meaning.
func withoutCalls(use UsePattern) useKey {
	use.Call, use.Entry = "", false
	return withoutNames(use)
}

// bounded adds up the uses in the largest groups with the same key, until at most MaxUses uses are left or every group
// is added up.
func bounded(uses []UsePattern, keyOf func(UsePattern) useKey) []UsePattern {
	left := len(uses)
	if left <= MaxUses {
		return uses
	}
	slices.SortFunc(uses, compareUses) // so that the sums are always the same
	groups := make(map[useKey][]UsePattern)
	for _, use := range uses {
		key := keyOf(use)
		groups[key] = append(groups[key], use)
	}
	var all []UsePattern
	for _, key := range slices.SortedFunc(maps.Keys(groups), func(one, other useKey) int {
		return cmp.Or(-cmp.Compare(len(groups[one]), len(groups[other])), cmp.Compare(fmt.Sprint(one), fmt.Sprint(other)))
	}) {
		group := groups[key]
		if left <= MaxUses || len(group) == 1 {
			all = append(all, group...)
			continue
		}
		left -= len(group) - 1
		sum := group[0]
		for _, use := range group[1:] {
			sum = add(sum, use)
		}
		sum.Program, sum.Call, sum.Entry, sum.Others = key.program, key.call, key.entry, true
		all = append(all, sum)
	}
	return all
}

// boundFiles returns the first MaxFiles files, and the number of checks for the others.
func boundFiles(files []File) (listed []File, unlisted uint64) {
	for _, file := range files[min(len(files), MaxFiles):] {
		unlisted += file.Count
	}
	return files[:min(len(files), MaxFiles)], unlisted
}

// Names lists names for a sentence: at most maxNames of them, and the number of the others.
func Names(names []string) string {
	if more := len(names) - maxNames; more > 0 {
		return strings.Join(names[:maxNames], ", ") + fmt.Sprintf(" and %d more", more)
	}
	return strings.Join(names, ", ")
}
