package top

import (
	"fmt"
	"slices"
	"strings"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/api"
	"github.com/capmon/capmon/internal/uses"
)

// filter selects rows: a row must match all terms.
type filter []term

// term is a word of a filter: a text, or a capability in a set.
type term struct {
	text         string
	capabilities capability.Set
	setOf        func(*row) capability.Set // nil for a text
}

// field is a key of terms with a capability, such as unused in unused:NET_RAW.
type field struct {
	key   string
	setOf func(*row) capability.Set
}

var fields = []field{
	{"cap", func(r *row) capability.Set { return r.granted().Union(r.Used).Union(r.Denied) }},
	{"granted", (*row).granted},
	{"used", func(r *row) capability.Set { return r.Used }},
	{"unused", func(r *row) capability.Set { return r.Unused }},
	{"denied", func(r *row) capability.Set { return r.Denied }},
}

// parseFilter reads a filter: words that are separated by spaces. A word such as unused:NET_RAW selects by capability;
// the beginning of a name is sufficient. Any other word selects the containers whose name or image contains it, or
// whose ID begins with it.
func parseFilter(s string) (filter, error) {
	var f filter
	for _, word := range strings.Fields(s) {
		key, name, ok := strings.Cut(word, ":")
		at := slices.IndexFunc(fields, func(f field) bool { return f.key == strings.ToLower(key) })
		if !ok || at < 0 { // names of images have colons as well
			f = append(f, term{text: strings.ToLower(word)})
			continue
		}
		named := beginningWith(name)
		if named.Empty() {
			return nil, fmt.Errorf("no capability begins with %q: use a name such as %s:NET_RAW", name, strings.ToLower(key))
		}
		f = append(f, term{capabilities: named, setOf: fields[at].setOf})
	}
	return f, nil
}

// beginningWith returns the capability with this name or, if there is none, the capabilities whose names begin with it.
func beginningWith(prefix string) (set capability.Set) {
	if c, err := capability.Parse(prefix); err == nil {
		return capability.Of(c)
	}
	prefix = strings.TrimPrefix(strings.ToUpper(prefix), "CAP_")
	for c := capability.Capability(0); c.Named(); c++ {
		if strings.HasPrefix(c.String(), prefix) {
			set = set.With(c)
		}
	}
	return set
}

func (f filter) matches(r *row) bool {
	return !slices.ContainsFunc(f, func(t term) bool { return !t.matches(r) })
}

// mayMatch reports whether the filter may match a container whose capabilities are not known.
func (f filter) mayMatch(c uses.ContainerRef) bool {
	r := &row{Container: api.Container{ID: c.ID, Title: c.Title(), Image: c.Image}}
	return !slices.ContainsFunc(f, func(t term) bool { return t.setOf == nil && !t.matches(r) })
}

func (t term) matches(r *row) bool {
	if t.setOf != nil {
		return !t.setOf(r).Intersect(t.capabilities).Empty()
	}
	return strings.Contains(strings.ToLower(r.Title), t.text) || strings.Contains(strings.ToLower(r.Image), t.text) ||
		strings.HasPrefix(r.ID, t.text)
}
