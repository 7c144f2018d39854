package rules

import (
	"fmt"
	"strings"

	"github.com/capmon/capmon/internal/printable"
	"github.com/capmon/capmon/internal/uses"
)

// summary says what has happened, in a line that is safe for terminals and logs.
func (r *Rule) summary(s sighting, count uint64) string {
	text := event(s.use)
	var notes []string
	switch {
	case r.Burst != nil:
		text = fmt.Sprintf("%d times in %s; the last: %s", count, where(s.use), event(s.use))
	case s.use.Open && count == s.use.Count: // the event tells
	case count > 1:
		notes = append(notes, fmt.Sprintf("%d times", count))
	}
	if r.Burst == nil {
		text += " in " + where(s.use)
	}
	if r.Profiles != nil {
		notes = append(notes, "never seen in the image's profiles")
	}
	if inNestedUserns(s.use) {
		notes = append(notes, "in a user namespace of its own")
	}
	if s.unsure != "" {
		notes = append(notes, "unsure: "+s.unsure)
	}
	return strings.Join(append([]string{text}, notes...), ", ")
}

// event is what a process did: raw socket (IPv4) opened by ping.
func event(use uses.Use) string {
	who := printable.Word(use.Process.Name())
	switch {
	case use.Open && use.Count > 1:
		return fmt.Sprintf("%d raw sockets (%s) held open by %s", use.Count, use.Family, who)
	case use.Open:
		return fmt.Sprintf("raw socket (%s) held open by %s", use.Family, who)
	case use.RawSocket && use.Granted:
		return fmt.Sprintf("raw socket (%s) opened by %s", use.Family, who)
	case use.RawSocket:
		return fmt.Sprintf("raw socket (%s) denied to %s", use.Family, who)
	case use.Granted:
		return fmt.Sprintf("%s used by %s%s", use.Capability, who, call(use))
	}
	return fmt.Sprintf("%s denied to %s%s", use.Capability, who, call(use))
}

func call(use uses.Use) string {
	if use.Call == "" {
		return ""
	}
	return " for " + printable.Text(use.Call)
}

// where it was: web (nginx:1.27).
func where(use uses.Use) string {
	title := printable.Word(use.Container.Title())
	if use.Container.Image == "" {
		return title
	}
	return title + " (" + printable.Word(use.Container.Image) + ")"
}
