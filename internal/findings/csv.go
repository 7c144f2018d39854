package findings

import (
	"encoding/csv"
	"io"
	"strings"

	"github.com/capmon/capmon/internal/printable"
)

// WriteCSV writes RFC 4180 CSV with a header and one line for each finding. A cell that a spreadsheet would evaluate as
// a formula begins with an apostrophe.
func WriteCSV(out io.Writer, report Report) error {
	w := csv.NewWriter(out)
	w.UseCRLF = true
	if err := w.Write([]string{"rule", "title", "status", "subject", "image", "text", "remedy"}); err != nil {
		return err
	}
	for _, rule := range report.Rules {
		for _, f := range report.of(rule.ID) {
			if err := w.Write([]string{
				cell(rule.ID), cell(rule.Title), cell(string(f.Status)), cell(printable.Text(f.Subject)),
				cell(printable.Text(f.Image)), cell(printable.Text(f.Text)), cell(printable.Lines(f.Remedy)),
			}); err != nil {
				return err
			}
		}
	}
	w.Flush()
	return w.Error()
}

// cell returns a text that spreadsheets do not evaluate (OWASP, "CSV Injection").
func cell(text string) string {
	if text != "" && strings.Contains("=+-@\t\r＝＋－＠", string([]rune(text)[:1])) {
		return "'" + text
	}
	return text
}
