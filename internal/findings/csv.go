package findings

import (
	"encoding/csv"
	"io"
	"strings"

	"github.com/capmon/capmon/internal/printable"
)

// WriteCSV writes a line for each finding, under a heading: RFC 4180, for spreadsheets
// too. What a spreadsheet would take for a formula gets an apostrophe in front.
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

// cell keeps a text from being calculated (OWASP, "CSV Injection").
func cell(text string) string {
	if text != "" && strings.Contains("=+-@\t\r＝＋－＠", string([]rune(text)[:1])) {
		return "'" + text
	}
	return text
}
