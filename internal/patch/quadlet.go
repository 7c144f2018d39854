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

// unitLine is a setting of a unit, including its continuation lines.
type unitLine struct {
	start, end int // bytes, with the newline
	number     int
	section    string
	key, value string // both empty for a comment or the head of a section
}

// Quadlet grants the container of a podman quadlet what it needs and nothing else. The error is the reason why the file
// cannot be changed safely.
func Quadlet(text []byte, needs capability.Set) ([]byte, error) {
	lines := unitLines(text)
	wanted := make(map[string]string) // by key
	for _, line := range settings.QuadletLines(needs) {
		key, value, _ := strings.Cut(line, "=")
		wanted[key] = value
	}
	newline := "\n"
	if bytes.Contains(text, []byte("\r\n")) {
		newline = "\r\n"
	}
	var edits []edit
	insertAt := -1 // offset of missing settings
	preferred := false
	kept := make(map[string]bool)
	for _, line := range lines {
		if line.section != "Container" {
			continue
		}
		switch line.key {
		case "DropCapability", "AddCapability":
			value, ok := wanted[line.key]
			switch {
			case !ok || kept[line.key]:
				edits = append(edits, edit{line.start, line.end, ""})
			case !sameWords(line.value, value):
				edits = append(edits, edit{line.start, line.end, line.key + "=" + value + ending(text, line, newline)})
			}
			kept[line.key] = true
		case "PodmanArgs":
			if err := checkPodmanArgs(line); err != nil {
				return nil, err
			}
		}
		if insertAt < 0 || line.key == "Image" && !preferred {
			insertAt, preferred = line.end, line.key == "Image"
		}
	}
	if insertAt < 0 {
		return nil, errors.New("it has no section [Container]")
	}
	var missing strings.Builder
	for _, key := range []string{"DropCapability", "AddCapability"} {
		if value, ok := wanted[key]; ok && !kept[key] {
			missing.WriteString(key + "=" + value + newline)
		}
	}
	if missing.Len() > 0 {
		edits = append(edits, edit{insertAt, insertAt, afterLine(text, insertAt, missing.String(), newline)})
	}
	after := apply(text, edits)
	if !slices.Equal(otherSettings(after), otherSettings(text)) || !slices.Equal(grantedIn(after), settings.QuadletLines(needs)) {
		return nil, errUnsafe
	}
	return after, nil
}

// otherSettings returns a unit's settings without those that grant capabilities.
func otherSettings(text []byte) []string {
	var all []string
	for _, line := range unitLines(text) {
		if !line.grants() && line.key != "" {
			all = append(all, line.section+"\n"+line.key+"="+line.value)
		}
	}
	return all
}

// grantedIn returns the settings that grant capabilities, in the form of [settings.QuadletLines].
func grantedIn(text []byte) []string {
	lists := make(map[string][]string)
	for _, line := range unitLines(text) {
		if line.grants() {
			lists[line.key] = append(lists[line.key], strings.Fields(strings.ToUpper(line.value))...)
		}
	}
	var needs capability.Set
	for _, name := range lists["AddCapability"] {
		c, err := capability.Parse(name)
		if err != nil {
			return nil
		}
		needs = needs.With(c)
	}
	if !slices.Equal(lists["DropCapability"], []string{"ALL"}) {
		return nil
	}
	return settings.QuadletLines(needs)
}

func (l unitLine) grants() bool {
	return l.section == "Container" && (l.key == "DropCapability" || l.key == "AddCapability")
}

// ending returns the line end of a line. It is empty at the end of some files.
func ending(text []byte, line unitLine, newline string) string {
	if bytes.HasSuffix(text[:line.end], []byte("\n")) {
		return newline
	}
	return ""
}

func afterLine(text []byte, insertAt int, lines, newline string) string {
	if insertAt > 0 && text[insertAt-1] != '\n' {
		return newline + strings.TrimSuffix(lines, newline)
	}
	return lines
}

// sameWords compares lists as podman does: without regard to case, order and CAP_.
func sameWords(one, other string) bool {
	set := func(s string) map[string]bool {
		words := make(map[string]bool)
		for _, word := range strings.Fields(strings.ToUpper(s)) {
			words[strings.TrimPrefix(word, "CAP_")] = true
		}
		return words
	}
	a, b := set(one), set(other)
	if len(a) != len(b) {
		return false
	}
	for word := range a {
		if !b[word] {
			return false
		}
	}
	return true
}

// checkPodmanArgs returns an error if additional options for podman grant or drop anything.
func checkPodmanArgs(line unitLine) error {
	for _, option := range []string{"--privileged", "--cap-add", "--cap-drop"} {
		if strings.Contains(line.value, option) {
			return fmt.Errorf("line %d: PodmanArgs= has %s, which podman adds to the other settings: remove it first, then profile again", line.number, option)
		}
	}
	return nil
}

// unitLines reads a unit as described in systemd.syntax(7): a line that ends in a backslash continues on the next line
// that is not a comment.
func unitLines(text []byte) []unitLine {
	var lines []unitLine
	section, number := "", 0
	for at := 0; at < len(text); {
		line := unitLine{start: at, number: number + 1, section: section}
		var logical string
		for at < len(text) {
			raw := text[at:]
			if i := bytes.IndexByte(raw, '\n'); i >= 0 {
				raw = raw[:i+1]
			}
			at += len(raw)
			number++
			part := strings.TrimSpace(string(raw))
			if isUnitComment(part) {
				if logical == "" {
					break
				}
				continue
			}
			more, ok := strings.CutSuffix(part, `\`)
			logical += more + " "
			if !ok {
				break
			}
		}
		line.end = at
		logical = strings.TrimSpace(logical)
		if strings.HasPrefix(logical, "[") && strings.HasSuffix(logical, "]") {
			section = logical[1 : len(logical)-1]
			line.section = section
		} else if key, value, ok := strings.Cut(logical, "="); ok {
			line.key, line.value = strings.TrimSpace(key), strings.TrimSpace(value)
		}
		lines = append(lines, line)
	}
	return lines
}

func isUnitComment(line string) bool {
	return strings.HasPrefix(line, "#") || strings.HasPrefix(line, ";")
}
