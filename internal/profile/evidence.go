package profile

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/capmon/capmon/internal/printable"
)

// Evidence describes where the facts in an output come from: which host, engine and containers, when recorded, and by
// which version of capmon.
type Evidence struct {
	// Hosts are the names of the hosts that the recordings are from, sorted; "" for recordings that do not name their
	// host.
	Hosts []string `json:"hosts"`
	// Engines are the engines on these hosts, such as docker 28.2.2; "" for recordings that do not name one.
	Engines []string `json:"engines"`
	// Kernels are the releases of the kernels on these hosts; "" for recordings that do not name one.
	Kernels []string `json:"kernels"`
	// RecordedBy are the versions of capmon that made the recordings; "" for recordings that do not name one.
	RecordedBy []string `json:"recordedBy"`
	// From is when capmon began to watch the first of the containers; missing without a recording.
	From time.Time `json:"from,omitzero"`
	// To is when capmon last watched one of the containers; missing without a recording.
	To time.Time `json:"to,omitzero"`
	// Audited is the engine that reported the settings of the containers; missing if this is not an audit.
	Audited *AuditedEngine `json:"audited,omitempty"`
	// Scope describes in words which files, database or containers capmon read. It has no character that can control a
	// terminal.
	Scope string `json:"scope"`
	// Created is the time of this output.
	Created time.Time `json:"created"`
	// Capmon is the version of capmon that made this output.
	Capmon string `json:"capmon"`
}

// AuditedEngine is the engine whose containers an audit is about. Its fields are empty if the engine did not report
// them.
type AuditedEngine struct {
	// Host is the name of the engine's host.
	Host string `json:"host"`
	// Engine is the kind and version of the engine, such as docker 28.2.2.
	Engine string `json:"engine"`
}

// WithRuns returns the evidence with the fields about the recordings of these runs. Without it, the evidence is only
// valid as zero value, which has no text.
func (e Evidence) WithRuns(runs []Run) Evidence {
	hosts, engines, kernels, versions := make(words), make(words), make(words), make(words)
	for _, run := range runs {
		o := run.Observation
		hosts[o.Host], engines[o.Engine], kernels[o.Kernel], versions[o.Capmon] = true, true, true, true
		e.From = earliest(e.From, run.Since())
		if run.Ended.After(e.To) {
			e.To = run.Ended
		}
	}
	e.Hosts, e.Engines, e.Kernels, e.RecordedBy = hosts.sorted(), engines.sorted(), kernels.sorted(), versions.sorted()
	return e
}

// WithProof returns the evidence of a proof that was just finished.
func (e Evidence) WithProof(proof Proof) Evidence {
	e.Hosts, e.Engines, e.Kernels, e.RecordedBy = []string{proof.Host}, []string{proof.Engine}, []string{}, []string{proof.Capmon}
	e.From, e.To = proof.Time, e.Created
	return e
}

// words is a set of words.
type words map[string]bool

// sorted returns the words in order, never nil.
func (w words) sorted() []string { return append([]string{}, slices.Sorted(maps.Keys(w))...) }

// Origin returns the host and the engine of the containers as text that is safe for terminals: in an audit the audited
// ones, and otherwise the recorded ones. They are "unknown" if they are not known, and "" without any recording.
func (e Evidence) Origin() (host, engine string) {
	hosts, engines := e.origin()
	return listed(hosts), listed(engines)
}

func (e Evidence) origin() (hosts, engines []string) {
	if e.Audited != nil {
		return []string{e.Audited.Host}, []string{e.Audited.Engine}
	}
	return e.Hosts, e.Engines
}

// Fact is a part of the evidence as text that is safe for terminals. Its name is a word of capmon.
type Fact struct{ Name, Text string }

// Facts returns what is known, for people. A long list is shortened, and a name that is not known is "unknown".
func (e Evidence) Facts() []Fact {
	var facts []Fact
	add := func(name, text string) {
		if text != "" {
			facts = append(facts, Fact{name, text})
		}
	}
	if e.Audited != nil {
		add("audited host", listed([]string{e.Audited.Host}))
		add("audited engine", listed([]string{e.Audited.Engine}))
	}
	add("host", listed(e.Hosts))
	add("engine", listed(e.Engines))
	add("kernel", listed(e.Kernels))
	add("recorded", period(e.From, e.To))
	add("recorded by", listed(e.RecordedBy))
	add("scope", e.Scope)
	if !e.Created.IsZero() {
		add("created", utc(e.Created))
	}
	add("capmon", e.Capmon)
	return facts
}

// lineWidth is the width of the lines of [Evidence.Lines], in characters.
const lineWidth = 80

// Lines returns the most important facts as lines for a terminal. Each part of a line begins with a word of capmon, so
// that no name can imitate other output. A part that is longer than a line is not broken. The first line begins with
// the label, and the others are indented.
func (e Evidence) Lines(label string) []string {
	var lines []string
	for _, part := range e.parts() {
		last := len(lines) - 1
		switch {
		case last < 0:
			lines = append(lines, label+part)
		case utf8.RuneCountInString(lines[last]+separator+part) <= lineWidth:
			lines[last] += separator + part
		default:
			lines = append(lines, "  "+part)
		}
	}
	return lines
}

const separator = " · "

// parts returns the facts of Lines.
func (e Evidence) parts() []string {
	var parts []string
	add := func(word, text string) {
		if text != "" {
			parts = append(parts, strings.TrimSpace(word+" "+text))
		}
	}
	host, engine := e.Origin()
	add("host", host)
	add("engine", engine)
	add("recorded", e.recorded())
	add("", e.Scope)
	if e.Audited != nil && !e.Created.IsZero() {
		add("audited", utc(e.Created))
	}
	if !e.Created.IsZero() {
		add("capmon", cmp.Or(e.Capmon, unknown))
	}
	return parts
}

// recorded returns when the recordings were made. It adds the host, the engine and the version of capmon if the other
// parts of the lines do not have them.
func (e Evidence) recorded() string {
	text := period(e.From, e.To)
	if text == "" {
		return ""
	}
	hosts, engines := e.origin()
	if !slices.Equal(e.Hosts, hosts) {
		text += " on host " + listed(e.Hosts)
	}
	if !slices.Equal(e.Engines, engines) {
		text += " with engine " + listed(e.Engines)
	}
	if !slices.Equal(e.RecordedBy, []string{e.Capmon}) {
		text += " by capmon " + listed(e.RecordedBy)
	}
	return text
}

const (
	unknown = "unknown"
	// maxListed is the number of names in a text. maxName is the length of a name, in characters: host names of Linux
	// are not longer.
	maxListed, maxName = 3, 64
)

// listed returns names as text: "web1", or "web1, web2, web3 and 7 more".
func listed(names []string) string {
	var shown []string
	for _, name := range names[:min(len(names), maxListed)] {
		shown = append(shown, cmp.Or(printableName(name), unknown))
	}
	if more := len(names) - maxListed; more > 0 {
		return strings.Join(shown, ", ") + fmt.Sprintf(" and %d more", more)
	}
	return strings.Join(shown, ", ")
}

// printableName returns a name as text, with … in place of what is too long. It quotes words that could be read as
// something else.
func printableName(name string) string {
	length := 0
	for i := range name {
		if length == maxName {
			name = name[:i] + "…"
			break
		}
		length++
	}
	var quoted []string
	for _, word := range strings.Fields(name) {
		quoted = append(quoted, printable.Word(word))
	}
	return strings.Join(quoted, " ")
}

// period returns an interval as text; "" if it is not known.
func period(from, to time.Time) string {
	if from.IsZero() {
		return ""
	}
	from, to = from.UTC().Truncate(time.Second), to.UTC().Truncate(time.Second)
	switch {
	case !to.After(from):
		return utc(from)
	case from.Format(time.DateOnly) == to.Format(time.DateOnly):
		return from.Format(time.DateTime) + " to " + to.Format(time.TimeOnly) + " UTC"
	}
	return from.Format(time.DateTime) + " to " + utc(to)
}

func utc(t time.Time) string { return t.UTC().Format(time.DateTime) + " UTC" }
