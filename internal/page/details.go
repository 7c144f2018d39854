package page

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/alternatives"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/overview"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/report"
)

// The maximum numbers of patterns of use and of files that the details show for one capability.
const (
	mostUses  = 5
	mostFiles = 10
)

// matters are the classes of the uses that the details show.
var matters = append(classify.Needs(), classify.Denied)

// identity returns what identifies a container.
func identity(c profile.Container) Block {
	var facts facts
	for _, fact := range [][2]string{
		{"Name", c.Name}, {"ID", c.ID}, {"Unconfirmed cgroup", c.Unconfirmed}, {"Image", c.Image}, {"Image ID", c.ImageID}, {"Image digest", c.ImageDigest}, {"Engine", c.Engine}, {"Pod", cmp.Or(c.PodName, c.Pod)}, {"Owner", c.Owner},
		{"Service", serviceOf(c)}, {"Namespace", namespaceOf(c)}, {"User", c.User}, {"Network", c.NetworkMode},
	} {
		facts.add(fact[0], name(fact[1]))
	}
	return Block{Kind: FactsBlock, Title: "Container", Facts: facts}
}

type facts [][2]string

// add adds a fact unless its text is empty.
func (f *facts) add(term, text string) {
	if text != "" {
		*f = append(*f, [2]string{term, text})
	}
}

// observation returns how capmon observed a container, and what it is granted.
func observation(s profile.Summary) Block {
	var facts facts
	watched := fmt.Sprintf("%s in %d %s, since %s", overview.Duration(s.Observed), s.Runs, plural(s.Runs, "run", "runs"), moment(s.Since))
	if s.Running {
		watched += ", still running"
	}
	if !s.Started {
		watched = "capmon did not see the workload"
	}
	facts.add("Observed", watched)
	facts.add("Host", name(strings.Join(s.Hosts, ", ")))
	start := "capmon saw the start of a new container"
	if why := s.StartUnseen(); why != "" {
		start = why
	}
	facts.add("Start", start)
	complete := "yes: capmon recorded everything while it observed the container"
	if n := len(s.Missing()); n > 0 {
		complete = fmt.Sprintf("no, for %d %s: see the cautions", n, plural(n, "reason", "reasons"))
	}
	facts.add("Complete", complete)
	facts.add("Checks", fmt.Sprintf("%d by %d %s, %d lost", s.Checks, s.Processes, plural(int(s.Processes), "process", "processes"), s.Lost))
	facts.add("Granted", grantsText(s.Grants))
	facts.add("CIS 5.4", strings.TrimPrefix(report.Verdict(s), "CIS 5.4: "))
	facts.add("Proof", report.ProofSummary(report.Printable(s)))
	return Block{Kind: FactsBlock, Title: "Observation", Facts: facts}
}

func grantsText(g profile.Grants) string {
	set, known := g.Set()
	switch {
	case !known:
		return "not known"
	case set.Empty():
		return "no capability"
	case g.Privileged:
		return fmt.Sprintf("privileged: all %d capabilities", set.Len())
	}
	return fmt.Sprintf("%d: %s", set.Len(), set.Text())
}

func moment(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 MST") }

// evidence returns the cautions about the list, and what the list is based on. The cautions are first.
func evidence(s profile.Summary, states map[capability.Capability]byte) []Block {
	var blocks []Block
	if all := shortenAll(report.Cautions(s), maxCaution); len(all) > 0 {
		blocks = append(blocks, Block{Kind: CautionsBlock, Title: "Before you rely on the list", Items: all})
	}
	s = report.Printable(s)
	blocks = append(blocks, usesTable(s, states)...)
	blocks = append(blocks, filesTable(s)...)
	blocks = append(blocks, timeline(s)...)
	if found := alternatives.Of(s); len(found) > 0 {
		var items []string
		for _, alternative := range found {
			items = append(items, shorten(alternative.String(), maxCaution))
		}
		blocks = append(blocks, Block{Kind: ListBlock, Title: "Alternatives", Items: items})
	}
	return blocks
}

// usesTable returns the capabilities that the container used or tried to use, and then the unused ones.
func usesTable(s profile.Summary, states map[capability.Capability]byte) []Block {
	table := Block{Kind: TableBlock, Title: "Uses", Columns: []string{"Capability", "State", "Granted", "Times", "First use", "By"}}
	granted, known := s.Grants.Set()
	var idle capability.Set
	for c := range states {
		idle = idle.With(c)
	}
	for _, c := range s.Needs().Union(s.Spared()).Union(s.Denied()).Union(s.List()).Sorted() {
		idle = idle.Without(c)
		uses := s.UsesOf(c, matters...)
		table.Rows = append(table.Rows, []Lines{
			{c.String()}, {stateName(states[c])}, {grantWord(granted.Has(c), known)}, {count(uses)}, {firstUse(s, uses)}, describe(uses),
		})
	}
	var blocks []Block
	if len(table.Rows) > 0 {
		blocks = append(blocks, table)
	}
	if !idle.Empty() {
		blocks = append(blocks, Block{Kind: FactsBlock, Title: "Without a use", Facts: byState(idle, states)})
	}
	return blocks
}

// byState returns the capabilities of each state, the gravest capabilities first.
func byState(set capability.Set, states map[capability.Capability]byte) [][2]string {
	var facts facts
	for _, state := range []byte{unused, notSeen, unobserved, waived} {
		var names []string
		for _, c := range overview.Gravest(set) {
			if states[c] == state {
				names = append(names, c.String())
			}
		}
		facts.add(stateName(state), strings.Join(names, ", "))
	}
	return facts
}

func grantWord(granted, known bool) string {
	switch {
	case !known:
		return "not known"
	case granted:
		return "yes"
	}
	return "no"
}

func count(uses []profile.UsePattern) string {
	var sum uint64
	for _, use := range uses {
		sum += use.Count
	}
	return fmt.Sprint(sum)
}

// describe returns a line for each pattern of use.
func describe(uses []profile.UsePattern) Lines {
	if len(uses) == 0 {
		return Lines{"shown by capmon verify"}
	}
	var lines Lines
	for i, use := range uses {
		if i == mostUses && len(uses) > mostUses+1 {
			return append(lines, fmt.Sprintf("and %d other patterns of use (capmon report --all shows them)", len(uses)-i))
		}
		line := report.Describe(use)
		if use.Class == classify.Denied {
			line = "denied: " + line
		}
		lines = append(lines, shorten(line, maxText))
	}
	return lines
}

// filesTable returns the files for which the kernel checked capabilities.
func filesTable(s profile.Summary) []Block {
	table := Block{Kind: TableBlock, Title: "Files", Columns: []string{"Capability", "Program", "Call", "File"}}
	for _, c := range s.Needs().Union(s.Denied()).Sorted() {
		files, others := s.FilesOf(s.UsesOf(c, matters...))
		for _, file := range files[:min(len(files), mostFiles)] {
			table.Rows = append(table.Rows, []Lines{{c.String()}, {shorten(file.Program, maxText)}, {shorten(file.Call, maxText)}, {shorten(file.String(), 4*maxText)}})
		}
		if left := len(files) - mostFiles; left > 0 {
			table.Rows = append(table.Rows, []Lines{{c.String()}, {}, {}, {fmt.Sprintf("and %d more files (capmon report --all shows them)", left)}})
		}
		if len(files) > 0 && others {
			table.Rows = append(table.Rows, []Lines{{c.String()}, {}, {}, {"and possibly other files"}})
		}
	}
	if len(table.Rows) == 0 {
		return nil
	}
	return []Block{table}
}

// earliest returns the earliest of the first uses; zero if no time is known.
func earliest(uses []profile.UsePattern) (first time.Time) {
	for _, use := range uses {
		if first.IsZero() || use.First.Before(first) && !use.First.IsZero() {
			first = use.First
		}
	}
	return first
}

func firstUse(s profile.Summary, uses []profile.UsePattern) string {
	first := earliest(uses)
	if first.IsZero() {
		return ""
	}
	return "after " + overview.Duration(max(first.Sub(s.Since), 0))
}

// latest returns the latest of the last uses.
func latest(uses []profile.UsePattern) time.Time {
	return slices.MaxFunc(uses, func(one, other profile.UsePattern) int { return one.Last.Compare(other.Last) }).Last
}
