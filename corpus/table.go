package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/capmon/capmon/capability"
)

// tables returns the tables of the results by software, of the listed capabilities that are not needed, and of the
// sums.
func tables(results []comparison) []table.Writer {
	return []table.Writer{bySoftware(results), extras(results), sums(results)}
}

func writeTables(out io.Writer, results []comparison) {
	for _, t := range tables(results) {
		fmt.Fprintln(out, t.Render())
	}
}

// table prints the stored results of the workloads.
func (c command) table(workloads []workload, out io.Writer) error {
	results, err := stored(workloads)
	writeTables(out, results)
	return err
}

// updateDocumentation writes the stored results of all workloads to docs/precision.md.
func (c command) updateDocumentation() error {
	all, err := load(c.directory, nil)
	if err != nil {
		return err
	}
	results, err := stored(all)
	if err != nil {
		return err
	}
	file := filepath.Join(c.directory, "..", "docs", "precision.md")
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	updated, err := withTables(string(text), results)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return os.WriteFile(file, []byte(updated), 0o644)
}

// stored returns the results that compare -update stored, and an error if one of them is wrong.
func stored(workloads []workload) (results []comparison, err error) {
	var problems []error
	for _, w := range workloads {
		if w.stored == nil {
			problems = append(problems, fmt.Errorf("%s: no stored measurement: run corpus compare -update %s", w.name, w.name))
			continue
		}
		r := comparison{workload: w, measured: *w.stored}
		results = append(results, r)
		problems = append(problems, r.check())
	}
	return results, errors.Join(problems...)
}

// withTables replaces the tables in the text that have the same header rows.
func withTables(text string, results []comparison) (string, error) {
	for _, t := range tables(results) {
		rendered := t.RenderMarkdown()
		head, _, _ := strings.Cut(rendered, "\n")
		before, rest, found := strings.Cut(text, head+"\n")
		if !found {
			return "", fmt.Errorf("no table has the header row %s", head)
		}
		for strings.HasPrefix(rest, "|") {
			_, rest, _ = strings.Cut(rest, "\n")
		}
		text = before + rendered + "\n" + rest
	}
	return text, nil
}

// bySoftware returns a table with a row for each workload.
func bySoftware(results []comparison) table.Writer {
	t := table.NewWriter()
	t.AppendHeader(table.Row{
		"software", "adds", "naive", "naive misses", "observed", "too many", "unmarked", "too few", "run with this list", "proved", "truth",
	})
	for _, r := range results {
		excess, missing := r.deviation(members(r.First))
		_, naiveMisses := r.deviation(r.Naive)
		t.AppendRow(table.Row{
			r.name, names(r.Adds), r.Naive.Len(), names(naiveMisses), names(members(r.First)), names(excess),
			r.unmarked(excess), names(missing), r.outcome(), r.proof(), truths(r.truth),
		})
	}
	return t
}

// unmarked counts the capabilities of a set that the report does not mark.
func (r comparison) unmarked(of capability.Set) (n int) {
	for _, c := range of.Sorted() {
		if r.First[c] == unmarked {
			n++
		}
	}
	return n
}

// outcome describes the result of a run with the list First.
func (r comparison) outcome() string {
	if r.Again == nil {
		return "fails"
	}
	return cmp.Or(described(r.differences()), "the same list")
}

func (r comparison) proof() string {
	if r.Proved == nil {
		return "not tried"
	}
	return names(*r.Proved)
}

func truths(sets []capability.Set) string {
	var all []string
	for _, set := range sets {
		all = append(all, names(set))
	}
	return strings.Join(all, " or ")
}

func names(set capability.Set) string {
	return cmp.Or(strings.ReplaceAll(set.String(), ",", " "), "-")
}

// extras returns a table with a row for each capability that capmon lists and the software does not need.
func extras(results []comparison) table.Writer {
	t := table.NewWriter()
	t.AppendHeader(table.Row{"software", "capability", "mark", "what uses it"})
	for _, r := range results {
		excess, _ := r.deviation(members(r.First))
		for _, c := range excess.Sorted() {
			t.AppendRow(table.Row{r.name, c.String(), cmp.Or(string(r.First[c]), "-"), r.Excess[c]})
		}
	}
	return t
}

// sums returns a table that adds up the lists of all workloads.
func sums(results []comparison) table.Writer {
	granted := sum{name: "granted: Docker's default and what users add"}
	naive := sum{name: "a recorder that counts every granted check in the container's cgroup, from its creation"}
	observed := sum{name: "capmon, from one observation"}
	proved := sum{name: "capmon, proved with `verify`"}
	truth := sum{name: "the truth"}
	marks := map[mark]int{}
	for _, r := range results {
		granted.add(r.workload, r.granted())
		naive.add(r.workload, r.Naive)
		observed.add(r.workload, members(r.First))
		if r.Proved != nil {
			proved.add(r.workload, *r.Proved)
		}
		truth.add(r.workload, smallest(r.truth))
		excess, _ := r.deviation(members(r.First))
		for _, c := range excess.Sorted() {
			marks[r.First[c]]++
		}
	}
	t := table.NewWriter()
	t.AppendHeader(table.Row{"list", "capabilities in total", "too many", "too few", "right"})
	t.AppendRows([]table.Row{granted.row(), naive.row(), observed.row()})
	for _, mark := range []mark{unsure, soft, unmarked} {
		t.AppendRow(table.Row{"… " + mark.String(), "", marks[mark], "", ""})
	}
	t.AppendRows([]table.Row{proved.row(), {truth.name, truth.capabilities, "", "", ""}})
	return t
}

// sum adds up lists and their deviations from the truth.
type sum struct {
	name                                        string
	lists, capabilities, tooMany, tooFew, right int
}

func (s *sum) add(w workload, list capability.Set) {
	excess, missing := w.deviation(list)
	s.lists++
	s.capabilities += list.Len()
	s.tooMany += excess.Len()
	s.tooFew += missing.Len()
	if excess.Empty() && missing.Empty() {
		s.right++
	}
}

func (s sum) row() table.Row {
	return table.Row{s.name, s.capabilities, s.tooMany, s.tooFew, fmt.Sprintf("%d of %d", s.right, s.lists)}
}

func smallest(sets []capability.Set) capability.Set {
	return slices.MinFunc(sets, func(one, other capability.Set) int { return one.Len() - other.Len() })
}
