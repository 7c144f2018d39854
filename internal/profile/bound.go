package profile

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Bounds of what a run, and a summary of many runs, lists. A container chooses how many process
// names, arguments, programs and files it uses: it must not decide how large a report is.
const (
	// MaxUses bounds the uses: beyond it, process names and arguments are not listed one by one.
	MaxUses = 1024
	// MaxFiles bounds the files: those beyond it are counted as unlisted.
	MaxFiles = 1024
	// maxReasons bounds the reasons for which the runs of a container are incomplete.
	maxReasons = 32
	// maxNames bounds the programs that a sentence names.
	maxNames = 16
)

// withoutNames is the key of uses that differ only in the program and the arguments of the call.
func withoutNames(use Use) useKey {
	use.Program, use.Others = "", true
	use.Call = use.CallName()
	return keyOf(use)
}

// withoutCalls is the key of uses that the same kernel function asked for, with the same meaning.
func withoutCalls(use Use) useKey {
	use.Call, use.Entry = "", false
	return withoutNames(use)
}

// bounded adds up the largest groups of uses with the same key until there are at most MaxUses, or
// no group is left.
func bounded(uses []Use, keyOf func(Use) useKey) []Use {
	left := len(uses)
	if left <= MaxUses {
		return uses
	}
	slices.SortFunc(uses, compareUses) // so that the sums are always the same
	groups := make(map[useKey][]Use)
	for _, use := range uses {
		key := keyOf(use)
		groups[key] = append(groups[key], use)
	}
	var all []Use
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

// boundFiles returns the files up to MaxFiles, and how many checks were for the others.
func boundFiles(files []File) (listed []File, unlisted uint64) {
	for _, file := range files[min(len(files), MaxFiles):] {
		unlisted += file.Count
	}
	return files[:min(len(files), MaxFiles)], unlisted
}

// Names lists names for a sentence, and says how many more there are.
func Names(names []string) string {
	if more := len(names) - maxNames; more > 0 {
		return strings.Join(names[:maxNames], ", ") + fmt.Sprintf(" and %d more", more)
	}
	return strings.Join(names, ", ")
}
