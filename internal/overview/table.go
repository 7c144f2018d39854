package overview

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/printable"
	"github.com/capmon/capmon/internal/shell"
)

// Options are the options of [Table].
type Options struct {
	// Width is the number of columns of the terminal; 0 for no limit.
	Width int
	// Color colors the status. Set it only for terminals.
	Color bool
}

const (
	gap = "  "
	// minName is the smallest width to which Table shortens the names of containers and images.
	minName = 12
	// widest is the largest width of the unused capabilities if the width has no limit. Longer lists exceed it.
	widest = 140
)

// Table returns the overview as lines: the totals, the heading and a line for each row. A line is at most as wide as
// the terminal, unless the terminal is too narrow for the numbers. Table shortens the lists of unused capabilities, and
// then the names: they have a … in place of what it left out.
func Table(o Overview, options Options) string {
	var page strings.Builder
	page.WriteString(o.Totals.text() + "\n")
	if len(o.Rows) == 0 {
		return page.String()
	}
	page.WriteString("\n")
	lines := [][]string{{"STATUS", "CONTAINER", "IMAGE", "GRANTED", "USED", "UNUSED", "OBSERVED"}}
	for _, row := range o.Rows {
		lines = append(lines, row.cells())
	}
	widths := fit(lines, options.Width)
	limit := widths[unusedColumn]
	if options.Width == 0 {
		limit, widths[unusedColumn] = 0, min(limit, widest)
	}
	for i, cells := range lines {
		if i > 0 {
			cells[unusedColumn] = unusedText(o.Rows[i-1], limit)
		}
		line := layOut(cells, widths)
		if i > 0 && options.Color {
			line = colorOf(o.Rows[i-1].Status).Sprint(line[:widths[0]]) + line[widths[0]:]
		}
		page.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	page.WriteString(legend(o.Rows))
	return page.String()
}

// legend explains the signs that occur in the rows.
func legend(rows []Row) string {
	var signs []string
	if slices.ContainsFunc(rows, func(r Row) bool { return r.Runs > 0 && r.CertainlyUnused() != r.Unused }) {
		signs = append(signs, "UNUSED with ?: perhaps unused: capmon did not observe enough to be certain")
	}
	if slices.ContainsFunc(rows, func(r Row) bool { return r.Runs > 0 && !r.Unsure.Empty() }) {
		signs = append(signs, "USED with ?: perhaps not needed, which only capmon verify can find out")
	}
	if slices.ContainsFunc(rows, func(r Row) bool { return len(r.Members) > 1 }) {
		signs = append(signs, "(+N): N more replicas with the same grants, which --details lists",
			"OBSERVED of replicas: the shortest time")
	}
	if len(signs) == 0 {
		return ""
	}
	return "\n" + strings.Join(signs, "\n") + "\n"
}

// Columns of the table.
const (
	containerColumn = 1
	imageColumn     = 2
	unusedColumn    = 5
)

func (r Row) cells() []string {
	return []string{
		strings.ToUpper(string(r.Status)), r.name(), printable.Text(r.Image), r.GrantedText(), r.UsedText(), unusedText(r, 0), r.ObservedText(),
	}
}

// name returns the title, with the number of containers if there are several.
func (r Row) name() string {
	if n := len(r.Members); n > 1 {
		return fmt.Sprintf("%s (+%d)", printable.Text(r.Title), n-1)
	}
	return printable.Text(r.Title)
}

// GrantedText returns the number of granted capabilities: all 41 if the container is privileged, ? if it is not known.
func (r Row) GrantedText() string {
	switch {
	case r.Granted == nil:
		return "?"
	case r.Privileged:
		return fmt.Sprintf("all %d", r.Granted.Len())
	}
	return fmt.Sprint(r.Granted.Len())
}

// UsedText returns the number of used capabilities, and with a question mark how many of them the container may not
// need. It returns - if capmon never observed the container.
func (r Row) UsedText() string {
	if r.Runs == 0 {
		return "-"
	}
	return numberText(r.Used.Minus(r.Unsure), r.Used.Intersect(r.Unsure))
}

// unusedText returns the number of unused capabilities and the names that fit in the width, the gravest first. With a
// width of 0, all names fit.
func unusedText(r Row, width int) string {
	if r.Runs == 0 || r.Granted == nil {
		return "-"
	}
	s := r.UnusedNumber()
	names := Gravest(r.Unused)
	for i, c := range names {
		separator, rest := ", ", ""
		if i == 0 {
			separator = " "
		}
		if left := len(names) - i - 1; left > 0 {
			rest = fmt.Sprintf(" +%d", left)
		}
		if width > 0 && len(s)+len(separator)+len(c.String())+len(rest) > width {
			if i > 0 {
				s += fmt.Sprintf(" +%d", len(names)-i)
			}
			break
		}
		s += separator + c.String()
	}
	return s
}

// UnusedNumber returns how many capabilities are unused, and with a question mark how many of them capmon only did not
// see in use.
func (r Row) UnusedNumber() string {
	certain := r.CertainlyUnused()
	return numberText(certain, r.Unused.Minus(certain))
}

// numberText returns the sizes of two sets: 12, 12? or 4 + 8?.
func numberText(certain, doubtful capability.Set) string {
	switch {
	case doubtful.Empty():
		return fmt.Sprint(certain.Len())
	case certain.Empty():
		return fmt.Sprintf("%d?", doubtful.Len())
	default:
		return fmt.Sprintf("%d + %d?", certain.Len(), doubtful.Len())
	}
}

// Gravest returns the capabilities of a set: the risky ones, the most powerful first, then NET_RAW, which CIS 5.4
// names, and then the others.
func Gravest(set capability.Set) []capability.Capability {
	var all []capability.Capability
	for _, c := range append(capability.RiskyOrder(), capability.NetRaw) {
		if set.Has(c) {
			all = append(all, c)
		}
	}
	return append(all, set.Minus(capability.Of(all...)).Sorted()...)
}

// ObservedText returns how long capmon observed the container, or never.
func (r Row) ObservedText() string {
	if r.Runs == 0 {
		return "never"
	}
	return Duration(r.Observed)
}

// Duration returns a duration with its two largest units, such as 1h5m.
func Duration(d time.Duration) string {
	units := func(large int, one string, small int, other string) string {
		if small == 0 {
			return fmt.Sprintf("%d%s", large, one)
		}
		return fmt.Sprintf("%d%s%d%s", large, one, small, other)
	}
	switch seconds := int(d.Seconds()); {
	case d < time.Millisecond:
		return "<1ms"
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%ds", seconds)
	case d < time.Hour:
		return units(seconds/60, "m", seconds%60, "s")
	case d < 24*time.Hour:
		return units(seconds/3600, "h", seconds/60%60, "m")
	default:
		return units(seconds/86400, "d", seconds/3600%24, "h")
	}
}

// fit returns the widths of the columns so that a line fits in width.
func fit(lines [][]string, width int) []int {
	widths := make([]int, len(lines[0]))
	total := len(gap) * (len(widths) - 1)
	for i := range widths {
		for _, cells := range lines {
			widths[i] = max(widths[i], text.StringWidth(cells[i]))
		}
		total += widths[i]
	}
	if width == 0 {
		return widths
	}
	shorten := func(column, least int) {
		cut := min(max(total-width, 0), max(widths[column]-least, 0))
		widths[column] -= cut
		total -= cut
	}
	shorten(unusedColumn, len("UNUSED NET_RAW +40"))
	shorten(imageColumn, 2*minName)
	shorten(containerColumn, 2*minName)
	shorten(imageColumn, minName)
	shorten(containerColumn, minName)
	shorten(unusedColumn, len("UNUSED"))
	return widths
}

// layOut joins the cells of a line. It shortens names that are wider than their columns.
func layOut(cells []string, widths []int) string {
	var line strings.Builder
	for i, cell := range cells {
		switch i {
		case containerColumn:
			cell = shortenEnd(cell, widths[i])
		case imageColumn:
			cell = shortenStart(cell, widths[i])
		}
		if i > 0 {
			line.WriteString(gap)
		}
		line.WriteString(text.Pad(cell, widths[i], ' '))
	}
	return line.String()
}

// shortenEnd removes the end of a text that is wider than width.
func shortenEnd(s string, width int) string { return text.Snip(s, width, "…") }

// shortenStart removes the start of a text that is wider than width: the end of an image's name says most.
func shortenStart(s string, width int) string {
	if text.StringWidth(s) <= width {
		return s
	}
	start, left := len(s), width-1 // for the …
	for start > 0 {
		r, size := utf8.DecodeLastRuneInString(s[:start])
		if left -= text.RuneWidth(r); left < 0 {
			break
		}
		start -= size
	}
	return "…" + s[start:]
}

func colorOf(s Status) text.Color {
	switch s {
	case Fail, Unused:
		return text.FgRed
	case Manual, Unsure, Waived:
		return text.FgYellow
	}
	return text.FgGreen
}

// Counts returns a line with the number of containers and the number of each status.
func (t Totals) Counts() string {
	s := count(t.Containers, "container", "containers")
	separator := ": "
	for _, status := range []Status{Fail, Manual, Waived, Pass, Unused, Unsure, Fits, Proved} {
		if n := t.Status[status]; n > 0 {
			s += fmt.Sprintf("%s%d %s", separator, n, status)
			separator = ", "
		}
	}
	return s
}

// text returns the totals as lines.
func (t Totals) text() string {
	s := t.Counts()
	if t.Containers == 0 {
		return s
	}
	s += fmt.Sprintf("\nCapabilities: %d granted", t.Granted)
	if t.Observed > 0 {
		s += fmt.Sprintf(", %d used, %d unused", t.Used, t.Unused)
	}
	if t.Unseen > 0 {
		s += fmt.Sprintf(", %d perhaps unused", t.Unseen)
	}
	var grave []string
	if t.Privileged > 0 {
		grave = append(grave, fmt.Sprintf("Privileged: %d", t.Privileged))
	}
	if t.NetRawUnused > 0 {
		grave = append(grave, fmt.Sprintf("NET_RAW unused: %d", t.NetRawUnused))
	}
	if len(grave) > 0 {
		s += "\n" + strings.Join(grave, ", ")
	}
	return s
}

// adviseOn is the number of containers that [Advice] names.
const adviseOn = 3

// Advice returns which containers to start with, why, and the commands that print their details and all details.
//
// command is the command of the overview, as words. If it is empty, Advice returns no commands. option is the option of
// the command that selects a container. It is empty if the name alone selects it. Advice breaks sentences, but not
// commands, at the width of the terminal; 0 for no limit.
func Advice(o Overview, command []string, option string, width int) string {
	var s strings.Builder
	for i, row := range o.Rows[:min(len(o.Rows), adviseOn)] {
		if !row.Grave() {
			break
		}
		first := "Start with"
		if i > 0 {
			first = "Then"
		}
		sentence := fmt.Sprintf("%s %s: %s.", first, printable.Text(row.Title), row.Why())
		if width <= 0 {
			width = len(sentence)
		}
		for line := range strings.SplitSeq(text.WrapSoft(sentence, width), "\n") {
			s.WriteString(strings.TrimRight(line, " ") + "\n")
		}
		if len(command) > 0 {
			words := slices.Clone(command)
			if option != "" {
				words = append(words, option)
			}
			fmt.Fprintf(&s, "  %s\n", shell.Line(append(words, row.Selector)))
		}
	}
	if len(command) > 0 {
		fmt.Fprintf(&s, "All details:\n  %s\n", shell.Line(append(slices.Clone(command), "--details")))
	}
	return s.String()
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
