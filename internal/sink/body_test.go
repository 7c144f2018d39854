package sink

import (
	"encoding/json"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/leodido/go-syslog/v4/rfc5424"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/alert"
	"github.com/capmon/capmon/internal/fairqueue"
	"github.com/capmon/capmon/internal/uses"
)

func TestSlackText(t *testing.T) {
	t.Parallel()
	got, err := slackBody(Message{Summary: `<!channel> & "you" @everyone`})
	if want := `{"text":"&lt;!channel&gt; &amp; \"you\" @` + "\u200b" + `everyone"}`; err != nil || string(got) != want {
		t.Errorf("%s, %v; wanted %s", got, err, want)
	}
}

func TestTemplateOfAlertsAndNotices(t *testing.T) {
	t.Parallel()
	make, err := Webhook{Template: `{"text": {{ json (slack .Summary) }}, "c": {{ json .Use.Container.Name }}, "dropped": {{ if .Dropped }}{{ .Dropped.Count }}{{ else }}0{{ end }}}`}.makeBody()
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, test := range []struct {
		message Message
		want    string
	}{
		{messageOf(numberedAlert(3)), `{"text": "web-3 opened a raw socket &lt;&amp;&gt;", "c": "web-3", "dropped": 0}`},
		{
			noticeOf("chat", fairqueue.Dropped{ID: "x", Count: 7, From: now, To: now.Add(time.Minute)}),
			`{"text": "7 alerts were dropped between 2026-01-02T03:04:05Z and 2026-01-02T03:05:05Z: too many waited for the sink chat", "c": "", "dropped": 7}`,
		},
	} {
		if got, err := make([]Message{test.message}); err != nil || string(got) != test.want {
			t.Errorf("%v\ngot  %s\nwant %s", err, got, test.want)
		}
	}
	if _, err := (Webhook{Template: "{{ .Summary }}", Headers: map[string]string{"content-type": "text/plain"}}).makeBody(); err != nil {
		t.Errorf("a body with another Content-Type does not have to be JSON: %v", err)
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for header, want := range map[string]time.Duration{
		"": 0, "0": 0, "7": 7 * time.Second, "-7": 0, "soon": 0, "99999999999999999999": 0, "86400": time.Hour,
		now.Add(90 * time.Second).Format(http.TimeFormat): 90 * time.Second,
		now.Add(-time.Second).Format(http.TimeFormat):     0,
	} {
		if got := retryAfter(header, now); got != want {
			t.Errorf("%q: %v, wanted %v", header, got, want)
		}
	}
}

// Whatever text containers choose, bodies are valid JSON, syslog messages can be parsed back to the same
// fields, and each line is one line.
func FuzzHostileText(f *testing.F) {
	f.Add("web", "nginx:1", "somebody's socket")
	f.Add("\"}]\\", "\x00\x1b[31m\n\r\u2028", "<!channel> & \u202e{{ . }}")
	f.Add("\xff\xfe", `] [x@1 a="b"`, "\ufeff\U0001f600")
	hook := Webhook{Template: `{"a": {{ json .Summary }}, "b": {{ json .Use }}}`}
	template, err := hook.makeBody()
	if err != nil {
		f.Fatal(err)
	}
	server := &syslog{host: "host"}
	log, err := Log{}.open()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, name, image, summary string) {
		use := uses.Use{
			Container: uses.ContainerRef{ID: name, Name: name, Image: image, Labels: map[string]string{name: image}},
			Process:   uses.Process{Program: image}, Call: summary, Capability: capability.NetRaw, Family: uses.IPv4,
		}
		line := messageOf(alert.New(name, alert.Critical, summary, 1, use)).encode()
		printableLine(t, string(line))
		m, err := decodeMessage(line)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := decodeMessage(m.encode()); err != nil || !reflect.DeepEqual(again, m) {
			t.Errorf("%+v became %+v, %v", m, again, err)
		}
		slack, err1 := slackBody(m)
		manager, err2 := alertmanagerBody([]Message{m, m}, time.Now())
		own, err3 := template([]Message{m})
		logged, err4 := log.(*logFile).lines([]Message{m})
		for i, err := range []error{err1, err2, err3, err4} {
			if body := [][]byte{slack, manager, own, logged}[i]; err != nil || !json.Valid(body) {
				t.Errorf("body %d: %v: %q", i, err, body)
			}
		}
		printableLine(t, strings.TrimSuffix(string(logged), "\n"))
		text, err := server.format(m)
		if err != nil {
			t.Fatal(err)
		}
		printableLine(t, text)
		back, err := rfc5424.NewParser().Parse([]byte(text))
		if err != nil {
			t.Fatalf("%v: %q", err, text)
		}
		parameters := (*back.(*rfc5424.SyslogMessage).StructuredData)[elementID]
		if parameters["id"] != m.ID || len(*back.(*rfc5424.SyslogMessage).StructuredData) != 1 {
			t.Errorf("%q became %v", text, parameters)
		}
		for _, f := range m.fields() {
			if !slices.Contains([]string{f.value, strings.NewReplacer(`\`, `\\`, `"`, `\"`, `]`, `\]`).Replace(f.value)}, parameters[f.name]) {
				t.Errorf("%s was %q and became %q", f.name, f.value, parameters[f.name])
			}
		}
	})
}

// printableLine verifies that a text is one line without control characters.
func printableLine(t *testing.T, text string) {
	t.Helper()
	if !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsGraphic(r) }) {
		t.Errorf("not a printable line: %q", text)
	}
}
