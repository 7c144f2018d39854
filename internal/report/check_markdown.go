package report

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/capmon/capmon/internal/markdown"
	"github.com/capmon/capmon/internal/overview"
	"github.com/capmon/capmon/internal/policy"
	"github.com/capmon/capmon/internal/printable"
)

// notesShown is the number of notes of one kind that Markdown shows.
const notesShown = 20

// writeCheckMarkdown writes the result of a check for a pull request or a job summary.
func writeCheckMarkdown(out io.Writer, result policy.Result, options Options) error {
	rows := make([]overview.Row, len(result.Containers))
	for i, c := range result.Containers {
		rows[i] = checkRow(c)
	}
	var doc markdown.Document
	fmt.Fprintf(&doc.Head, "**%s**\n\n%s%s%s", checkResult(result), markdown.Facts(options.Evidence.Lines("")), overview.Markdown(overview.New(rows)), result.Waivers.Markdown()+markdown.Section("Notes", checkNotes(result)))
	containers := slices.Clone(result.Containers)
	slices.SortStableFunc(containers, func(one, other policy.ContainerResult) int {
		return len(other.Violations) - len(one.Violations) // for equal rows
	})
	for _, c := range overview.Sorted(containers, checkRow) {
		doc.Details = append(doc.Details, checkDetails(c, result.Policy, options))
	}
	return doc.Write(out, howToSeeAll("check"))
}

// checkRow returns the row of a container, with the result of the check as its status.
func checkRow(c policy.ContainerResult) overview.Row {
	row := overview.Of(c.Summary)
	row.Doubtful, row.Status = row.Unused.Minus(row.CertainlyUnused()), overview.Pass
	switch {
	case len(c.Violations) > 0:
		row.Status = overview.Fail
	case len(c.Waived) > 0:
		row.Status = overview.Waived
	}
	return row
}

func checkResult(result policy.Result) string {
	all, waived := len(result.Containers), ""
	if n := result.PassingWithWaivers(); n > 0 {
		waived = fmt.Sprintf("; %s only because of waivers", ofContainers(n, all, "passes", "pass"))
	}
	if n := result.Violating(); n > 0 {
		return fmt.Sprintf("Failed: %d of %s", n, violating(n, all)) + waived
	}
	return "Passed: no container violates a rule" + waived
}

// checkNotes returns the notes that are not about a container of the profile.
func checkNotes(result policy.Result) (items []string) {
	for i, name := range result.Missing {
		if i == notesShown {
			items = append(items, fmt.Sprintf("%d more containers of the baseline are not in these profiles", len(result.Missing)-i))
			break
		}
		items = append(items, markdown.Code(printable.Text(name))+" is in the baseline, but not in these profiles: its present needs are unknown")
	}
	for i, name := range result.Idle {
		if i == notesShown {
			items = append(items, fmt.Sprintf("%d more rules applied to no container", len(result.Idle)-i))
			break
		}
		items = append(items, "rule "+markdown.Code(printable.Text(name))+" applied to no container")
	}
	return items
}

func checkDetails(c policy.ContainerResult, of policy.Policy, options Options) markdown.Details {
	s := c.Summary
	makePrintable(&s)
	word := "complies"
	if n := len(c.Violations); n > 0 {
		word = plural(uint64(n), "violation", "violations")
	}
	if n := len(c.Waived); n > 0 {
		word += ", " + plural(uint64(n), "waived violation", "waived violations")
	}
	full, short := violationItems(c.Violations, of, options)
	_, waived := violationItems(c.Waived, of, options)
	list := listOf(s)
	rest := markdown.Section("Waived violations", waived) + markdown.Section("Notes", markdown.Texts(printables(c.Notes))) + list.head + list.tail
	return markdown.Details{
		Summary: markdown.Summary(title(s), s.Container.Image, word), Open: len(c.Violations) > 0,
		Full: markdown.Section("Violations", full) + rest, Short: markdown.Section("Violations", short) + rest,
	}
}

// violationItems returns the violations as items of a list, with and without their uses.
func violationItems(violations []policy.Violation, of policy.Policy, options Options) (full, short []string) {
	for _, v := range violations {
		text := violationMarkdown(v, of)
		for _, waiver := range v.WaiverTexts() {
			text += "\n  - " + markdown.Text(printable.Text(waiver))
		}
		short = append(short, text)
		uses := slices.Clone(v.Uses)
		makeUsesPrintable(uses)
		for _, line := range useLines(uses, options) {
			text += "\n  - " + line
		}
		full = append(full, text)
	}
	return full, short
}

// violationMarkdown returns a violation with its rule and the line of the rule.
func violationMarkdown(v policy.Violation, of policy.Policy) string {
	text := markdown.Text(printable.Text(violationText(v)))
	if v.Rule == "" {
		return text
	}
	rule := []string{"rule " + markdown.Code(printable.Text(v.Rule))}
	if v.Line > 0 {
		rule = append(rule, markdown.Code(printable.Text(fmt.Sprintf("%s:%d", of.Path, v.Line))))
	}
	return text + " (" + strings.Join(rule, ", ") + ")"
}
