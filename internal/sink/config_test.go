package sink

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/capmon/capmon/internal/alert"
	"github.com/capmon/capmon/internal/strictyaml"
)

func parseText(text string) ([]Config, error) {
	body, err := strictyaml.Parse([]byte(text), "a file", "sinks")
	if err == nil {
		var configs []Config
		if configs, err = Parse(body); err == nil {
			return configs, nil
		}
	}
	return nil, strictyaml.Explain("f", err)
}

func TestSinksOfAFile(t *testing.T) {
	t.Parallel()
	got, err := parseText(`
- type: log
- name: chat
  type: webhook
  url: https://hooks.example.com/secret
  template: '{"text": {{ json .Summary }}}'
  headers: {Authorization: "Bearer x"}
  header-files: {X-Key: /etc/key}
  timeout: 3s
  min-severity: warning
- {name: am, type: webhook, url-file: /etc/url, preset: alertmanager, resolve-after: 1m, ca-file: /etc/ca}
- {type: syslog, address: "tls://[::1]:6514", facility: local0}
- type: journald
- {type: prometheus, listen: "unix:/run/capmon.sock"}
`)
	if err != nil {
		t.Fatal(err)
	}
	want := []Config{
		{Name: "log", To: Log{}},
		{Name: "chat", MinSeverity: alert.Warning, To: Webhook{
			URL: "https://hooks.example.com/secret", Template: `{"text": {{ json .Summary }}}`, Timeout: Duration(3 * time.Second),
			Headers: map[string]string{"Authorization": "Bearer x"}, HeaderFiles: map[string]string{"X-Key": "/etc/key"},
		}},
		{Name: "am", To: Webhook{URLFile: "/etc/url", Preset: Alertmanager, ResolveAfter: Duration(time.Minute), CAFile: "/etc/ca"}},
		{Name: "syslog", To: Syslog{Address: "tls://[::1]:6514", Facility: "local0"}},
		{Name: "journald", To: Journald{}},
		{Name: "prometheus", To: Prometheus{Listen: "unix:/run/capmon.sock"}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// Errors contain the line, but no secrets.
func TestInvalidSinks(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"a: b\n":                                    "f:1: sinks must be a list of sinks",
		"[]":                                        "sinks must be a list of sinks",
		"- log\n":                                   "f:1: a sink must be a mapping with a type",
		"- type: log\n- name: x\n  path: /x\n":      "f:2: this sink has no type",
		"- name: x\n  type: pager\n":                `f:2: unknown type "pager": choose one of journald, log, prometheus, syslog, webhook`,
		"- type: log\n  pth: /x\n":                  `f:2: unknown field "pth"`,
		"- type: journald\n  path: /x\n":            `f:2: unknown field "path"`,
		"- type: log\n- type: log\n":                `f:2: two sinks have the name "log"`,
		"- type: log\n  name: ../x\n":               `f:2: invalid name "../x"`,
		"- type: log\n  min-severity: bad\n":        `f:2: unknown severity "bad": choose one of`,
		"- type: webhook\n":                         "f:1: a webhook requires url or url-file",
		"- type: webhook\n  url: ftp://s3cret@h/\n": "f:2: url: invalid URL: use http://HOST/",
		"- type: webhook\n  url: \"http://h/s3cret\\x01\"\n":                                            "f:2: url: invalid URL",
		"- type: webhook\n  url: http://h\n  url-file: /x\n":                                            "f:3: set either url or url-file, not both",
		"- type: webhook\n  url: http://h\n  preset: irc\n":                                             `f:3: unknown preset "irc": choose slack or alertmanager`,
		"- type: webhook\n  url: http://h\n  timeout: soon\n":                                           "f:3: ",
		"- type: webhook\n  url: http://h\n  timeout: -1s\n":                                            `f:3: "-1s" is not a positive duration`,
		"- type: webhook\n  url: http://h\n  resolve-after: 1s\n":                                       "f:3: resolve-after requires preset: alertmanager",
		"- type: webhook\n  url: http://h\n  template: '{{ .Nothing }}'\n":                              "f:3: template: ",
		"- type: webhook\n  url: http://h\n  template: '{{ if }}'\n":                                    "f:3: template: ",
		"- type: webhook\n  url: http://h\n  template: '{\"a\": \"{{ .Summary }}\"}'\n":                 "f:3: template: the result is not valid JSON for an alert with quotes in it: write values as {{ json .Summary }}",
		"- type: webhook\n  url: http://h\n  preset: slack\n  template: '1'\n":                          "f:4: set either preset or template, not both",
		"- type: webhook\n  url: http://h\n  headers: {\"A b\": c}\n":                                   `headers: invalid header name "A b"`,
		"- type: webhook\n  url: http://h\n  headers: {A: \"s3cret\\n\"}\n":                             "headers: the value of A has characters",
		"- type: webhook\n  url: http://h\n  headers: {A: b}\n  header-files: {a: /x}\n":                "headers: a is set twice",
		"- type: syslog\n  address: log:514\n":                                                          `f:2: address: invalid address "log:514": use unix:///dev/log`,
		"- type: syslog\n":                                                                              "f:1: address: ",
		"- type: syslog\n  address: udp://h:514\n  facility: x\n":                                       `f:3: unknown facility "x": choose one of auth, `,
		"- type: prometheus\n":                                                                          `f:1: listen: "" is neither HOST:PORT nor unix:PATH`,
		"- type: prometheus\n  listen: :9464\n":                                                         `f:2: listen: other hosts can reach ":9464" and read the names of rules`,
		"- {type: prometheus, listen: '[::1]:1'}\n- type: prometheus\n  name: b\n  listen: '[::1]:1'\n": `f:4: two sinks listen at "[::1]:1"`,
		"- {type: prometheus, listen: '[::1]:1', group: root}\n":                                        "only unix:PATH has a group",
		"- type: prometheus\n  listen: 10.0.0.1:1\n":                                                    "set expose: true",
	} {
		_, err := parseText(text)
		var where *strictyaml.Error
		if !errors.As(err, &where) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q\n got  %v\n want %s", text, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%q shows a secret: %v", text, err)
		}
	}
}

func TestAddressesOnThisHostAreValid(t *testing.T) {
	t.Parallel()
	for _, p := range []Prometheus{{Listen: "127.0.0.1:0"}, {Listen: "[::1]:9464"}, {Listen: "localhost:1"}, {Listen: "unix:/x"}, {Listen: ":9464", Expose: true}} {
		if err := p.check(); err != nil {
			t.Errorf("%+v: %v", p, err)
		}
	}
}

func TestSpoolOfAFile(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]any{
		"directory: /x":      Spool{"/x", 64 << 20},
		"max-size: 2MiB":     Spool{"", 2 << 20},
		"max-size: many":     `f:1: max-size: "many" is not a size such as 64MiB`,
		"max-size: 1k":       "f:1: max-size: 1k is too small",
		"dir: /x":            `f:1: unknown field "dir"`,
		"[a]":                "f:1: ",
		"directory: {a: /x}": "f:1: ",
	} {
		body, err := strictyaml.Parse([]byte(text), "a file", "sinks")
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseSpool(body)
		if err == nil && !reflect.DeepEqual(got, want) || err != nil && !strings.Contains(strictyaml.Explain("f", err).Error(), want.(string)) {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
}

func FuzzSinksOfAFile(f *testing.F) {
	for _, seed := range []string{
		"- type: log\n", "- {type: webhook, url: http://h, template: '{{ json .Use }}'}", "- &a {type: syslog, address: 'udp://h:1'}\n- *a\n",
		"- type: !!binary log", "- - type: log", "- {type: webhook, url: http://h, headers: [a]}", "- type: log\n  name: [x]", "- ? {a: b}\n  : c",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "range") || strings.Contains(text, "template") && strings.Contains(text, "printf") {
			return // a template can print without end
		}
		if _, err := parseText(text); err != nil && strings.ContainsAny(err.Error(), "\n\x1b") {
			t.Errorf("%q: %q", text, err)
		}
	})
}
