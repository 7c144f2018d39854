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
	"github.com/capmon/capmon/internal/fair"
	"github.com/capmon/capmon/internal/printable"
	"github.com/capmon/capmon/internal/uses"
	"github.com/capmon/capmon/monitor"
)

// Message is what a sink gets: an alert of a use or of a loss, in the alert's own form, or a notice
// that alerts for the sink were dropped.
type Message struct {
	// Version of the form.
	Schema int `json:"schema"`
	// ID is the same in every delivery of the message, and no other one's.
	ID string `json:"id"`
	// When the kernel asked for the capability; of a loss, when capmon noticed it; of a notice, the time
	// of the last alert that was dropped.
	Time time.Time `json:"time"`
	// Name of the rule; of a loss, capmon-loss; of a notice, capmon-alerts-dropped.
	Rule     string         `json:"rule"`
	Severity alert.Severity `json:"severity"`
	// What has happened, in one line that is safe for terminals and logs.
	Summary string `json:"summary"`
	// How many uses it tells of; of a loss, how much was lost; of a notice, how many alerts were dropped.
	Count uint64 `json:"count"`
	// The use; missing in an alert of a loss and in a notice.
	Use *uses.Use `json:"use,omitempty"`
	// What was lost; missing in all but alerts of losses.
	Loss *alert.Loss `json:"loss,omitempty"`
	// What was dropped; missing in all but notices.
	Dropped *alert.Dropped `json:"dropped,omitempty"`
}

func messageOf(a alert.Alert) Message {
	m := Message{
		Schema: a.Schema, ID: a.ID, Time: a.Time, Rule: a.Rule, Severity: a.Severity,
		Summary: oneLine(a.Summary), Count: a.Count, Loss: a.Loss, Dropped: a.Dropped,
	}
	if a.Loss == nil && a.Dropped == nil {
		m.Use = &a.Use
	}
	return m
}

// oneLine is a summary as it is, if it is what it has to be.
func oneLine(summary string) string {
	if utf8.ValidString(summary) && strings.IndexFunc(summary, func(r rune) bool { return !unicode.IsGraphic(r) }) < 0 {
		return summary
	}
	return printable.Text(summary)
}

// noticeOf reports to a sink that it did not get alerts of a container.
func noticeOf(sink string, d fair.Dropped) Message {
	return messageOf(alert.NewDropped(d.ID, alert.Dropped{
		Sink: sink, Count: d.Count, From: d.From, To: d.To, ContainerID: d.Source.Key, Container: d.Source.Title,
	}))
}

// origin is what alert.Alert.Origin returned, of a message that an earlier process left.
func (m Message) origin() fair.Source {
	if m.Use == nil {
		return fair.Source{Key: fair.Own}
	}
	return fair.Source{Key: m.Use.Container.ID, Title: m.Use.Container.Title()}
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
	if m.Loss != nil {
		c := m.Loss.Container
		all = append(all, field{"container", c.Name}, field{"container_id", c.ID}, field{"image", c.Image})
	}
	if d := m.Dropped; d != nil {
		all = append(all, field{"sink", d.Sink}, field{"container", d.Container}, field{"container_id", d.ContainerID})
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
	use := uses.Use{
		Schema: 2, Time: now, First: true, Count: 1,
		Container:  uses.Container{ID: "0123456789ab", Name: `we"b\`, Image: "nginx:1", Labels: map[string]string{`a"b`: "c\nd"}},
		Process:    uses.Process{PID: 1, Program: "pi\"ng\n", Parents: []uses.Parent{{PID: 2, Program: "sh"}}},
		Capability: capability.NetRaw, Granted: true, Stack: []string{"inet_create"},
	}
	return []Message{
		messageOf(alert.New(`a "rule"`, alert.Warning, `somebody's "raw" socket <&> \`, 1, use)),
		messageOf(alert.NewLoss(now, "1 check was lost", alert.Loss{Since: now, Lost: monitor.Losses{Checks: 1}, Container: use.Container})),
		noticeOf("example", fair.Dropped{ID: "example", Source: fair.Source{Title: `we"b`}, Count: 1, From: now, To: now}),
	}
}

// noUse is what templates find in a notice: of no container, and of a capability that does not
// exist, since number 0 is one.
func noUse() *uses.Use { return &uses.Use{Capability: 255} }
