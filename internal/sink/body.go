package sink

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"text/template"
	"time"
)

// Preset is a form of the body of a webhook's requests.
type Preset string

// The presets.
const (
	Plain        Preset = ""             // the Message in JSON
	Slack        Preset = "slack"        // {"text": the summary}, as Slack, Mattermost and others take it
	Alertmanager Preset = "alertmanager" // Prometheus' Alertmanager, at its base URL
)

// body makes the body of a request of messages.
type body func([]Message) ([]byte, error)

func (w Webhook) makeBody() (body, error) {
	switch {
	case w.Template != "":
		return w.templateBody()
	case w.Preset == Slack:
		return one(slackBody), nil
	case w.Preset == Alertmanager:
		return func(messages []Message) ([]byte, error) {
			return alertmanagerBody(messages, time.Now().Add(time.Duration(cmp.Or(w.ResolveAfter, defaultResolve))))
		}, nil
	}
	return one(func(m Message) ([]byte, error) { return m.encode(), nil }), nil
}

// one is a body of one message.
func one(of func(Message) ([]byte, error)) body {
	return func(messages []Message) ([]byte, error) { return of(messages[0]) }
}

func slackBody(m Message) ([]byte, error) {
	return marshal(map[string]string{"text": slackText(m.Summary)})
}

// slackText escapes what Slack takes for links and mentions, as it asks for:
// https://docs.slack.dev/messaging/formatting-message-text#escaping
// Others that take its form, such as Mattermost and Discord, mention all at a bare @channel or
// @everyone: a space without width, which is no letter of a name, keeps them from that.
func slackText(text string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "@", "@\u200b").Replace(text)
}

// postableAlert is an alert as POST /api/v2/alerts takes it.
type postableAlert struct {
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
	StartsAt    time.Time         `json:"startsAt"`
	EndsAt      time.Time         `json:"endsAt"`
}

// annotated are the fields that are no labels: alerts with the same labels are one alert to
// Alertmanager.
var annotated = map[string]bool{"id": true, "count": true, "pid": true, "call": true, "program": true, "container_id": true}

// alertmanagerBody makes alerts that last until a time, which is counted from when they are
// sent: Alertmanager would take one that has ended already for resolved, and tell nobody.
func alertmanagerBody(messages []Message, until time.Time) ([]byte, error) {
	var alerts []postableAlert
	for _, m := range messages {
		a := postableAlert{
			Labels: map[string]string{}, Annotations: map[string]string{"summary": m.Summary},
			StartsAt: m.Time, EndsAt: until,
		}
		for _, f := range m.fields() {
			switch {
			case f.name == "rule":
				a.Labels["alertname"] = f.value
			case annotated[f.name]:
				a.Annotations[f.name] = f.value
			default:
				a.Labels[f.name] = f.value
			}
		}
		if a.EndsAt.Before(a.StartsAt) { // as by a clock that was set back
			a.EndsAt = a.StartsAt
		}
		alerts = append(alerts, a)
	}
	return marshal(alerts)
}

// templateBody is the template's, which is tried on an example of an alert and of a notice.
func (w Webhook) templateBody() (body, error) {
	parsed, err := template.New("template").Funcs(template.FuncMap{"json": templateJSON, "slack": slackText}).Parse(w.Template)
	if err != nil {
		return nil, err
	}
	wantsJSON := w.sendsJSON()
	make := one(func(m Message) ([]byte, error) {
		if m.Use == nil { // a notice: templates find nothing in it, which is better than no notice
			m.Use = noUse()
		}
		var out bytes.Buffer
		if err := parsed.Execute(&out, m); err != nil {
			return nil, err
		}
		if wantsJSON && !json.Valid(out.Bytes()) {
			return nil, errors.New("the result is no valid JSON")
		}
		return out.Bytes(), nil
	})
	for _, example := range examples() {
		if _, err := make([]Message{example}); err != nil {
			return nil, fmt.Errorf("%w, for an alert with quotes in it: write values as {{ json .Summary }}, without quotes around it", err)
		}
	}
	return make, nil
}

// sendsJSON reports whether the requests say that they have JSON.
func (w Webhook) sendsJSON() bool {
	for name, value := range w.Headers {
		if http.CanonicalHeaderKey(name) == "Content-Type" {
			return strings.Contains(value, "json")
		}
	}
	return true
}

func templateJSON(value any) (string, error) {
	text, err := marshal(value)
	return string(text), err
}

func certificatePool(authorities string) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(authorities)) {
		return nil, errors.New("there is no certificate in PEM in it")
	}
	return pool, nil
}
