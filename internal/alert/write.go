package alert

import (
	"fmt"
	"io"
	"strings"

	"github.com/capmon/capmon/internal/printable"
	"github.com/capmon/capmon/internal/uses"
)

// colors of the severities on a terminal.
var colors = map[Severity]string{Info: "36", Warning: "33", Critical: "1;31"}

// Line returns the alert as one line of text, with colors if colored is set. The line is safe for terminals.
func (a Alert) Line(colored bool) string {
	severity := string(a.Severity)
	if color, ok := colors[a.Severity]; ok && colored {
		severity = "\x1b[" + color + "m" + severity + "\x1b[0m"
	}
	columns := []string{a.Time.Local().Format(uses.TimeForm), severity, printable.Word(a.Rule), a.Summary}
	if process := processText(a.Use.Process); process != "" {
		columns = append(columns, process)
	}
	return strings.Join(columns, "  ")
}

// processText returns what is known about a process.
func processText(p uses.Process) string {
	var parts []string
	if p.PID != 0 {
		parts = append(parts, fmt.Sprintf("pid %d", p.PID))
	}
	if p.User != nil {
		parts = append(parts, fmt.Sprintf("user %d", *p.User))
	}
	if p.Executable != "" {
		parts = append(parts, printable.Word(p.Executable))
	}
	return strings.Join(parts, " ")
}

// WriteJSON writes the alert as a line of JSON. Control characters are escaped.
func (a Alert) WriteJSON(out io.Writer) error { return printable.WriteJSON(out, a) }
