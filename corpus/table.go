package main

import (
	"fmt"
	"io"
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
	t.AppendHeader(table.Row{"software", "granted", "naive", "naive misses", "observed", "too many", "too few", "works", "proved", "truth"})
	for _, r := range results {
		t.AppendRow(table.Row{
			r.name, r.granted().Len(), r.naive.Len(), list(naiveMissing(r)),
			list(r.observed), list(r.excess), list(r.missing), yesNo(r.fails == nil), r.proof(), truths(r.truth),
		})
	}
	t.AppendFooter(sums(results))
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

// sums counts capabilities.
func sums(results []comparison) table.Row {
	var granted, naive, naiveMisses, observed, proved, least, excess, missing, works int
	for _, r := range results {
		granted += r.granted().Len()
		naive += r.naive.Len()
		naiveMisses += naiveMissing(r).Len()
		observed += r.observed.Len()
		least += smallest(r.truth)
		excess += r.excess.Len()
		missing += r.missing.Len()
		if r.fails == nil {
			works++
		}
		if r.proved != nil {
			proved += r.proved.Len()
		}
	}
	return table.Row{
		strconv.Itoa(len(results)) + " in total", granted, naive, naiveMisses, observed, excess, missing,
		fmt.Sprintf("%d of %d", works, len(results)), proved, least,
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

func (r comparison) proof() string {
	if r.proved == nil {
		return "not tried"
	}
	return list(*r.proved)
}

func yesNo(yes bool) string {
	if yes {
		return "yes"
	}
	return "no"
}
