// Package patch puts lists of capabilities into files that exist: of Docker Compose, of
// Kubernetes and of podman's quadlets. All else in them stays as it is, to the byte.
package patch

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/capmon/capmon/internal/capability"
)

// Setting is what the service or container of that name in a file is to be granted.
type Setting struct {
	Name  string
	Needs capability.Set
}

// MissingError says that a file has no service or container of a name.
type MissingError struct {
	Kind string // service or container
	Name string
	// There are those that it has.
	There []string
}

func (e *MissingError) Error() string {
	if len(e.There) == 0 {
		return fmt.Sprintf("there is no %s %q in it, nor any other", e.Kind, e.Name)
	}
	there := slices.Compact(slices.Sorted(slices.Values(e.There)))
	for i, name := range there {
		there[i] = fmt.Sprintf("%q", name)
	}
	return fmt.Sprintf("there is no %s %q in it, but %s", e.Kind, e.Name, strings.Join(there, ", "))
}

// errUnusual: what was changed is not what was to be, and no more.
var errUnusual = errors.New("its form is too unusual to be edited without a change of something else: do it by hand")

// edit replaces the bytes from start up to end.
type edit struct {
	start, end int
	text       string
}

// apply makes edits, which do not overlap. Of those that insert at one place the first
// comes first, and before one that replaces what is there.
func apply(text []byte, edits []edit) []byte {
	slices.SortStableFunc(edits, func(one, other edit) int {
		return cmp.Or(one.start-other.start, one.end-other.end)
	})
	var out []byte
	at := 0
	for _, e := range edits {
		out = append(append(out, text[at:e.start]...), e.text...)
		at = e.end
	}
	return append(out, text[at:]...)
}
