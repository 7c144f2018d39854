// Package patch writes lists of capabilities into existing files: compose files, Kubernetes manifests, podman
// quadlets and units of systemd. Every other byte of the files stays the same.
package patch

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/capmon/capmon/capability"
)

// Setting has the needs of a service or container of a file.
type Setting struct {
	Name  string
	Needs capability.Set
	// Ambient is the ambient set that a unit of systemd gives its processes.
	Ambient capability.Set
	// NotRoot: the image runs as a user other than root.
	NotRoot bool
}

// MissingError reports that a file has no service or container with a name.
type MissingError struct {
	Kind string // service or container
	Name string
	// Existing are the names of the services or containers that the file has.
	Existing []string
	// Included are the files that the file includes. Unsupported are its objects of kinds that capmon does not edit.
	// Both may have the missing name.
	Included, Unsupported []string
}

func (e *MissingError) Error() string {
	text := fmt.Sprintf("it has no %s %q", e.Kind, e.Name)
	if len(e.Existing) == 0 {
		text += ", and no other"
	} else {
		text += ", but " + listed(e.Existing)
	}
	if len(e.Included) > 0 {
		text += fmt.Sprintf("; it includes %s: if one of them has the %s, patch that file", listed(e.Included), e.Kind)
	}
	if len(e.Unsupported) > 0 {
		text += fmt.Sprintf("; capmon does not edit %s: write the lists into them by hand", strings.Join(e.Unsupported, ", "))
	}
	return text
}

// listed quotes names, sorted and each once.
func listed(names []string) string {
	names = slices.Compact(slices.Sorted(slices.Values(names)))
	for i, name := range names {
		names[i] = strconv.Quote(name)
	}
	return strings.Join(names, ", ")
}

// withoutEffect describes that an added capability does not reach a process of a user other than root: with
// no_new_privs, the process gains no capability from a file or a set-user-ID program (cap_bprm_creds_from_file in
// security/commoncap.c).
func withoutEffect(what, option string, needs capability.Set) string {
	text := fmt.Sprintf("%s does not get %s: it does not run as root, and %s prevents it from gaining capabilities through a file or a set-user-ID program",
		what, needs.Text(), option)
	if needs.Has(capability.NetBindService) {
		text += "; to bind a low port, set the sysctl net.ipv4.ip_unprivileged_port_start, or use a port of at least 1024"
	}
	return text
}

// errUnsafe: the edited file would differ from the original in more than the lists.
var errUnsafe = errors.New("it has an unusual form, and capmon cannot edit it without changing something else: edit it by hand")

// edit replaces the bytes from start up to end.
type edit struct {
	start, end int
	text       string
}

// apply applies edits, which do not overlap. Insertions at the same place stay in their order, and come before a
// replacement at that place.
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
