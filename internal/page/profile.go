package page

import (
	"cmp"
	"fmt"
	"time"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/overview"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/settings"
)

// moreDenials is a note on all pages that show denials.
const moreDenials = "There may be more denials: Docker's seccomp profile denies some system calls before the kernel checks a capability."

// Options are the options of pages.
type Options struct {
	// Version is the version of capmon. Time is when the page is made; [OfAudit] uses the time of the audit.
	Version string
	Time    time.Time
	// AnyStart adds settings for containers whose start capmon did not see. [OfAudit] uses the thresholds of the audit.
	AnyStart bool
	// Evidence describes where the facts on the page come from. [OfDiff] shows it for the later profile, and Before for
	// the earlier one. [OfAudit] shows the evidence of the audit.
	Evidence, Before profile.Evidence
}

// evidenceOf returns the evidence as a block; none if there is none.
func evidenceOf(title string, e profile.Evidence) []Block {
	var facts facts
	for _, fact := range e.Facts() {
		facts.add(fact.Name, shorten(fact.Text, maxCaution))
	}
	if len(facts) == 0 {
		return nil
	}
	return []Block{{Kind: FactsBlock, Title: title, Facts: facts}}
}

// OfProfile returns the page of a report, without the sandboxes of pods that needed nothing.
func OfProfile(p profile.Profile, options Options) Page {
	page := Page{Title: "Capabilities of containers", Made: made(options.Version, options.Time), Notes: []string{}, About: evidenceOf("Evidence", options.Evidence)}
	p, sandboxes := p.Judged()
	if n := len(sandboxes); n > 0 {
		page.Notes = append(page.Notes, fmt.Sprintf("Not in this page: %d %s of pods that needed nothing.", n, plural(n, "sandbox", "sandboxes")))
	}
	summaries := profile.Summaries(p)
	all := overview.OfSummaries(summaries)
	labeled := settings.Labeled(summaries)
	writer := newSettingsWriter(labeled, options.AnyStart)
	subjects := make([]subject, 0, len(labeled))
	denials := false
	for i, c := range labeled {
		row := all.Containers[i]
		s := subject{identity: c.Container, hosts: c.Hosts, row: row, states: statesOf(&c.Summary, row)}
		s.details = append(s.details, identity(c.Container), observation(c.Summary))
		s.details = append(s.details, evidence(c.Summary, s.states)...)
		s.details = append(s.details, writer.block(c))
		subjects = append(subjects, s)
		denials = denials || !c.Denied().Empty()
	}
	if denials {
		page.Notes = append(page.Notes, moreDenials)
	}
	page.matrix(all, subjects)
	return page
}

// made states when and by which version a page was made.
func made(version string, t time.Time) string {
	return fmt.Sprintf("Made by capmon %s, %s", name(version), t.UTC().Format("2006-01-02 15:04 MST"))
}

// statesOf returns the key of the state of each capability that a container has, used or tried to use. s is nil if
// capmon did not observe the container.
func statesOf(s *profile.Summary, row overview.Row) map[capability.Capability]byte {
	states := make(map[capability.Capability]byte)
	set := func(all capability.Set, key byte) {
		for _, c := range all.Sorted() {
			if states[c] == 0 {
				states[c] = key
			}
		}
	}
	if s != nil {
		needs := listed(*s)
		set(needs.proved, proved)
		set(needs.unsure, unsure)
		set(needs.soft, soft)
		set(needs.used, used)
		if !s.Proved() {
			set(s.Spared(), spared)
		}
	}
	set(row.CertainlyUnused(), unused)
	set(row.Unused, notSeen)
	if row.Granted != nil {
		set(*row.Granted, unobserved)
	}
	for _, c := range row.Denied.Sorted() {
		states[c] = alsoDenied(cmp.Or(states[c], none))
	}
	return states
}

// needs are the members of a list by state.
type needs struct{ proved, unsure, soft, used capability.Set }

// listed returns the members of the list of a container. If two sets have a capability, the first one is its state.
func listed(s profile.Summary) needs {
	list, observed := s.List(), s.Needs()
	n := needs{unsure: list.Minus(observed)} // from a proof
	if s.Proved() {
		for _, member := range s.Proof.Members {
			if member.Verdict == profile.Needed && list.Has(member.Capability) {
				n.proved = n.proved.With(member.Capability)
			}
		}
		n.unsure = list.Minus(n.proved)
		return n
	}
	n.unsure = n.unsure.Union(s.Unsure())
	n.soft = observed.Intersect(s.Soft())
	n.used = observed
	return n
}
