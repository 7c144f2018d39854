package patch

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/settings"
)

const serviceSection = "Service"

// Systemd grants the processes of a unit of systemd what they need and nothing else. text is a unit, a drop-in for a
// unit, or empty. ambient has the capabilities that the unit gives to processes of users other than root, as far as
// they are not in text. The error is the reason why the file cannot be changed safely.
func Systemd(text []byte, needs, ambient capability.Set) ([]byte, error) {
	lines := unitLines(text)
	own, err := ambientIn(lines)
	if err != nil {
		return nil, err
	}
	newline := "\n"
	if bytes.Contains(text, []byte("\r\n")) {
		newline = "\r\n"
	}
	wanted := settings.DropIn(needs, ambient.Union(own))
	reset := settings.AmbientSetKey + "="
	if slices.Contains(grantsOfService(lines), reset) && !slices.Contains(wanted, reset) {
		wanted = append(wanted, reset) // the unit may have an ambient set that this file removes
	}
	if slices.Equal(grantsOfService(lines), wanted) {
		return text, nil
	}
	var edits []edit
	insertAt := -1
	for _, line := range lines {
		if line.section != serviceSection {
			continue
		}
		if insertAt < 0 {
			insertAt = line.end // after the head of the section
		}
		if line.grantsToService() {
			edits = append(edits, edit{line.start, line.end, ""})
		}
	}
	added := strings.Join(wanted, newline) + newline
	switch {
	case insertAt >= 0:
		added = afterLine(text, insertAt, added, newline)
	case hasOtherUnit(lines):
		return nil, errors.New("it has no section [Service]")
	default:
		insertAt = len(text)
		added = "[" + serviceSection + "]" + newline + added
		if insertAt > 0 {
			added = afterLine(text, insertAt, newline+added, newline)
		}
	}
	edits = append(edits, edit{insertAt, insertAt, added})
	after := apply(text, edits)
	if !slices.Equal(otherThanGrants(after), otherThanGrants(text)) || !slices.Equal(grantsOfService(unitLines(after)), wanted) {
		return nil, errUnsafe
	}
	return after, nil
}

// grantsToService reports whether a setting grants capabilities to the processes of a service.
func (l unitLine) grantsToService() bool {
	return l.section == serviceSection && (l.key == settings.BoundingSetKey || l.key == settings.AmbientSetKey)
}

// grantsOfService returns the settings that grant capabilities, in the form of [settings.DropIn].
func grantsOfService(lines []unitLine) (all []string) {
	for _, line := range lines {
		if line.grantsToService() {
			all = append(all, line.key+"="+line.value)
		}
	}
	return all
}

// otherThanGrants returns the other settings of a unit.
func otherThanGrants(text []byte) (all []string) {
	for _, line := range unitLines(text) {
		if !line.grantsToService() && line.key != "" {
			all = append(all, line.section+"\n"+line.key+"="+line.value)
		}
	}
	return all
}

// ambientIn returns the ambient set of a unit.
func ambientIn(lines []unitLine) (set capability.Set, err error) {
	for _, line := range lines {
		if line.section != serviceSection || line.key != settings.AmbientSetKey {
			continue
		}
		if line.value == "" {
			set = 0
		}
		for _, name := range strings.Fields(line.value) {
			c, err := capability.Parse(name)
			if err != nil {
				return 0, fmt.Errorf("line %d: %s= has %q, which is not the name of a capability: write the names of the capabilities first", line.number, line.key, name)
			}
			set = set.With(c)
		}
	}
	return set, nil
}

// hasOtherUnit reports whether a file has a section of a unit that is not a service.
func hasOtherUnit(lines []unitLine) bool {
	return slices.ContainsFunc(lines, func(line unitLine) bool {
		return line.section != "" && !slices.Contains([]string{"Unit", "Install", serviceSection}, line.section) && !strings.HasPrefix(line.section, "X-")
	})
}
