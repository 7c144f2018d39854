package report

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/alternatives"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/markdown"
	"github.com/capmon/capmon/internal/overview"
	"github.com/capmon/capmon/internal/profile"
)

// writeMarkdown writes a report for a pull request or a job summary: the result, the overview, and the details of each
// container.
func writeMarkdown(out io.Writer, p profile.Profile, options Options) error {
	all := profile.Summaries(p)
	view := overview.OfSummaries(all)
	var doc markdown.Document
	fmt.Fprintf(&doc.Head, "**%s**\n\n%s%s", reportResult(view.Totals), markdown.Facts(options.Evidence.Lines("")), overview.Markdown(view))
	for _, s := range overview.Sorted(all, overview.Of) {
		makePrintable(&s)
		list := listOf(s)
		doc.Details = append(doc.Details, markdown.Details{
			Summary: markdown.Summary(title(s), s.Container.Image, needsInShort(s)), Open: len(all) == 1,
			Full:  list.head + evidenceOf(s, options) + list.tail,
			Short: list.head + list.tail,
		})
	}
	return doc.Write(out, howToSeeAll("report"))
}

// howToSeeAll returns a sentence that says how to see what a document leaves out.
func howToSeeAll(command string) string {
	return fmt.Sprintf("To see one container, run `capmon %s --container NAME`. To see everything, use `-o json`.", command)
}

// reportResult returns the result of a report as one line.
func reportResult(t overview.Totals) string {
	unused, unsure := t.Status[overview.Unused], t.Status[overview.Unsure]
	switch {
	case t.Containers == 0:
		return "capmon saw no containers"
	case unused > 0 && unsure > 0:
		return fmt.Sprintf("%s unused capabilities; for %d, the observation is not sufficient", ofContainers(unused, t.Containers, "has", "have"), unsure)
	case unused > 0:
		return ofContainers(unused, t.Containers, "has", "have") + " unused capabilities"
	case unsure > 0:
		return ofContainers(unsure, t.Containers, "was", "were") + " not observed sufficiently to find unused capabilities"
	}
	return "No container has unused capabilities"
}

// ofContainers returns the start of a sentence about n of all containers. The verb has two forms: for one, and for
// several.
func ofContainers(n, all int, one, several string) string {
	verb := several
	if n == 1 {
		verb = one
	}
	return fmt.Sprintf("%d of %s %s", n, plural(uint64(all), "container", "containers"), verb)
}

// needsInShort returns what a container needs, for the visible line of its details.
func needsInShort(s profile.Summary) string {
	text := "no workload seen"
	if s.Started {
		text = "needs " + count(s.List(), "capability", "capabilities")
		if row := overview.Of(s); row.Granted != nil {
			text += fmt.Sprintf(", %d of %d granted ones %s", row.Unused.Len(), row.Granted.Len(), unusedWord(row))
		}
	}
	if n := len(cautions(s)); n > 0 {
		text += ", " + plural(uint64(n), "caution", "cautions")
	}
	return text
}

// unusedWord returns whether the unused capabilities are certainly unused.
func unusedWord(row overview.Row) string {
	if row.Certain() {
		return "unused"
	}
	return "perhaps unused"
}

func count(set capability.Set, one, many string) string {
	if set.Empty() {
		return "no " + one
	}
	return plural(uint64(set.Len()), one, many)
}

// listMarkdown is the list of a container. head has the list and how much capmon observed. tail has all cautions about
// the list and then the command. Evidence may be between the two.
type listMarkdown struct{ head, tail string }

func listOf(s profile.Summary) (m listMarkdown) {
	m.head = markdown.Paragraph("Observation: %s.", markdown.Text(strings.Join(watched(s), ", ")))
	if s.Started {
		m.head = markdown.Paragraph("**List: %s**", setText(s.List())) + m.head
	}
	m.tail = markdown.Section("Cautions", markdown.Texts(append(cautions(s), deniedCaution(s)...)))
	if !s.Started {
		return m
	}
	run := command(s)
	if !s.StartSeen() {
		run = "# " + strings.ToLower(startState(s)) + ": a new container may fail to start\n" + run
	}
	m.tail += markdown.Block("sh", run) + "\n"
	return m
}

func setText(set capability.Set) string { return cmp.Or(set.Text(), "no capability") }

func deniedCaution(s profile.Summary) []string {
	if !mayHideDenials(s) {
		return nil
	}
	return []string{"there may be more denials: Docker's seccomp profile denies some system calls before the kernel checks a capability"}
}

// evidenceOf returns what capmon observed of each capability.
func evidenceOf(s profile.Summary, options Options) string {
	granted, known := s.Grants.Set()
	var items []string
	for _, c := range s.Needs().Sorted() {
		item := fmt.Sprintf("%s, %s", c, grantedText(granted.Has(c), known))
		if s.AtStart().Has(c) {
			item += ", used at the start only and dropped afterwards"
		}
		items = append(items, withUses(item, s, s.UsesOf(c, classify.Needs()...), options))
	}
	for _, c := range s.Spared().Sorted() {
		items = append(items, fmt.Sprintf("%s, %s: used, but not needed: other capabilities on the list are sufficient", c, grantedText(granted.Has(c), known)))
	}
	if unused, _ := s.Unused(); !unused.Empty() {
		items = append(items, fmt.Sprintf("granted, %s: %s", unusedWord(overview.Of(s)), names(overview.Gravest(unused))))
	}
	for _, c := range s.Denied().Sorted() {
		items = append(items, withUses(fmt.Sprintf("%s, tried and denied", c), s, s.UsesOf(c, classify.Denied), options))
	}
	text := markdown.Section("Evidence", items)
	if options.All {
		text += markdown.Section("Not counted as use", notCounted(s, options))
	}
	if summary := ProofSummary(s); summary != "" {
		text += markdown.Paragraph("%s", markdown.Text(summary))
	}
	var hints []string
	for _, alternative := range alternatives.Of(s) {
		hints = append(hints, alternative.String())
	}
	return text + markdown.Section("Alternatives", markdown.Texts(hints))
}

// notCounted returns the checks that are neither needs nor denied.
func notCounted(s profile.Summary, options Options) (items []string) {
	for _, class := range classify.Classes() {
		if class.Need() || class == classify.Denied {
			continue
		}
		for _, c := range s.Having(class).Sorted() {
			items = append(items, withUses(fmt.Sprintf("%s, %s", c, class), s, s.UsesOf(c, class), options))
		}
	}
	return items
}

func grantedText(granted, known bool) string {
	switch {
	case !known:
		return "grants not known"
	case granted:
		return "granted"
	}
	return "not granted"
}

func names(capabilities []capability.Capability) string {
	all := make([]string, len(capabilities))
	for i, c := range capabilities {
		all[i] = c.String()
	}
	return strings.Join(all, ", ")
}

// withUses adds the uses of a capability to an item of a list: a single one in the same line, several as a list. The
// files follow.
func withUses(item string, s profile.Summary, uses []profile.UsePattern, options Options) string {
	lines := useLines(uses, options)
	if len(lines) == 1 {
		item += ": " + lines[0]
		lines = nil
	} else {
		item += ", " + plural(total(uses), "time", "times") + ":"
	}
	for _, line := range append(lines, fileItems(s, uses, options)...) {
		item += "\n  - " + line
	}
	return item
}

// useLines returns the uses as Markdown, and how many it leaves out.
func useLines(uses []profile.UsePattern, options Options) (lines []string) {
	for i, use := range uses {
		if i == usesShown && !options.All && len(uses) > usesShown+1 {
			return append(lines, fmt.Sprintf("and %d other patterns of use (`--all` shows them)", len(uses)-i))
		}
		lines = append(lines, useMarkdown(use)+", "+plural(use.Count, "time", "times"))
	}
	return lines
}

// useMarkdown is like [describe].
func useMarkdown(use profile.UsePattern) string {
	text := markdown.Code(Program(use))
	if use.Call != "" {
		text += ": " + markdown.Code(use.Call)
	}
	if use.Site != "" {
		text += " in " + markdown.Code(use.Site)
	}
	if use.Class == classify.Denied && use.Granted {
		text += ", granted"
	}
	if reason := remark(use); reason != "" {
		text += " " + markdown.Text(reason)
	}
	return text
}

// fileItems returns the files of uses as Markdown, and how many it leaves out.
func fileItems(s profile.Summary, uses []profile.UsePattern, options Options) []string {
	files, others := s.FilesOf(uses)
	lines := markdown.Texts(fileLines(files))
	if left := len(lines) - filesShown; left > 1 && !options.All {
		lines = append(lines[:filesShown], fmt.Sprintf("and %d more files (`--all` shows them)", left))
	}
	if len(files) > 0 && others {
		lines = append(lines, "and possibly other files")
	}
	return lines
}
