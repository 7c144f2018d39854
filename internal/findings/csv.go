package findings

import (
	"encoding/csv"
	"io"
	"strings"
	"time"

	"github.com/capmon/capmon/internal/printable"
	"github.com/capmon/capmon/internal/profile"
)

// WriteCSV writes RFC 4180 CSV with a header and one line for each finding. A cell that a spreadsheet would evaluate as
// a formula begins with an apostrophe.
func WriteCSV(out io.Writer, report Report) error {
	w := csv.NewWriter(out)
	w.UseCRLF = true
	header := []string{"rule", "title", "status", "subject", "image", "text", "remedy"}
	if err := w.Write(append(header, "host", "engine", "from", "to", "scope", "created", "capmon")); err != nil {
		return err
	}
	evidence := evidenceCells(report.Evidence)
	for _, rule := range report.Rules {
		for _, f := range report.of(rule.ID) {
			if err := w.Write(append([]string{
				cell(rule.ID), cell(rule.Title), cell(string(f.Status)), cell(printable.Text(f.Subject)),
				cell(printable.Text(f.Image)), cell(printable.Text(f.Text)), cell(printable.Lines(f.Remedy)),
			}, evidence...)); err != nil {
				return err
			}
		}
	}
	w.Flush()
	return w.Error()
}

// evidenceCells returns the last cells of each line, so that a line that is copied elsewhere still has its evidence.
func evidenceCells(e profile.Evidence) []string {
	host, engine := e.Origin()
	return []string{cell(host), cell(engine), moment(e.From), moment(e.To), cell(e.Scope), moment(e.Created), cell(e.Capmon)}
}

// moment returns a time in UTC; "" if it is not known.
func moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// cell returns a text that spreadsheets do not evaluate (OWASP, "CSV Injection").
func cell(text string) string {
	if text != "" && strings.Contains("=+-@\t\r＝＋－＠", string([]rune(text)[:1])) {
		return "'" + text
	}
	return text
}
