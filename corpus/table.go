package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/capmon/capmon/internal/capability"
)

// writeTable writes a row for each workload and one with the sums, as text or as
// markdown.
func writeTable(out io.Writer, format string, results []comparison) error {
	t := table.NewWriter()
	t.SetOutputMirror(out)
	t.AppendHeader(table.Row{"software", "Docker", "naive", "naive misses", "capmon", "capmon's list", "truth", "excess", "missing", "works", "proved"})
	for _, r := range results {
		t.AppendRow(table.Row{
			r.name, capability.DockerDefault().Len(), r.naive.Len(), list(naiveMissing(r)), r.observed.Len(),
			list(r.observed), truths(r.truth), list(r.excess), list(r.missing), yesNo(r.fails == nil), r.proof(),
		})
	}
	t.AppendFooter(sums(results))
	t.SuppressEmptyColumns()
	switch format {
	case "text":
		t.Render()
	case "markdown":
		t.RenderMarkdown()
	default:
		return fmt.Errorf("-o %s: text or markdown", format)
	}
	return nil
}

func sums(results []comparison) table.Row {
	var docker, naive, naiveMisses, observed, least, excess, missing, works int
	for _, r := range results {
		docker += capability.DockerDefault().Len()
		naive += r.naive.Len()
		naiveMisses += naiveMissing(r).Len()
		observed += r.observed.Len()
		least += smallest(r.truth)
		excess += r.excess.Len()
		missing += r.missing.Len()
		if r.fails == nil {
			works++
		}
	}
	return table.Row{
		strconv.Itoa(len(results)) + " in total", docker, naive, naiveMisses, observed, "", least, excess, missing,
		fmt.Sprintf("%d of %d", works, len(results)), "",
	}
}

func naiveMissing(r comparison) capability.Set {
	_, missing := r.deviation(r.naive)
	return missing
}

func smallest(sets []capability.Set) int {
	least := sets[0].Len()
	for _, set := range sets {
		least = min(least, set.Len())
	}
	return least
}

func list(set capability.Set) string {
	if set.Empty() {
		return "-"
	}
	return strings.ReplaceAll(set.String(), ",", " ")
}

func truths(sets []capability.Set) string {
	var all []string
	for _, set := range sets {
		all = append(all, list(set))
	}
	return strings.Join(all, " or ")
}

// proof tells the list of capmon verify by what it is, if it is the truth.
func (r comparison) proof() string {
	switch {
	case r.proved == nil:
		return ""
	case slices.Contains(r.truth, *r.proved):
		return "the truth"
	}
	return list(*r.proved)
}

func yesNo(yes bool) string {
	if yes {
		return "yes"
	}
	return "no"
}
