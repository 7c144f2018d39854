package report

import (
	"cmp"
	"io"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/capmon/capmon/internal/alert"
	"github.com/capmon/capmon/internal/printable"
	"github.com/capmon/capmon/internal/uses"
)

// WriteAlerts writes a table of alerts with one line for each alert.
func WriteAlerts(out io.Writer, alerts []alert.Alert) error {
	if len(alerts) == 0 {
		return nil
	}
	t := newTable("TIME", "SEVERITY", "RULE", "CONTAINER", "IMAGE", "ALERT")
	t.SetColumnConfigs(nil) // all columns are text
	for _, a := range alerts {
		c := a.Container()
		t.AppendRow(table.Row{
			a.Time.Local().Format(uses.TimeForm), printable.Word(string(a.Severity)), printable.Word(a.Rule),
			printable.Word(c.Title()), printable.Word(cmp.Or(c.Image, "-")), line(a.Summary),
		})
	}
	_, err := io.WriteString(out, t.Render()+"\n")
	return err
}

// line returns a summary as one line that is safe for a terminal. capmon has already escaped what containers can
// choose. line escapes again because a database may come from an untrusted source.
func line(summary string) string {
	return strings.ReplaceAll(printable.Lines(summary), "\n", `\n`)
}
