package audit

import (
	"fmt"
	"io"
	"strings"

	"github.com/capmon/capmon/internal/containerid"
	"github.com/capmon/capmon/internal/printable"
)

// writeTable writes the audit for a terminal: a paragraph for each container, and the total.
func writeTable(out io.Writer, audit Audit) error {
	var page strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&page, format+"\n", args...) }
	for _, c := range audit.Containers {
		line("%-6s  %s  %s  %s", strings.ToUpper(string(c.Status)), printable.Text(c.Name), printable.Text(c.Image), containerid.Short(printable.Text(c.ID)))
		line("  granted: %s", c.grantsText())
		if !audit.Static {
			line("  %s", printable.Text(c.observedText()))
		}
		for _, reason := range c.Reasons {
			line("  - %s", printable.Text(reason))
		}
		for _, text := range c.waiverTexts() {
			line("  - %s", printable.Text(text))
		}
		for _, hint := range c.Hints {
			line("  hint: %s", printable.Text(hint))
		}
		for _, r := range c.failedRelated() {
			line("  %s: %s", strings.Replace(r.Rule, "-", " ", 1), printable.Text(r.Text))
		}
		if remedy := c.Remedy.Text(); remedy != "" {
			line("")
			for text := range strings.SplitSeq(printable.Lines(remedy), "\n") {
				line("    %s", text)
			}
		}
		line("")
	}
	for _, text := range audit.Waivers.Lines() {
		line("%s", printable.Text(text))
	}
	containers := "containers"
	if len(audit.Containers) == 1 {
		containers = "container"
	}
	line("CIS 5.4: %s, of %d %s", audit.totals(), len(audit.Containers), containers)
	_, err := io.WriteString(out, page.String())
	return err
}
