package container

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/capmon/capmon/internal/containerid"
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

// NewFilter returns a filter with patterns. As in path.Match, * and ? match anything but a slash, and [...] matches one
// of some characters:
//
//   - names: the whole name; without wildcards, also the whole ID or at least its first 12 digits. IDs are random, so
//     wildcards would match some of them by chance;
//   - images: nginx:1.27 or, for any tag, nginx; with or without docker.io/library;
//   - labels: KEY, with any value, or KEY=VALUE.
//
// A container must match one pattern of each kind that has patterns. A malformed pattern is an error.
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
			return Filter{}, fmt.Errorf("pattern %q: %w: a [ needs a closing ], or a backslash before it", pattern, err)
		}
	}
	return f, nil
}

// Match reports whether the filter selects a container. No pattern matches a value that is [Redacted].
func (f Filter) Match(info Info) bool { return f.match(info, false) }

// MayMatch is like Match, but any pattern matches a value that is [Redacted].
func (f Filter) MayMatch(info Info) bool { return f.match(info, true) }

func (f Filter) match(info Info, redacted bool) bool {
	return anyOf(f.names, func(pattern string) bool {
		return matches(pattern, info.Name) || containerid.Denotes(pattern, info.ID) // no ID contains a wildcard
	}) && anyOf(f.images, func(pattern string) bool {
		return slices.ContainsFunc(spellings(info.Image), func(image string) bool { return matches(pattern, image) })
	}) && anyOf(f.labels, func(pattern labelPattern) bool {
		for key, value := range info.Labels {
			if matches(pattern.key, key) && pattern.matchesValue(value, redacted) {
				return true
			}
		}
		return false
	})
}

// matchesValue reports whether the pattern matches a value. redacted is the answer for a value that is [Redacted].
func (p labelPattern) matchesValue(value string, redacted bool) bool {
	switch {
	case !p.hasValue:
		return true
	case value == Redacted:
		return redacted
	}
	return matches(p.value, value)
}

// spellings returns the forms of an image's name: short or in full, with its tag or digest or without.
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
	ok, _ := path.Match(pattern, s) // NewFilter has validated the pattern
	return ok
}
