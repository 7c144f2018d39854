package top

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/containerid"
	"github.com/capmon/capmon/internal/dockerflags"
	"github.com/capmon/capmon/internal/overview"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/report"
)

// usesShown is the number of patterns of use that the details show for one capability.
const usesShown = 20

// state is the state of a capability of a container: a sign, a word and a style.
type state struct {
	sign, word string
	paint      func(*styles) style
}

// The states of a capability. The help lists them in this order.
var (
	used    = state{signUsed, "used", func(s *styles) style { return s.good }}
	unsure  = state{signUnsure, "unsure", func(s *styles) style { return s.warn }}
	spared  = state{signSpared, "spared", func(s *styles) style { return s.plain }}
	denied  = state{signDenied, "denied", func(s *styles) style { return s.bad }}
	unused  = state{signUnused, "unused", func(s *styles) style { return s.warn }}
	risky   = state{signUnused, "unused, risky", func(s *styles) style { return s.bad }}
	perhaps = state{signUnused, "perhaps unused", func(s *styles) style { return s.warn }}
)

func signText() string {
	var parts []string
	for _, s := range []state{used, unsure, spared, denied, unused} {
		parts = append(parts, s.sign+" "+s.word)
	}
	return strings.Join(parts, ", ")
}

// detailLines returns the content of the details page.
func (m *model) detailLines() []string {
	p := &detailsPrinter{width: m.width, styles: m.styles, now: m.now()}
	p.title(m.open)
	switch {
	case m.detailsErr != nil:
		p.add(m.styles.bad, "", "cannot read the details: "+safe(m.detailsErr.Error()))
		if m.details == nil {
			return p.lines
		}
		p.add(m.styles.bad, "", "these are the last details that capmon could read:")
	case m.details == nil:
		p.add(m.styles.plain, "", "reading…")
		return p.lines
	}
	p.list(*m.details)
	p.cautions(m.details.Cautions)
	p.capabilities(m.details.Summary)
	return p.lines
}

// detailsPrinter collects the lines of the details.
type detailsPrinter struct {
	width  int
	styles *styles
	now    time.Time
	lines  []string
}

// add adds a text that may need several lines. Further lines begin with the indent.
func (p *detailsPrinter) add(paint style, indent, text string) {
	for _, line := range wrap(text, p.width, indent) {
		p.lines = append(p.lines, paint.Render(line))
	}
}

func (p *detailsPrinter) title(r *row) {
	parts := []string{safe(r.Title), cmp.Or(safe(r.Image), "unknown image"), safe(containerid.Short(r.ID))}
	if r.Privileged {
		parts = append(parts, "PRIVILEGED")
	}
	if !r.Running {
		parts = append(parts, "ended")
	}
	p.add(p.styles.bold, "  ", strings.Join(parts, "  "))
}

// list adds what was observed, and the list as options of docker run.
func (p *detailsPrinter) list(d Details) {
	s := d.Summary
	observed := fmt.Sprintf("observed %s in %s, %s", overview.Duration(s.Observed), count(s.Runs, "run", "runs"), count(int(s.Checks), "check", "checks"))
	if s.Lost > 0 {
		observed += fmt.Sprintf(", %d LOST", s.Lost)
	}
	p.add(p.styles.plain, "  ", observed)
	if !s.Started {
		return
	}
	line := "docker run " + dockerflags.Line(s.List()) + " …"
	if s.Grants.Privileged {
		line = "without --privileged: " + line
	}
	if !s.StartSeen() {
		line = "START NOT SEEN: " + line
	}
	p.lines = append(p.lines, "")
	p.add(p.styles.bold, "  ", line)
	p.add(p.styles.plain, "  ", "capmon audit prints the commands that create the container again")
}

// cautions adds all cautions about the list.
func (p *detailsPrinter) cautions(cautions []string) {
	for _, caution := range cautions {
		p.add(p.styles.note, "  ", "note: "+escape(bound(caution)))
	}
}

// capabilities adds the capabilities with their states and uses.
func (p *detailsPrinter) capabilities(s profile.Summary) {
	p.lines = append(p.lines, "")
	doubtful := s.Unsure()
	for _, c := range s.Needs().Sorted() {
		of := used
		if doubtful.Has(c) && !s.Proved() {
			of = unsure
		}
		p.capability(of, c, s.UsesOf(c, classify.Needs()...))
	}
	for _, c := range s.Spared().Sorted() {
		p.capability(spared, c, s.UsesOf(c, classify.Needs()...))
	}
	for _, c := range s.Denied().Sorted() {
		p.capability(denied, c, s.UsesOf(c, classify.Denied))
	}
	row := overview.Of(s)
	for _, c := range overview.Gravest(row.Unused) {
		of := unused
		switch {
		case !row.Certain():
			of = perhaps
		case capability.Risky().Has(c):
			of = risky
		}
		p.capability(of, c, nil)
	}
	if row.Granted == nil {
		p.add(p.styles.bad, "  ", "capmon does not know which capabilities are granted, so it does not know which are unused")
	}
}

// capability adds a capability with its uses, most frequent first.
func (p *detailsPrinter) capability(of state, c capability.Capability, uses []profile.UsePattern) {
	line := fmt.Sprintf("%s %-18s %s", of.sign, c, of.word)
	if len(uses) > 0 {
		var total uint64
		last := uses[0].Last
		for _, use := range uses {
			total += use.Count
			if use.Last.After(last) {
				last = use.Last
			}
		}
		line += fmt.Sprintf("  %s, last %s ago", count(int(total), "check", "checks"), age(last, p.now))
	}
	p.add(of.paint(p.styles), "  ", line)
	slices.SortStableFunc(uses, func(one, other profile.UsePattern) int { return cmp.Compare(other.Count, one.Count) })
	for i, use := range uses {
		if i == usesShown {
			p.add(p.styles.plain, "      ", fmt.Sprintf("    and %d other patterns of use: capmon report --all lists them", len(uses)-i))
			break
		}
		p.add(p.styles.plain, "      ", fmt.Sprintf("    %d×  %s", use.Count, escape(bound(report.Describe(use)))))
	}
}
