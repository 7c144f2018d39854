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

// WriteAlerts lists alerts for people, a line each.
func WriteAlerts(out io.Writer, alerts []alert.Alert) error {
	if len(alerts) == 0 {
		return nil
	}
	t := newTable("TIME", "SEVERITY", "RULE", "CONTAINER", "IMAGE", "ALERT")
	t.SetColumnConfigs(nil) // all are text
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

// line is a summary, in which what containers chose is escaped already: once more only what
// nevertheless is not for a terminal, since a database may come from anybody.
func line(summary string) string {
	return strings.ReplaceAll(printable.Lines(summary), "\n", `\n`)
}
