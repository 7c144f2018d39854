package audit

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"strings"

	"github.com/capmon/capmon/internal/containerid"
	"github.com/capmon/capmon/internal/printable"
)

//go:embed audit.html
var pageText string

// page is the template of a single file without scripts and without external resources.
var page = template.Must(template.New("audit").Funcs(template.FuncMap{
	"printable": func(text any) string { return printable.Text(fmt.Sprint(text)) },
	"lines":     printable.Lines,
	"short":     containerid.Short,
	"granted":   func(c *ContainerResult) string { return c.grantsText() },
	"observed":  func(c *ContainerResult) string { return c.observedText() },
	"waivers":   func(c *ContainerResult) []string { return c.waiverTexts() },
	"related":   func(c *ContainerResult) []Related { return c.failedRelated() },
	"remedy":    func(a Audit, c *ContainerResult) string { return a.remedyText(c) },
	"recordAll": func(a Audit) string { return a.recordAll() },
	"number":    func(rule string) string { return strings.TrimPrefix(rule, "CIS-") },
}).Parse(pageText))

func writeHTML(out io.Writer, audit Audit, version string) error {
	return page.Execute(out, map[string]any{
		"Audit": audit, "RecordAll": recordAllTitle, "Rule": capabilitiesRule, "Version": version, "Totals": audit.totals(),
	})
}
