package sink

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/capmon/capmon/internal/alert"
	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/live"
	"github.com/capmon/capmon/internal/printable"
	"github.com/capmon/capmon/internal/spool"
)

// droppedRule stands where alerts have the name of their rule.
const droppedRule = "capmon-alerts-dropped"

// Message is what a sink is told: an alert, in the alert's own form, or a notice that alerts
// for the sink were dropped.
type Message struct {
	// Version of the form.
	Schema int `json:"schema"`
	// ID is the same in every delivery of the message, and no other one's.
	ID string `json:"id"`
	// When the kernel asked for the capability; of a notice, the time of the last alert that was dropped.
	Time time.Time `json:"time"`
	// Name of the rule; of a notice, capmon-alerts-dropped.
	Rule     string         `json:"rule"`
	Severity alert.Severity `json:"severity"`
	// What has happened, in one line that is safe for terminals and logs.
	Summary string `json:"summary"`
	// How many uses it tells of; of a notice, how many alerts were dropped.
	Count uint64 `json:"count"`
	// The use; missing in a notice.
	Use *live.Use `json:"use,omitempty"`
	// What was dropped; missing in an alert.
	Dropped *Dropped `json:"dropped,omitempty"`
}

// Dropped are alerts that were not delivered to a sink, and will not be.
type Dropped struct {
	// Sink that they were for.
	Sink  string `json:"sink"`
	Count uint64 `json:"count"`
	// Times of the first and of the last one.
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
}

func messageOf(a alert.Alert) Message {
	return Message{
		Schema: a.Schema, ID: a.ID, Time: a.Time, Rule: a.Rule, Severity: a.Severity,
		Summary: oneLine(a.Summary), Count: a.Count, Use: &a.Use,
	}
}

// oneLine is a summary as it is, if it is what it has to be.
func oneLine(summary string) string {
	if utf8.ValidString(summary) && strings.IndexFunc(summary, func(r rune) bool { return !unicode.IsGraphic(r) }) < 0 {
		return summary
	}
	return printable.Text(summary)
}

// noticeOf tells a sink that it was not told of alerts.
func noticeOf(sink string, d spool.Dropped) Message {
	return Message{
		Schema: 1, ID: d.ID, Time: d.To, Rule: droppedRule, Severity: alert.Critical,
		Summary: fmt.Sprintf("%d alerts were dropped between %s and %s: too many waited for the sink %s",
			d.Count, d.From.UTC().Format(time.RFC3339), d.To.UTC().Format(time.RFC3339), sink),
		Count:   d.Count,
		Dropped: &Dropped{Sink: sink, Count: d.Count, From: d.From, To: d.To},
	}
}

// encode makes the line in which a message is kept and sent. What a terminal might obey is
// escaped.
func (m Message) encode() []byte {
	var line bytes.Buffer
	if err := printable.WriteJSON(&line, m); err != nil { // of a type that always can be written
		panic(err)
	}
	return bytes.TrimSuffix(line.Bytes(), []byte("\n"))
}

func decodeMessage(line []byte) (m Message, err error) { return m, json.Unmarshal(line, &m) }

// marshal is json.Marshal with <, > and & as they are.
func marshal(value any) ([]byte, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(value)
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), err
}

// field is a part of a message by the name that several sinks call it by.
type field struct{ name, value string }

// fields are the parts by which people search and receivers route, those that there are. Their
// values are printable.
func (m Message) fields() []field {
	all := []field{
		{"id", m.ID}, {"rule", m.Rule}, {"severity", string(m.Severity)}, {"count", fmt.Sprint(m.Count)},
	}
	if u := m.Use; u != nil {
		outcome := "refused"
		if u.Granted {
			outcome = "granted"
		}
		all = append(all,
			field{"capability", u.Capability.String()}, field{"outcome", outcome},
			field{"container", u.Container.Name}, field{"container_id", u.Container.ID}, field{"image", u.Container.Image},
			field{"program", u.Process.Program}, field{"pid", fmt.Sprint(u.Process.PID)}, field{"call", u.Call},
			field{"raw_socket", string(u.Family)},
		)
	}
	if m.Dropped != nil {
		all = append(all, field{"sink", m.Dropped.Sink})
	}
	var there []field
	for _, f := range all {
		if f.value != "" {
			there = append(there, field{f.name, printable.Text(f.value)})
		}
	}
	return there
}

// examples are messages of each kind, with text that breaks what is not quoted.
func examples() []Message {
	now := time.Now()
	use := live.Use{
		Schema: 1, Time: now, First: true, Count: 1,
		Container:  live.Container{ID: "0123456789ab", Name: `we"b\`, Image: "nginx:1", Labels: map[string]string{`a"b`: "c\nd"}},
		Process:    live.Process{PID: 1, Program: "pi\"ng\n", Parents: []live.Parent{{PID: 2, Program: "sh"}}},
		Capability: capability.NetRaw, Granted: true, Stack: []string{"inet_create"},
	}
	return []Message{
		messageOf(alert.New(`a "rule"`, alert.Warning, `somebody's "raw" socket <&> \`, 1, use)),
		noticeOf("example", spool.Dropped{ID: "example", Count: 1, From: now, To: now}),
	}
}

// noUse is what templates find in a notice: of no container, and of a capability that does not
// exist, since number 0 is one.
func noUse() *live.Use { return &live.Use{Capability: 255} }
