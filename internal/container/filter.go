package container

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// Filter selects containers. The zero value selects all.
type Filter struct{ names, images, labels []string }

// NewFilter makes a filter of patterns (with *, ? and [...], as path.Match has
// them) for names or IDs, for images, and for labels, KEY or KEY=VALUE. A
// container must match one of each kind that is given.
func NewFilter(names, images, labels []string) (Filter, error) {
	for _, pattern := range slices.Concat(names, images, labels) {
		if _, err := path.Match(pattern, ""); err != nil {
			return Filter{}, fmt.Errorf("pattern %q: %w", pattern, err)
		}
	}
	return Filter{names, images, labels}, nil
}

// Match reports whether the filter selects a container.
func (f Filter) Match(info Info) bool {
	return anyOf(f.names, func(pattern string) bool {
		return matches(pattern, info.Name) || matches(pattern, info.ID) || matches(pattern, ShortID(info.ID))
	}) && anyOf(f.images, func(pattern string) bool {
		name, _, _ := strings.Cut(info.Image, ":")
		return matches(pattern, info.Image) || matches(pattern, name)
	}) && anyOf(f.labels, func(pattern string) bool {
		key, value, hasValue := strings.Cut(pattern, "=")
		for k, v := range info.Labels {
			if matches(key, k) && (!hasValue || matches(value, v)) {
				return true
			}
		}
		return false
	})
}

func anyOf(patterns []string, match func(string) bool) bool {
	return len(patterns) == 0 || slices.ContainsFunc(patterns, match)
}

func matches(pattern, s string) bool {
	ok, _ := path.Match(pattern, s) // NewFilter has seen the pattern
	return ok
}
