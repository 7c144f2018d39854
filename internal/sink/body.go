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

// Preset is a predefined body of a webhook's requests.
type Preset string

// The presets.
const (
	Plain        Preset = ""             // the Message as JSON
	Slack        Preset = "slack"        // {"text": the summary}, for Slack, Mattermost and others
	Alertmanager Preset = "alertmanager" // for Prometheus' Alertmanager, at its base URL
)

// body returns the body of a request that sends messages.
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

// one returns a body for requests with one message.
func one(encode func(Message) ([]byte, error)) body {
	return func(messages []Message) ([]byte, error) { return encode(messages[0]) }
}

func slackBody(m Message) ([]byte, error) {
	return marshal(map[string]string{"text": slackText(m.Summary)})
}

// slackText escapes the characters that Slack interprets as links and mentions. See
// https://docs.slack.dev/messaging/formatting-message-text#escaping.
// Mattermost, Discord and others accept the same body, but also interpret a bare @channel or @everyone. A
// zero-width space after the @ prevents that.
func slackText(text string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "@", "@\u200b").Replace(text)
}

// postableAlert is an alert in the form that POST /api/v2/alerts requires.
type postableAlert struct {
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
	StartsAt    time.Time         `json:"startsAt"`
	EndsAt      time.Time         `json:"endsAt"`
}

// annotated contains the fields that are annotations and not labels. To Alertmanager, alerts with the same
// labels are one alert.
var annotated = map[string]bool{"id": true, "count": true, "pid": true, "call": true, "program": true, "container_id": true}

// alertmanagerBody returns a body with alerts that end at the given time. The time must be relative to the time
// of sending: Alertmanager considers an alert that has already ended resolved, and notifies nobody.
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
		if a.EndsAt.Before(a.StartsAt) { // the clock was set back
			a.EndsAt = a.StartsAt
		}
		alerts = append(alerts, a)
	}
	return marshal(alerts)
}

var errNotJSON = errors.New("the result is not valid JSON")

// templateBody returns the body that the template makes. It tests the template with an example of each kind of
// message.
func (w Webhook) templateBody() (body, error) {
	parsed, err := template.New("template").Funcs(template.FuncMap{"json": templateJSON, "slack": slackText}).Parse(w.Template)
	if err != nil {
		return nil, err
	}
	wantsJSON := w.sendsJSON()
	make := one(func(m Message) ([]byte, error) {
		if m.Use == nil { // so that a template that reads .Use does not fail for a notice
			m.Use = noUse()
		}
		var out bytes.Buffer
		if err := parsed.Execute(&out, m); err != nil {
			return nil, err
		}
		if wantsJSON && !json.Valid(out.Bytes()) {
			return nil, errNotJSON
		}
		return out.Bytes(), nil
	})
	for _, example := range examples() {
		if _, err := make([]Message{example}); errors.Is(err, errNotJSON) {
			return nil, fmt.Errorf("%w for an alert with quotes in it: write values as {{ json .Summary }}, without quotes around it", err)
		} else if err != nil {
			return nil, err
		}
	}
	return make, nil
}

// sendsJSON reports whether the Content-Type of the requests is JSON.
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
		return nil, errors.New("it contains no PEM certificate")
	}
	return pool, nil
}
