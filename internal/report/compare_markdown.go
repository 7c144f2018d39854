package report

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/capmon/capmon/internal/compare"
	"github.com/capmon/capmon/internal/markdown"
	"github.com/capmon/capmon/internal/overview"
	"github.com/capmon/capmon/internal/profile"
)

// writeComparisonMarkdown writes a comparison for a pull request or a job summary: first the containers with something
// new, then those with other changes.
func writeComparisonMarkdown(out io.Writer, c compare.Comparison, options Options) error {
	all := slices.Clone(c.Containers)
	slices.SortStableFunc(all, func(one, other compare.ContainerComparison) int {
		return cmp.Or(other.New().Len()-one.New().Len(), other.Granted.Len()-one.Granted.Len(), other.Gone().Len()-one.Gone().Len(), overview.CompareNames(one.Name(), other.Name()))
	})
	var doc markdown.Document
	fmt.Fprintf(&doc.Head, "**%s**\n\n%s", comparisonResult(c), markdown.Facts(evidenceLines(options.Before, options.Evidence)))
	var rows [][]string
	for i, each := range all {
		all[i] = makeComparedPrintable(each)
		rows = append(rows, comparedRow(all[i]))
		doc.Details = append(doc.Details, comparedDetails(all[i], options))
	}
	if len(all) > 0 {
		doc.Head.WriteString(markdown.Table([]string{"CHANGE", "CONTAINER", "IMAGE", "NEW", "GONE", "GRANTED ONLY AFTER", "GRANTED ONLY BEFORE"}, rows))
	}
	return doc.Write(out, howToSeeAll("diff"))
}

// comparisonResult returns the result as one line.
func comparisonResult(c compare.Comparison) string {
	all := len(c.Containers)
	switch n := len(c.New()); {
	case all == 0:
		return "Neither profile contains a container"
	case n > 0:
		return fmt.Sprintf("New capabilities in %d of %s", n, plural(uint64(all), "container", "containers"))
	}
	return "No new capability in " + plural(uint64(all), "container", "containers")
}

// comparedWord returns the gravest change of a container.
func comparedWord(c compare.ContainerComparison) string {
	switch {
	case !c.New().Empty():
		return unsureWord("NEW", c.NewUnsure, c.Before != nil)
	case !c.Gone().Empty():
		return unsureWord("GONE", c.GoneUnsure, c.After != nil)
	case !c.Granted.Empty() || !c.Withdrawn.Empty():
		return "GRANTS"
	case hasChange(c, compare.New) || hasChange(c, compare.Changed) || hasChange(c, compare.Gone):
		return "USES"
	}
	return "SAME"
}

func comparedRow(c compare.ContainerComparison) []string {
	return []string{
		comparedWord(c), comparedName(c), comparedImage(c),
		cmp.Or(c.New().Text(), "-"), cmp.Or(c.Gone().Text(), "-"), cmp.Or(c.Granted.Text(), "-"), cmp.Or(c.Withdrawn.Text(), "-"),
	}
}

// comparedName returns the name of a container, with its earlier name if that differs.
func comparedName(c compare.ContainerComparison) string {
	name := markdown.Code(c.Name())
	if c.Before != nil && c.After != nil && c.PairedBy != compare.ByService && title(*c.Before) != c.Name() {
		return markdown.Code(title(*c.Before)) + " → " + name
	}
	return name
}

func comparedImage(c compare.ContainerComparison) string {
	var images []string
	if c.Before != nil {
		images = append(images, markdown.Code(c.Before.Container.Image))
	}
	if c.After != nil {
		images = append(images, markdown.Code(c.After.Container.Image))
	}
	return strings.Join(slices.Compact(images), " → ")
}

func comparedDetails(c compare.ContainerComparison, options Options) markdown.Details {
	full, short := comparedItems(c, options)
	none := ""
	if len(short) == 0 && c.Before != nil && c.After != nil {
		none = markdown.Paragraph("No change in what is needed.")
	}
	rest := none + markdown.Section("Cautions about the comparison", markdown.Texts(doubts(c)))
	if c.After != nil {
		list := listOf(*c.After)
		rest += list.head + list.tail
	}
	return markdown.Details{
		Summary: markdown.Summary(c.Name(), latest(c).Container.Image, changesInShort(c)), Open: !c.New().Empty(),
		Full: markdown.Section("Changes", full) + rest, Short: markdown.Section("Changes", short) + rest,
	}
}

// latest returns the container as the later profile has it, or otherwise the earlier one.
func latest(c compare.ContainerComparison) profile.Summary {
	if c.After != nil {
		return *c.After
	}
	return *c.Before
}

// changesInShort returns the changes for the visible line of the details.
func changesInShort(c compare.ContainerComparison) string {
	var parts []string
	switch {
	case c.Before == nil:
		parts = append(parts, "only in the later profile")
	case c.After == nil:
		parts = append(parts, "only in the earlier profile")
	}
	if !c.New().Empty() {
		parts = append(parts, unsureWord("new", c.NewUnsure, c.Before != nil)+" "+c.New().Text())
	}
	if !c.Gone().Empty() {
		parts = append(parts, unsureWord("gone", c.GoneUnsure, c.After != nil)+" "+c.Gone().Text())
	}
	switch comparedWord(c) {
	case "GRANTS":
		parts = append(parts, "other grants")
	case "USES":
		parts = append(parts, "other uses")
	case "SAME":
		parts = append(parts, "no change in what is needed")
	}
	return strings.Join(parts, "; ")
}

// comparedItems returns the changes as items of a list, in full with the uses that changed.
func comparedItems(c compare.ContainerComparison, options Options) (full, short []string) {
	for _, each := range c.Capabilities {
		uses := shown(c, each.Capability, options.All)
		word := changeWord(c, each)
		if word == "" && len(uses) == 0 {
			continue
		}
		item := fmt.Sprintf("%s: %s (granted: %s)", each.Capability, cmp.Or(word, "other uses"), grantChange(c, each.Capability))
		short = append(short, item)
		if len(uses) == 0 {
			item += "\n  - shown by capmon verify"
		}
		for i, use := range uses {
			if i == usesShown && !options.All && len(uses) > usesShown+1 {
				item += fmt.Sprintf("\n  - and %d other patterns of use that changed (`--all` shows them)", len(uses)-i)
				break
			}
			item += "\n  - " + changedUse(use)
		}
		full = append(full, item)
	}
	if options.All {
		for _, use := range c.Uses {
			if !use.Matters() {
				full = append(full, fmt.Sprintf("%s, %s: %s", use.Latest().Capability, markdown.Text(string(use.Latest().Class)), changedUse(use)))
			}
		}
	}
	for _, grants := range []struct{ word, set string }{{"granted only after", c.Granted.Text()}, {"granted only before", c.Withdrawn.Text()}} {
		if grants.set != "" {
			full, short = append(full, grants.word+": "+grants.set), append(short, grants.word+": "+grants.set)
		}
	}
	return full, short
}

// changedUse returns a use with its change, and the earlier values of the fields that changed.
func changedUse(use compare.UseChange) string {
	text := useWord(use) + ": " + useMarkdown(use.Latest())
	if use.Change != compare.Changed {
		return text
	}
	return text + " (" + markdown.Text(earlierFields(use)) + ")"
}
