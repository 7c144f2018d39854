package report

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/compare"
	"github.com/capmon/capmon/internal/printable"
	"github.com/capmon/capmon/internal/profile"
)

// ComparisonFormats returns the formats of [WriteComparison]. The first one is the default.
func ComparisonFormats() []Format { return []Format{Table, JSON, Markdown} }

// WriteComparison writes a comparison. Markdown renders the table in color if it is in a block of type diff.
func WriteComparison(out io.Writer, c compare.Comparison, format Format, options Options) error {
	switch format {
	case JSON:
		return encode(out, jsonOfComparison(c, options))
	case Markdown:
		return writeComparisonMarkdown(out, c, options)
	}
	page := &page{options: options}
	page.evidences(options.Before, options.Evidence)
	for _, each := range c.Containers {
		page.compared(makeComparedPrintable(each))
		page.line("")
	}
	page.line("%s", comparisonVerdict(c))
	_, err := io.WriteString(out, page.String())
	return err
}

func makeComparedPrintable(c compare.ContainerComparison) compare.ContainerComparison {
	for _, side := range []**profile.Summary{&c.Before, &c.After} {
		if *side != nil {
			s := **side
			s.Container.Labels = printableLabels(s.Container.Labels)
			makePrintable(&s)
			*side = &s
		}
	}
	c.NewUnsure, c.GoneUnsure = printables(c.NewUnsure), printables(c.GoneUnsure)
	c.Uses = slices.Clone(c.Uses)
	for i := range c.Uses {
		for _, use := range []**profile.UsePattern{&c.Uses[i].Before, &c.Uses[i].After} {
			if *use != nil {
				clone := []profile.UsePattern{**use}
				makeUsesPrintable(clone)
				*use = &clone[0]
			}
		}
	}
	return c
}

// printableLabels returns the labels with values that are safe for a terminal. The title of a container comes from its
// labels.
func printableLabels(labels map[string]string) map[string]string {
	safe := make(map[string]string)
	for key, value := range labels {
		safe[key] = printable.Text(value)
	}
	return safe
}

// compared adds the changes of one container. Each line begins with a mark or with a word of capmon, so that a name
// cannot end the Markdown block that contains the table.
func (p *page) compared(c compare.ContainerComparison) {
	p.line("%s", comparedHeading(c, p.options.Color))
	rows := p.changes(c)
	if rows == "" {
		p.line("  no change in what is needed: %s", listOr(c.After, c.Before, "nothing"))
	} else {
		p.line("%s", rows)
	}
	if !c.Granted.Empty() {
		p.line("  granted only after: %s", c.Granted.Text())
	}
	if !c.Withdrawn.Empty() {
		p.line("  granted only before: %s", c.Withdrawn.Text())
	}
	for _, note := range doubts(c) {
		p.line("  %s %s", p.mark("note:", text.FgYellow), note)
	}
}

// Doubts returns why the comparison of a container is not certain: what looks new may have been needed before, and what
// looks gone may still be needed. The texts are safe for a terminal.
func Doubts(c compare.ContainerComparison) []string { return doubts(makeComparedPrintable(c)) }

func doubts(c compare.ContainerComparison) []string {
	if c.After == nil || c.Before == nil {
		return nil
	}
	return slices.Concat(
		observedNotes("in the earlier profile", "what is new may have been needed before: ", hasChange(c, compare.New), c.NewUnsure),
		observedNotes("in the later profile", "what is gone may still be needed: ", hasChange(c, compare.Gone), c.GoneUnsure))
}

// observedNotes returns a note for each reason why capmon did not observe a container completely in one of the
// profiles. when names the profile. meaning is the consequence of the reasons, if there are changes.
func observedNotes(when, meaning string, changed bool, reasons []string) []string {
	if !changed {
		meaning = ""
	}
	var notes []string
	for _, reason := range reasons {
		notes = append(notes, fmt.Sprintf("%s%s, %s", meaning, when, reason))
	}
	return notes
}

func hasChange(c compare.ContainerComparison, change compare.Change) bool {
	if change == compare.New && !c.New().Empty() || change == compare.Gone && !c.Gone().Empty() {
		return true
	}
	return slices.ContainsFunc(c.Uses, func(u compare.UseChange) bool { return u.Change == change && u.Matters() })
}

func listOr(first, second *profile.Summary, nothing string) string {
	if first == nil {
		first = second
	}
	if first.List().Empty() {
		return nothing
	}
	return first.List().Text()
}

func comparedHeading(c compare.ContainerComparison, color bool) string {
	bold := func(name string) string {
		if color {
			return text.Bold.Sprint(name)
		}
		return name
	}
	name := bold(c.Name())
	switch {
	case c.Before == nil:
		return fmt.Sprintf("container %s  %s  only after  %s", name, c.After.Container.Image, observedTime(*c.After))
	case c.After == nil:
		return fmt.Sprintf("container %s  %s  only before  %s", name, c.Before.Container.Image, observedTime(*c.Before))
	}
	parts := []string{"container " + name}
	if before := title(*c.Before); before != c.Name() && c.PairedBy != compare.ByService {
		parts[0] = fmt.Sprintf("container %s → %s", bold(before), name)
	}
	if before, after := c.Before.Container.Image, c.After.Container.Image; before == after {
		parts = append(parts, after)
	} else {
		parts = append(parts, before+" → "+after)
	}
	return strings.Join(append(parts, observedTime(*c.Before)+" → "+observedTime(*c.After)), "  ")
}

// observedTime returns how long a container was observed, and whether anything is missing.
func observedTime(s profile.Summary) string {
	word := "ran "
	switch {
	case !s.Started:
		return "no workload seen"
	case s.Running:
		word = "watched "
	}
	parts := word + duration(s.Observed)
	if s.Runs > 1 {
		parts += fmt.Sprintf(" in %d runs", s.Runs)
	}
	if len(s.Incomplete) > 0 {
		parts += ", INCOMPLETE"
	}
	return parts
}

// changes returns the table of what is new, changed and gone; "" if nothing is.
func (p *page) changes(c compare.ContainerComparison) string {
	t := newTable("", "CAPABILITY", "CHANGE", "GRANTED", "BY")
	style := *t.Style()
	style.Box.PaddingLeft, style.Box.PaddingRight = "", "  "
	t.SetStyle(style)
	t.SetColumnConfigs(nil)
	for _, row := range changeRows(c, p.options.All) {
		t.AppendRow(table.Row{p.sign(row.Change), row.Capability, row.Word, row.Granted, row.By})
	}
	if t.Length() == 0 {
		return ""
	}
	return t.Render()
}

// ChangeRow is a pattern of use that is new, gone or changed. Only the first row of a capability has the capability's
// name and the change of the need.
type ChangeRow struct {
	Change                        compare.Change
	Capability, Word, Granted, By string
}

// Changes returns the rows of a container's comparison. The texts are safe for a terminal.
func Changes(c compare.ContainerComparison) []ChangeRow {
	return changeRows(makeComparedPrintable(c), false)
}

func changeRows(c compare.ContainerComparison, all bool) []ChangeRow {
	var rows []ChangeRow
	for _, each := range c.Capabilities {
		rows = append(rows, rowsOf(c, each, all)...)
	}
	if !all {
		return rows
	}
	for _, use := range c.Uses {
		if !use.Matters() {
			rows = append(rows, rowOf(use, use.Latest().Capability.String(), string(use.Latest().Class), ""))
		}
	}
	return rows
}

// rowsOf returns the rows of one capability: one for each pattern of use that is new, gone or changed. The first row
// also has the change of the capability.
func rowsOf(c compare.ContainerComparison, each compare.CapabilityChange, all bool) []ChangeRow {
	var rows []ChangeRow
	name, word := each.Capability.String(), changeWord(c, each)
	uses := shown(c, each.Capability, all)
	for i, use := range uses {
		if i == usesShown && !all && len(uses) > usesShown+1 {
			rows = append(rows, ChangeRow{By: fmt.Sprintf("and %d other patterns of use that changed (--all shows them)", len(uses)-i)})
			break
		}
		rows = append(rows, rowOf(use, name, word, grantChange(c, each.Capability)))
		name, word = "", ""
	}
	if name != "" && each.Before != each.After { // a proof shows the change, without an observed use
		rows = append(rows, ChangeRow{changeOf(each), name, word, grantChange(c, each.Capability), "shown by capmon verify"})
	}
	return rows
}

// shown returns the uses of a capability that the table shows.
func shown(c compare.ContainerComparison, of capability.Capability, all bool) []compare.UseChange {
	return slices.DeleteFunc(slices.Clone(c.Uses), func(u compare.UseChange) bool {
		return u.Latest().Capability != of || !u.Matters() || u.Change == compare.Same && !all
	})
}

func rowOf(use compare.UseChange, name, word, granted string) ChangeRow {
	if word == "" {
		word = useWord(use)
	}
	return ChangeRow{use.Change, name, word, granted, useText(use)}
}

// sign returns the mark that colors a row in a Markdown block of type diff.
func (p *page) sign(change compare.Change) string {
	switch change {
	case compare.New:
		return p.mark("+", text.FgRed)
	case compare.Changed:
		return p.mark("!", text.FgYellow)
	case compare.Gone:
		return p.mark("-", text.FgGreen)
	}
	return ""
}

func changeOf(c compare.CapabilityChange) compare.Change {
	switch {
	case c.New():
		return compare.New
	case c.Gone():
		return compare.Gone
	}
	return compare.Changed
}

// changeWord returns the change of the need for a capability; "" if it did not change.
func changeWord(c compare.ContainerComparison, each compare.CapabilityChange) string {
	switch {
	case each.New():
		return unsureWord(newWords[each.After], c.NewUnsure, c.Before != nil)
	case each.Gone():
		return unsureWord(goneWords[each.Before], c.GoneUnsure, c.After != nil)
	case each.Before != each.After:
		return fmt.Sprintf("%s → %s", statusWord(each.Before), statusWord(each.After))
	}
	return ""
}

var (
	newWords  = map[compare.Status]string{compare.Needed: "NEW", compare.Denied: "NEW, denied"}
	goneWords = map[compare.Status]string{compare.Needed: "gone", compare.Denied: "gone, was denied"}
)

func statusWord(s compare.Status) string {
	if s == compare.Unused {
		return "unused"
	}
	return string(s)
}

func unsureWord(word string, reasons []string, both bool) string {
	if both && len(reasons) > 0 {
		return word + "?"
	}
	return word
}

// useWord returns the change of one pattern of use of a capability whose need did not change.
func useWord(use compare.UseChange) string {
	switch use.Change {
	case compare.New:
		return "new pattern of use"
	case compare.Gone:
		return "pattern of use gone"
	case compare.Changed:
		var fields []string
		for _, field := range use.Fields {
			fields = append(fields, fieldWords[field])
		}
		return "other " + strings.Join(fields, ", ")
	}
	return "same"
}

var fieldWords = map[compare.Field]string{
	compare.Class: "class", compare.Granted: "answer", compare.Program: "program", compare.Call: "call", compare.Site: "call site",
}

// useText returns the use, followed by the earlier values of the fields that changed.
func useText(use compare.UseChange) string {
	text := Describe(use.Latest())
	if use.Change != compare.Changed {
		return text
	}
	return text + "  [" + earlierFields(use) + "]"
}

// earlierFields returns the earlier values of the fields that changed.
func earlierFields(use compare.UseChange) string {
	var was []string
	for _, field := range use.Fields {
		was = append(was, map[compare.Field]string{
			compare.Class: "was " + string(use.Before.Class), compare.Granted: "was " + answer(use.Before.Granted),
			compare.Program: "was by " + Program(*use.Before), compare.Call: "was " + orUnknown(use.Before.Call), compare.Site: "was in " + orUnknown(use.Before.Site),
		}[field])
	}
	return strings.Join(was, ", ")
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}

func answer(granted bool) string {
	if granted {
		return "granted"
	}
	return "denied"
}

// grantChange returns whether a capability is granted, in the form "before → after" if this changed.
func grantChange(c compare.ContainerComparison, of capability.Capability) string {
	var words []string
	for _, side := range []*profile.Summary{c.Before, c.After} {
		if side != nil {
			granted, known := side.Grants.Set()
			words = append(words, grantWord(granted.Has(of), known))
		}
	}
	if words = slices.Compact(words); len(words) > 1 {
		return words[0] + " → " + words[1]
	}
	return words[0]
}

// comparisonVerdict returns the result as one line.
func comparisonVerdict(c compare.Comparison) string {
	if len(c.Containers) == 0 {
		return "neither profile contains a container"
	}
	var parts []string
	for _, each := range c.Containers {
		if added := each.New(); !added.Empty() {
			parts = append(parts, printable.Text(each.Name())+" "+added.Text())
		}
	}
	compared := plural(uint64(len(c.Containers)), "container", "containers") + " compared, "
	if len(parts) == 0 {
		return compared + "no capability is new"
	}
	return compared + "NEW: " + strings.Join(parts, "; ")
}
