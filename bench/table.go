package main

import (
	"fmt"
	"io"
	"slices"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/pflag"

	"github.com/capmon/capmon/internal/printable"
)

// formats are the output formats of the table.
var formats = []string{"text", "markdown"}

// registerFormat adds --output.
func registerFormat(flags *pflag.FlagSet, format *string) {
	flags.StringVarP(format, "output", "o", formats[0], "`FORMAT` of the table: "+printable.Choice(formats))
}

// checkFormat returns an error if --output names no format.
func checkFormat(format string) error {
	if !slices.Contains(formats, format) {
		return fmt.Errorf("-o %s: choose %s", format, printable.Choice(formats))
	}
	return nil
}

// spread is the median of some samples, with the lowest and the highest sample.
type spread struct{ median, low, high float64 }

func spreadOf(values []float64) spread {
	slices.Sort(values)
	n := len(values)
	return spread{(values[(n-1)/2] + values[n/2]) / 2, values[0], values[n-1]}
}

func (s spread) String() string { return fmt.Sprintf("%.0f (%.0f–%.0f)", s.median, s.low, s.high) }

// each returns the duration of one repetition of a load, in nanoseconds.
func each(samples []sample) spread {
	var values []float64
	for _, s := range samples {
		values = append(values, float64(s.each.Nanoseconds()))
	}
	return spreadOf(values)
}

// checks returns the number of checks that one repetition of a load makes.
func checks(samples []sample) float64 {
	var values []float64
	for _, s := range samples {
		values = append(values, s.checks)
	}
	return spreadOf(values).median
}

// writeTable writes a row for each load: its duration without a watcher, and what each watcher adds.
func writeTable(out io.Writer, format string, loads []load, m *measurement) {
	t := table.NewWriter()
	t.SetOutputMirror(out)
	header := table.Row{"load", "checks", baseline.name + ", ns"}
	for _, w := range m.watchers[1:] {
		header = append(header, "+ "+w.name)
		if w.name != bpftrace.name {
			header = append(header, "per check", "ratio", "%")
		}
	}
	t.AppendHeader(header)
	var columns []table.ColumnConfig
	for i := 2; i <= len(header); i++ {
		columns = append(columns, table.ColumnConfig{Number: i, Align: text.AlignRight, AlignHeader: text.AlignRight})
	}
	t.SetColumnConfigs(columns)
	for _, l := range loads {
		t.AppendRow(row(l, m))
	}
	if format == "markdown" {
		t.RenderMarkdown()
	} else {
		t.Render()
	}
}

func row(l load, m *measurement) table.Row {
	samples := m.samples[l]
	alone := each(samples[baseline.name])
	cells := table.Row{l.String(), "", alone.String()}
	for _, w := range m.watchers[1:] {
		with := each(samples[w.name])
		added := spread{with.median - alone.median, with.low - alone.median, with.high - alone.median}
		cells = append(cells, added.String())
		if w.name == bpftrace.name {
			continue
		}
		perCheck := "-"
		if n := checks(samples[w.name]); n >= 0.5 {
			cells[1] = fmt.Sprintf("%.1f", n)
			perCheck = fmt.Sprintf("%.0f", added.median/n)
		}
		ratio := "-"
		// There is no ratio if bpftrace may have added nothing.
		if counted, measured := samples[bpftrace.name]; measured && each(counted).low > alone.median {
			ratio = fmt.Sprintf("%.2f", added.median/(each(counted).median-alone.median))
		}
		cells = append(cells, perCheck, ratio, fmt.Sprintf("%+.1f", 100*added.median/alone.median))
	}
	return cells
}
