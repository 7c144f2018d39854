// Package patch puts lists of capabilities into files that exist: of Docker Compose, of
// Kubernetes and of podman's quadlets. All else in them stays as it is, to the byte.
package patch

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/capmon/capmon/internal/capability"
)

// Setting is what the service or container of that name in a file is to be granted.
type Setting struct {
	Name  string
	Needs capability.Set
	// NotRoot: its image has it run as another user than root.
	NotRoot bool
}

// MissingError says that a file has no service or container of a name.
type MissingError struct {
	Kind string // service or container
	Name string
	// There are those that it has.
	There []string
	// Included are the files that it includes, Foreign its objects of kinds that are not edited:
	// they may have what is missing.
	Included, Foreign []string
}

func (e *MissingError) Error() string {
	text := fmt.Sprintf("there is no %s %q in it, ", e.Kind, e.Name)
	if len(e.There) == 0 {
		text += "nor any other"
	} else {
		text += "but " + listed(e.There)
	}
	if len(e.Included) > 0 {
		text += fmt.Sprintf("; it includes %s: if the %s is there, patch that file", listed(e.Included), e.Kind)
	}
	if len(e.Foreign) > 0 {
		text += fmt.Sprintf("; capmon does not edit %s: write the lists there by hand", strings.Join(e.Foreign, ", "))
	}
	return text
}

// listed quotes names, in their order, each once.
func listed(names []string) string {
	names = slices.Compact(slices.Sorted(slices.Values(names)))
	for i, name := range names {
		names[i] = strconv.Quote(name)
	}
	return strings.Join(names, ", ")
}

// withoutEffect says that an added capability does not reach a process of another user than root:
// with no_new_privs, neither a file nor a set-user-ID program gives it any (cap_bprm_creds_from_file
// in security/commoncap.c).
func withoutEffect(what, option string, needs capability.Set) string {
	text := fmt.Sprintf("%s does not get %s: it does not run as root, and %s keeps it from gaining capabilities by a file or a set-user-ID program",
		what, needs.Text(), option)
	if needs.Has(capability.NetBindService) {
		text += "; to bind a low port, set the sysctl net.ipv4.ip_unprivileged_port_start, or choose a port from 1024 on"
	}
	return text
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
