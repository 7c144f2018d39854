package rules

import (
	"fmt"
	"strings"

	"github.com/capmon/capmon/internal/printable"
	"github.com/capmon/capmon/internal/uses"
)

// summary returns what happened, as a line that is safe for terminals and logs.
func (r *Rule) summary(m match, count uint64) string {
	text := event(m.use)
	var details []string
	switch {
	case r.Burst != nil:
		text = fmt.Sprintf("%d %s in %s; the last: %s", count, r.countedNoun(), containerText(m.use), event(m.use))
	case m.use.Open && count == m.use.Count: // event contains the number
	case count > 1:
		details = append(details, fmt.Sprintf("%d times", count))
	}
	if r.Burst == nil {
		text += " in " + containerText(m.use)
	}
	if r.Profiles != nil {
		details = append(details, "never seen in the image's profiles")
	}
	if inNestedUserns(m.use) {
		details = append(details, "in a nested user namespace")
	}
	if m.unsure != "" {
		details = append(details, "unsure: "+m.unsure)
	}
	return strings.Join(append([]string{text}, details...), ", ")
}

// countedNoun returns what a burst counts: denials or uses.
func (r *Rule) countedNoun() string {
	if r.Answer == Denied {
		return "denials"
	}
	return "uses"
}

// event returns what a process did, such as "raw socket (IPv4) opened by ping".
func event(use uses.Use) string {
	process := printable.Word(use.Process.Name())
	switch {
	case use.Open && use.Count > 1:
		return fmt.Sprintf("%d raw sockets (%s) held open by %s", use.Count, use.Family, process)
	case use.Open:
		return fmt.Sprintf("raw socket (%s) held open by %s", use.Family, process)
	case use.RawSocket && use.Granted:
		return fmt.Sprintf("raw socket (%s) opened by %s", use.Family, process)
	case use.RawSocket:
		return fmt.Sprintf("raw socket (%s) denied to %s", use.Family, process)
	case use.Granted:
		return fmt.Sprintf("%s used by %s%s", use.Capability, process, call(use))
	}
	return fmt.Sprintf("%s denied to %s%s", use.Capability, process, call(use))
}

func call(use uses.Use) string {
	if use.Call == "" {
		return ""
	}
	return " for " + printable.Text(use.Call)
}

// containerText returns the container with its image, such as "web (nginx:1.27)".
func containerText(use uses.Use) string {
	title := printable.Word(use.Container.Title())
	if use.Container.Image == "" {
		return title
	}
	return title + " (" + printable.Word(use.Container.Image) + ")"
}
