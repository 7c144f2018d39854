package sink

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/alert"
	"github.com/capmon/capmon/internal/fairqueue"
	"github.com/capmon/capmon/internal/printable"
	"github.com/capmon/capmon/internal/uses"
	"github.com/capmon/capmon/monitor"
)

// Message is an alert or a notice for a sink. An alert reports a use or a loss, in the format of alerts. A
// notice reports alerts for the sink that were dropped.
type Message struct {
	// Version of the format.
	Schema int `json:"schema"`
	// Unique ID. It is the same in every delivery of the message.
	ID string `json:"id"`
	// When the kernel checked the capability. For a loss: when capmon noticed it. For a notice: the time of
	// the last dropped alert.
	Time time.Time `json:"time"`
	// Name of the rule; capmon-loss for a loss, capmon-alerts-dropped for a notice.
	Rule     string         `json:"rule"`
	Severity alert.Severity `json:"severity"`
	// What happened, in one line that is safe for terminals and logs.
	Summary string `json:"summary"`
	// Number of uses that the alert reports. For a loss: how much was lost. For a notice: how many alerts
	// were dropped.
	Count uint64 `json:"count"`
	// The use; missing in notices and alerts of losses.
	Use *uses.Use `json:"use,omitempty"`
	// What was lost; only in alerts of losses.
	Loss *alert.Loss `json:"loss,omitempty"`
	// Which alerts were dropped; only in notices.
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

// oneLine returns a summary that is safe for terminals and logs: unchanged if it already is, else escaped.
func oneLine(summary string) string {
	if utf8.ValidString(summary) && strings.IndexFunc(summary, func(r rune) bool { return !unicode.IsGraphic(r) }) < 0 {
		return summary
	}
	return printable.Text(summary)
}

// noticeOf returns the notice to a sink that alerts of a container were dropped.
func noticeOf(sink string, d fairqueue.Dropped) Message {
	return messageOf(alert.NewDropped(d.ID, alert.Dropped{
		Sink: sink, Count: d.Count, From: d.From, To: d.To, ContainerID: d.Source.Key, Container: d.Source.Title,
	}))
}

// origin returns the same as [alert.Alert.Origin], for a message that an earlier process left in the spool.
func (m Message) origin() fairqueue.Source {
	if m.Use == nil {
		return fairqueue.Source{Key: fairqueue.Own}
	}
	return fairqueue.Source{Key: m.Use.Container.ID, Title: m.Use.Container.Title()}
}

// encode returns the line of JSON in which a message is stored and sent. Control characters are escaped.
func (m Message) encode() []byte {
	var line bytes.Buffer
	if err := printable.WriteJSON(&line, m); err != nil { // cannot happen: the type can always be encoded
		panic(err)
	}
	return bytes.TrimSuffix(line.Bytes(), []byte("\n"))
}

func decodeMessage(line []byte) (m Message, err error) { return m, json.Unmarshal(line, &m) }

// marshal is [json.Marshal] without escaping <, > and &.
func marshal(value any) ([]byte, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(value)
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), err
}

// field is a part of a message. Several sinks use its name.
type field struct{ name, value string }

// fields returns the parts that are useful for searching and routing, without empty ones. Their values are
// printable.
func (m Message) fields() []field {
	all := []field{
		{"id", m.ID}, {"rule", m.Rule}, {"severity", string(m.Severity)}, {"count", fmt.Sprint(m.Count)},
	}
	if u := m.Use; u != nil {
		outcome := "denied"
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
	var present []field
	for _, f := range all {
		if f.value != "" {
			present = append(present, field{f.name, printable.Text(f.value)})
		}
	}
	return present
}

// examples returns messages of each kind, with characters that break unquoted JSON.
func examples() []Message {
	now := time.Now()
	use := uses.Use{
		Schema: 2, Time: now, First: true, Count: 1,
		Container:  uses.ContainerRef{ID: "0123456789ab", Name: `we"b\`, Image: "nginx:1", Labels: map[string]string{`a"b`: "c\nd"}},
		Process:    uses.Process{PID: 1, Program: "pi\"ng\n", Parents: []uses.Parent{{PID: 2, Program: "sh"}}},
		Capability: capability.NetRaw, Granted: true, Stack: []string{"inet_create"},
	}
	return []Message{
		messageOf(alert.New(`a "rule"`, alert.Warning, `somebody's "raw" socket <&> \`, 1, use)),
		messageOf(alert.NewLoss(now, "1 check was lost", alert.Loss{Since: now, Lost: monitor.Losses{Checks: 1}, Container: use.Container})),
		noticeOf("example", fairqueue.Dropped{ID: "example", Source: fairqueue.Source{Title: `we"b`}, Count: 1, From: now, To: now}),
	}
}

// noUse returns the use that templates read in a notice. Its capability does not exist, because the zero value
// would be CHOWN.
func noUse() *uses.Use { return &uses.Use{Capability: 255} }
