package uses

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/containerid"
	"github.com/capmon/capmon/internal/printable"
)

// TimeForm is the layout of the time of a use, which is shown in local time.
const TimeForm = "2006-01-02 15:04:05.000"

// sinceForm is the layout of the time of the previous use.
const sinceForm = "15:04:05"

// Line returns a use as one line for people, with colors or without. Text that others chose is safe for a terminal, and
// cannot be mistaken for another part of the line.
func (u Use) Line(colors bool) string {
	paint := func(color, text string) string {
		if !colors {
			return text
		}
		return "\x1b[" + color + "m" + text + "\x1b[0m"
	}
	outcome := paint("32", "granted")
	switch {
	case u.Open:
		outcome = paint("32", "already open")
	case !u.Granted:
		outcome = paint("31", "denied")
	}
	if !u.Open && u.Class != classify.Required && u.Class != classify.Denied {
		outcome += " (" + string(u.Class) + ")"
	}
	columns := []string{
		u.Time.Local().Format(TimeForm),
		paint("1", printable.Word(u.Container.Title())),
		printable.Word(cmp.Or(u.Container.Image, "-")),
		paint("1", u.Capability.String()),
		outcome,
	}
	if u.RawSocket {
		columns = append(columns, paint("33", "raw socket ("+string(u.Family)+")"))
	}
	if !u.Open { // the system call is not known
		columns = append(columns, u.callText())
	}
	columns = append(columns, u.processText())
	if notes := u.noteText(); notes != "" {
		columns = append(columns, "("+notes+")")
	}
	return strings.Join(columns, "  ")
}

// Title returns the name of the container for people: its own, or else its short ID. It may contain any bytes.
func (c ContainerRef) Title() string {
	if c.Unconfirmed != "" && !strings.HasPrefix(c.ID, containerid.UnknownPrefix) {
		return containerid.Short(c.ID) + "-unconfirmed"
	}
	return cmp.Or(c.Name, containerid.Short(c.ID), "?")
}

// callText returns the system call and the call site.
func (u Use) callText() string {
	what := cmp.Or(u.Call, "no system call")
	if u.Site != "" {
		what += " in " + u.Site
	}
	return printable.Text(what)
}

// processText returns the process: by ping pid 4711 (12 inside) user 0 /bin/busybox ← sh.
func (u Use) processText() string {
	p := u.Process
	who := "by " + printable.Word(p.Name())
	if p.PID != 0 {
		who += fmt.Sprintf(" pid %d", p.PID)
	}
	if p.InnerPID != 0 && p.InnerPID != p.PID {
		who += fmt.Sprintf(" (%d inside)", p.InnerPID)
	}
	if p.User != nil {
		who += fmt.Sprintf(" user %d", *p.User)
	}
	if p.Executable != "" {
		who += " " + printable.Word(p.Executable)
	}
	for _, parent := range p.Parents {
		who += " ← " + printable.Word(parent.Program)
	}
	if p.MoreParents {
		who += " ← …"
	}
	return who
}

func (u Use) noteText() string {
	var notes []string
	switch more := u.Count - min(u.Count, 1); {
	case more > 0 && !u.Since.IsZero():
		notes = append(notes, fmt.Sprintf("%d more since %s", more, u.Since.Local().Format(sinceForm)))
	case more > 0:
		notes = append(notes, fmt.Sprintf("%d more", more))
	case !u.First:
		notes = append(notes, "repeated, previous use at "+u.Since.Local().Format(sinceForm))
	}
	if u.Late {
		notes = append(notes, "late: found later, with fewer details of the process")
	}
	if u.Nested {
		notes = append(notes, "in a nested user namespace")
	}
	if u.Unsure != "" {
		notes = append(notes, "unsure: "+printable.Text(u.Unsure))
	}
	return strings.Join(notes, "; ")
}

// WriteJSON writes a use as a line of JSON. Characters that can control a terminal are escaped.
func (u Use) WriteJSON(out io.Writer) error { return printable.WriteJSON(out, u) }
