package page

import (
	"fmt"
	"slices"
	"strings"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/compare"
	"github.com/capmon/capmon/internal/overview"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/report"
)

// The statuses of a comparison, the gravest first.
var diffStatuses = []Status{
	{"new", "the container needs a capability that it did not need before, or tried a new one and was denied"},
	{"added", "the container is only in the later profile"},
	{"changed", "the container needs the same capabilities, and uses them in other ways"},
	{"gone", "the container no longer uses a capability"},
	{"removed", "the container is only in the earlier profile"},
	{"same", "nothing changed"},
}

var diffFields = []Field{{"Image", false}, {"New", true}, {"Gone", true}, {"Observed", false}}

// OfDiff returns the page of a comparison.
func OfDiff(c compare.Comparison, options Options) Page {
	page := Page{Title: "Changes of capabilities", Made: made(options.Version, options.Time), Notes: []string{}, Fields: diffFields, Advice: []Advice{}, Containers: []Container{}}
	page.About = append(evidenceOf("Evidence of the earlier profile", options.Before), evidenceOf("Evidence of the later profile", options.Evidence)...)
	var subjects []subject
	var names []string
	for _, each := range c.Containers {
		subjects = append(subjects, subject{identity: latestOf(each).Container, states: changes(each)})
		names = append(names, each.Name())
	}
	columns := page.columns(subjects)
	page.Statuses = slices.DeleteFunc(slices.Clone(diffStatuses), func(s Status) bool {
		return !slices.ContainsFunc(c.Containers, func(each compare.ContainerComparison) bool { return diffStatus(each) == s.Name })
	})
	for i, key := range keys(names) {
		each := c.Containers[i]
		container := Container{Row: page.diffRow(key, each), Search: search(subjects[i].identity), Details: diffDetails(each)}
		container.Cells, container.Members, container.own = cells(subjects[i].states, columns), []int{i}, true
		page.Containers = append(page.Containers, container)
	}
	page.States = occurring(page.Containers)
	page.diffView()
	page.diffFigures(c)
	page.diffAdvice(c)
	return page
}

func latestOf(c compare.ContainerComparison) profile.Summary {
	if c.After != nil {
		return *c.After
	}
	return *c.Before
}

// changes returns the change of each capability that was needed, denied, granted or withdrawn.
func changes(c compare.ContainerComparison) map[capability.Capability]byte {
	states := make(map[capability.Capability]byte)
	both := c.Before != nil && c.After != nil
	choose := func(reasons []string, sure, unsure byte) byte {
		if both && len(reasons) > 0 {
			return unsure
		}
		return sure
	}
	for _, each := range c.Capabilities {
		switch {
		case each.New():
			states[each.Capability] = choose(c.NewUnsure, isNew, newUnsure)
		case each.Gone():
			states[each.Capability] = choose(c.GoneUnsure, gone, goneUnsure)
		case each.Before != each.After || usesChanged(c, each.Capability):
			states[each.Capability] = changed
		default:
			states[each.Capability] = same
		}
	}
	for _, each := range c.Granted.Union(c.Withdrawn).Sorted() {
		if states[each] == 0 {
			states[each] = grantOnly
		}
	}
	return states
}

func usesChanged(c compare.ContainerComparison, of capability.Capability) bool {
	return slices.ContainsFunc(c.Uses, func(u compare.UseChange) bool {
		return u.Latest().Capability == of && u.Matters() && u.Change != compare.Same
	})
}

func diffStatus(c compare.ContainerComparison) string {
	switch states := changes(c); {
	case c.After == nil:
		return "removed"
	case c.Before == nil:
		return "added"
	case !c.New().Empty():
		return "new"
	case has(states, changed):
		return "changed"
	case !c.Gone().Empty():
		return "gone"
	}
	return "same"
}

func has(states map[capability.Capability]byte, key byte) bool {
	for _, state := range states {
		if state == key {
			return true
		}
	}
	return false
}

func (p *Page) diffRow(key string, c compare.ContainerComparison) Row {
	status := diffStatus(c)
	return Row{
		Key: key, Title: name(c.Name()),
		Status: slices.IndexFunc(p.Statuses, func(s Status) bool { return s.Name == status }),
		Values: []Value{
			{Text: arrow(c, func(s profile.Summary) string { return name(s.Container.Image) })}, number(c.New().Len()), number(c.Gone().Len()),
			{Text: arrow(c, func(s profile.Summary) string { return overview.Duration(s.Observed) })},
		},
	}
}

// arrow returns the texts of both sides in the form "before → after", or one text if the texts are equal.
func arrow(c compare.ContainerComparison, text func(profile.Summary) string) string {
	var texts []string
	for _, side := range []*profile.Summary{c.Before, c.After} {
		if side != nil {
			texts = append(texts, text(*side))
		}
	}
	return strings.Join(slices.Compact(texts), " → ")
}

// diffView sets the view, the gravest status first.
func (p *Page) diffView() {
	v := View{Name: "container", Label: "container", Rows: []Row{}}
	for _, c := range p.Containers {
		v.Rows = append(v.Rows, c.Row)
	}
	slices.SortStableFunc(v.Rows, func(one, other Row) int { return one.Status - other.Status })
	p.Views = []View{v}
}

func (p *Page) diffFigures(c compare.Comparison) {
	with, added, lost := 0, 0, 0
	for _, each := range c.Containers {
		added, lost = added+each.New().Len(), lost+each.Gone().Len()
		if !each.New().Empty() {
			with++
		}
	}
	n := len(c.Containers)
	p.Figures = []Figure{
		{fmt.Sprint(n), plural(n, "container", "containers")}, {fmt.Sprint(with), "with new capabilities"},
		{fmt.Sprint(added), "capabilities new"}, {fmt.Sprint(lost), "gone"},
	}
}

func (p *Page) diffAdvice(c compare.Comparison) {
	p.AdviceTitle, p.AdviceHint = "New capabilities", "A link opens the container, with everything that changed."
	for i, row := range p.Views[0].Rows {
		each := c.Containers[row.Members[0]]
		if each.New().Empty() || len(p.Advice) == mostAdvice {
			continue
		}
		text := "it now needs, or tried to use, " + each.New().Text()
		if each.Before != nil && len(each.NewUnsure) > 0 {
			text += ", which it may have needed before"
		}
		p.Advice = append(p.Advice, Advice{Row: i, Text: text})
	}
}

func diffDetails(c compare.ContainerComparison) []Block {
	var facts facts
	for _, side := range []struct {
		name    string
		summary *profile.Summary
	}{{"Before", c.Before}, {"After", c.After}} {
		if s := side.summary; s == nil {
			facts.add(side.name, "not in this profile")
		} else {
			facts.add(side.name, fmt.Sprintf("%s, image %s, observed %s in %d %s, since %s",
				name(s.Container.Title()), name(s.Container.Image), overview.Duration(s.Observed), s.Runs, plural(s.Runs, "run", "runs"), moment(s.Since)))
			facts.add(side.name+": image ID", name(s.Container.ImageID))
		}
	}
	facts.add("Matched by", string(c.PairedBy))
	facts.add("Granted only after", c.Granted.Text())
	facts.add("Granted only before", c.Withdrawn.Text())
	blocks := []Block{{Kind: FactsBlock, Title: "Container", Facts: facts}}
	if doubts := report.Doubts(c); len(doubts) > 0 {
		blocks = append(blocks, Block{Kind: CautionsBlock, Title: "What is not certain", Items: shortenAll(doubts, maxCaution)})
	}
	table := Block{Kind: TableBlock, Title: "Changes", Columns: []string{"Capability", "Change", "Granted", "By"}}
	previous := ""
	for _, row := range report.Changes(c) {
		if row.Capability != "" {
			previous = row.Capability
		}
		table.Rows = append(table.Rows, []Lines{{previous}, {row.Word}, {row.Granted}, {shorten(row.By, 2*maxText)}})
	}
	if len(table.Rows) == 0 {
		return append(blocks, Block{Kind: ListBlock, Title: "Changes", Items: []string{"no change in what is needed"}})
	}
	return append(blocks, table)
}
