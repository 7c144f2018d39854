package container

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/distribution/reference"
)

// Filter selects containers. The zero value selects all.
type Filter struct {
	names, images []string
	labels        []labelPattern
}

type labelPattern struct {
	key, value string
	hasValue   bool
}

// NewFilter makes a filter of patterns, in which as in path.Match * and ? stand
// for anything but a slash, and [...] for one of some characters:
//
//   - names: the whole name or ID, or at least the first 12 digits of the ID;
//   - images: nginx:1.27 or, for any tag, nginx; with or without docker.io/library;
//   - labels: KEY, with any value, or KEY=VALUE.
//
// A container must match one of each kind that is given. A malformed pattern is
// an error.
func NewFilter(names, images, labels []string) (Filter, error) {
	f := Filter{names: names, images: images}
	patterns := slices.Concat(names, images)
	for _, label := range labels {
		key, value, hasValue := strings.Cut(label, "=")
		f.labels = append(f.labels, labelPattern{key, value, hasValue})
		patterns = append(patterns, key, value)
	}
	for _, pattern := range patterns {
		if _, err := path.Match(pattern, ""); err != nil {
			return Filter{}, fmt.Errorf("pattern %q: %w: a [ needs its ], or a backslash before it", pattern, err)
		}
	}
	return f, nil
}

// Match reports whether the filter selects a container. No pattern matches a value that is
// [LeftOut].
func (f Filter) Match(info Info) bool { return f.match(info, false) }

// MayMatch is Match, but any pattern matches a value that is [LeftOut].
func (f Filter) MayMatch(info Info) bool { return f.match(info, true) }

func (f Filter) match(info Info, leftOut bool) bool {
	return anyOf(f.names, func(pattern string) bool {
		return matches(pattern, info.Name) || matches(pattern, info.ID) || matches(pattern, ShortID(info.ID)) ||
			len(pattern) >= shortLen && strings.HasPrefix(info.ID, pattern)
	}) && anyOf(f.images, func(pattern string) bool {
		return slices.ContainsFunc(spellings(info.Image), func(image string) bool { return matches(pattern, image) })
	}) && anyOf(f.labels, func(pattern labelPattern) bool {
		for key, value := range info.Labels {
			if matches(pattern.key, key) && pattern.matchesValue(value, leftOut) {
				return true
			}
		}
		return false
	})
}

// matchesValue reports whether the pattern matches a value. leftOut is the answer if that was
// left out.
func (p labelPattern) matchesValue(value string, leftOut bool) bool {
	switch {
	case !p.hasValue:
		return true
	case value == LeftOut:
		return leftOut
	}
	return matches(p.value, value)
}

// spellings are the ways to write an image's name, short or in full, with its tag
// or digest or without.
func spellings(image string) []string {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return []string{image}
	}
	return []string{image, reference.FamiliarName(named), named.Name(), named.String()}
}

func anyOf[T any](patterns []T, match func(T) bool) bool {
	return len(patterns) == 0 || slices.ContainsFunc(patterns, match)
}

func matches(pattern, s string) bool {
	ok, _ := path.Match(pattern, s) // NewFilter has seen the pattern
	return ok
}
