package alert

import (
	"fmt"
	"io"
	"strings"

	"github.com/capmon/capmon/internal/live"
	"github.com/capmon/capmon/internal/printable"
)

// colors of the severities on a terminal.
var colors = map[Severity]string{Info: "36", Warning: "33", Critical: "1;31"}

// Line is an alert in one line for people, with colours or not. What others chose is safe for
// a terminal.
func (a Alert) Line(colored bool) string {
	severity := string(a.Severity)
	if color, ok := colors[a.Severity]; ok && colored {
		severity = "\x1b[" + color + "m" + severity + "\x1b[0m"
	}
	columns := []string{a.Time.Local().Format(live.TimeForm), severity, printable.Word(a.Rule), a.Summary}
	process := fmt.Sprintf("pid %d user %d", a.Use.Process.PID, a.Use.Process.User)
	if a.Use.Process.Executable != "" {
		process += " " + printable.Word(a.Use.Process.Executable)
	}
	return strings.Join(append(columns, process), "  ")
}

// WriteJSON writes an alert as a line of JSON. What a terminal might obey is escaped.
func (a Alert) WriteJSON(out io.Writer) error { return printable.WriteJSON(out, a) }
