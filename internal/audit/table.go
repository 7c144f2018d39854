package audit

import (
	"fmt"
	"io"
	"strings"

	"github.com/capmon/capmon/internal/containerid"
	"github.com/capmon/capmon/internal/overview"
	"github.com/capmon/capmon/internal/printable"
)

// writeTable writes the audit for a terminal: an overview, and the details of each container.
func writeTable(out io.Writer, audit Audit, view View) error {
	var page strings.Builder
	for _, line := range audit.Evidence.Lines("") {
		page.WriteString(line + "\n")
	}
	if page.Len() > 0 {
		page.WriteString("\n")
	}
	all := audit.Overview()
	if page.WriteString("CIS 5.4, "); len(audit.Containers) == 1 {
		page.WriteString(all.Totals.Counts() + "\n")
	} else {
		page.WriteString(overview.Table(all, overview.Options{Width: view.Width, Color: view.Color}))
	}
	if page.WriteString("\n"); view.Details || len(audit.Containers) == 1 {
		page.WriteString(audit.details(view))
	} else {
		page.WriteString(overview.Advice(all, view.Command, "", view.Width))
	}
	if waivers := audit.Waivers.Lines(); len(waivers) > 0 {
		page.WriteString("\n")
		for _, text := range waivers {
			page.WriteString(printable.Text(text) + "\n")
		}
	}
	if text := audit.RecordAll(); text != "" {
		page.WriteString("\n" + RecordAllTitle + "\n\n" + printable.Lines(text))
	}
	_, err := io.WriteString(out, strings.TrimRight(page.String(), "\n")+"\n")
	return err
}

// details returns a paragraph for each container.
func (a Audit) details(view View) string {
	var page strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&page, format+"\n", args...) }
	for _, c := range overview.Sorted(a.Containers, (*ContainerResult).row) {
		line("%-6s  %s  %s  %s", strings.ToUpper(string(c.Status)), printable.Text(c.Name), printable.Text(c.Image), containerid.Short(printable.Text(c.ID)))
		line("  granted: %s", c.grantsText())
		if !a.Static {
			line("  %s", printable.Text(c.observedText()))
		}
		for _, reason := range c.Reasons {
			line("  - %s", printable.Text(reason))
		}
		for _, text := range c.WaiverTexts() {
			line("  - %s", printable.Text(text))
		}
		if !view.Quiet {
			for _, hint := range c.Hints {
				line("  hint: %s", printable.Text(hint))
			}
		}
		for _, r := range c.failedRelated() {
			line("  %s: %s", strings.Replace(r.Rule, "-", " ", 1), printable.Text(r.Text))
		}
		if remedy := a.RemedyText(c); remedy != "" {
			line("")
			for text := range strings.SplitSeq(printable.Lines(remedy), "\n") {
				line("    %s", text)
			}
		}
		line("")
	}
	return page.String()
}
