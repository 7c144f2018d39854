package main

import (
	"cmp"
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
	t.AppendHeader(table.Row{"software", "granted", "naive", "naive misses", "observed", "too many", "too few", "run with it", "proved", "truth"})
	for _, r := range results {
		excess, missing := r.deviation(members(r.First))
		t.AppendRow(table.Row{
			r.name, r.granted().Len(), r.Naive.Len(), names(naiveMissing(r)),
			names(members(r.First)), names(excess), names(missing), r.outcome(), r.proof(), truths(r.truth),
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
	var granted, naive, naiveMisses, observed, proved, least, excess, missing int
	for _, r := range results {
		granted += r.granted().Len()
		naive += r.Naive.Len()
		naiveMisses += naiveMissing(r).Len()
		observed += len(r.First)
		least += smallest(r.truth)
		tooMany, tooFew := r.deviation(members(r.First))
		excess += tooMany.Len()
		missing += tooFew.Len()
		if r.Proved != nil {
			proved += r.Proved.Len()
		}
	}
	return table.Row{
		strconv.Itoa(len(results)) + " in total", granted, naive, naiveMisses, observed, excess, missing, "", proved, least,
	}
}

func naiveMissing(r comparison) capability.Set {
	_, missing := r.deviation(r.Naive)
	return missing
}

func smallest(sets []capability.Set) int {
	least := sets[0].Len()
	for _, set := range sets {
		least = min(least, set.Len())
	}
	return least
}

func names(set capability.Set) string {
	return cmp.Or(strings.ReplaceAll(set.String(), ",", " "), "-")
}

func truths(sets []capability.Set) string {
	var all []string
	for _, set := range sets {
		all = append(all, names(set))
	}
	return strings.Join(all, " or ")
}

func (r comparison) proof() string {
	if r.Proved == nil {
		return "not tried"
	}
	return names(*r.Proved)
}

// outcome is what came of a run with the list.
func (r comparison) outcome() string {
	if r.Again == nil {
		return "fails"
	}
	return cmp.Or(described(r.differences()), "the same list")
}
