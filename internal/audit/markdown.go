package audit

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/capmon/capmon/internal/findings"
	"github.com/capmon/capmon/internal/markdown"
	"github.com/capmon/capmon/internal/overview"
	"github.com/capmon/capmon/internal/printable"
)

// writeMarkdown writes the audit for a job summary or a comment: the result, the overview, and the details of each
// container.
func writeMarkdown(out io.Writer, audit Audit) error {
	var doc markdown.Document
	fmt.Fprintf(&doc.Head, "**%s**\n\n%s%s", audit.result(), markdown.Facts(audit.Evidence.Lines("")), overview.Markdown(audit.Overview()))
	if audit.Static {
		doc.Head.WriteString(markdown.Paragraph("With `--static`, audit reads only the grants, not what the containers use."))
	}
	doc.Head.WriteString(audit.Waivers.Markdown())
	for _, c := range overview.Sorted(audit.Containers, (*ContainerResult).row) {
		doc.Details = append(doc.Details, c.markdown(audit.Static, len(audit.Containers) == 1))
	}
	return doc.Write(out, "To see one container, run `capmon audit NAME`. To see everything, use `-o json`.")
}

// result returns the result of the audit as one line.
func (a Audit) result() string {
	const rule = "CIS Docker Benchmark 5.4"
	failed, manual := 0, 0
	for _, c := range a.Containers {
		switch {
		case c.Status == findings.Fail || a.Strict && len(c.failedRelated()) > 0:
			failed++
		case c.Status == findings.Manual:
			manual++
		}
	}
	rules := rule
	if a.Strict {
		rules += " or a related rule"
	}
	all := fmt.Sprintf("%d containers", len(a.Containers))
	if len(a.Containers) == 1 {
		all = "1 container"
	}
	switch {
	case len(a.Containers) == 0:
		return "There is no container to audit"
	case failed == 1:
		return fmt.Sprintf("Failed: 1 of %s fails %s", all, rules)
	case failed > 0:
		return fmt.Sprintf("Failed: %d of %s fail %s", failed, all, rules)
	case manual > 0:
		return fmt.Sprintf("No container fails %s, but a person must decide about %d of %s", rules, manual, all)
	}
	return "Passed: no container fails " + rules
}

// markdown returns the details of the container.
func (c *ContainerResult) markdown(static, open bool) markdown.Details {
	about := []string{"granted: " + c.grantsText()}
	if !static {
		about = append(about, printable.Text(c.observedText()))
	}
	start := c.Remedy.listMarkdown() + markdown.List(markdown.Texts(about)) + markdown.Section("Reasons", printableTexts(c.Reasons)) +
		markdown.Section("Waivers", printableTexts(c.WaiverTexts())) + markdown.Section("Cautions", printableTexts(c.otherDoubts()))
	var related []string
	for _, r := range c.failedRelated() {
		related = append(related, strings.Replace(r.Rule, "-", " ", 1)+": "+markdown.Text(printable.Text(r.Text)))
	}
	full := start + markdown.Section("Related rules", related) + markdown.Section("Alternatives", printableTexts(c.Hints))
	if remedy := c.Remedy.Text(); remedy != "" {
		full += markdown.Block("sh", remedy) + "\n"
	}
	summary := strings.ToUpper(string(c.Status))
	if len(c.Reasons) > 0 {
		summary += ", " + printable.Text(c.Reasons[0])
	}
	return markdown.Details{
		Summary: markdown.Summary(printable.Text(c.Name), printable.Text(c.Image), summary), Open: open,
		Full: full, Short: start + markdown.Section("Cautions about the list", printableTexts(c.Remedy.Notes)),
	}
}

// listMarkdown returns the list as a paragraph; "" if it is unknown.
func (r Remedy) listMarkdown() string {
	if r.List == nil {
		return ""
	}
	title := "List"
	switch {
	case r.Proved:
		title = "Proved list"
	case !r.Certain:
		title = "List that may be incomplete"
	}
	return markdown.Paragraph("**%s: %s**", title, cmp.Or(names(*r.List), "no capability"))
}

// otherDoubts returns the doubts about the list that are not among the reasons of the status.
func (c *ContainerResult) otherDoubts() []string {
	if c.Observation == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(c.Observation.Doubts), func(doubt string) bool { return slices.Contains(c.Reasons, doubt) })
}

func printableTexts(all []string) (items []string) {
	for _, text := range all {
		items = append(items, markdown.Text(printable.Text(text)))
	}
	return items
}
