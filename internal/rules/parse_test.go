package rules

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/alert"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/strictyaml"
	"github.com/capmon/capmon/internal/uses"
)

func parsed(t *testing.T, text string) File {
	t.Helper()
	file, err := Parse("rules.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// sameRules are options that compare rules regardless of their lines.
func sameRules() cmp.Options {
	return cmp.Options{cmpopts.IgnoreUnexported(Conditions{}, Rule{}), cmpopts.IgnoreFields(Rule{}, "Line"), cmpopts.IgnoreFields(File{}, "Sinks", "Path")}
}

func TestParseRules(t *testing.T) {
	file := parsed(t, `
rules:
  - name: raw-socket in web
    severity: critical
    capabilities: [NET_RAW, cap_chown]
    raw-socket: true
    answer: granted
    classes: [required, soft]
    nested-userns: false
    containers: ["web-*"]
    images: ["nginx:*"]
    labels: ["team=shop"]
    services: [api]
    namespaces: [prod]
    executables: ["/usr/bin/*"]
    alert: every
    cool-down: 1h30m
    except:
      - images: ["netshoot:*"]
        executables: ["/bin/ping"]
      - raw-socket: [packet, IPv6]
  - builtin: drift
    profiles: [old/*.json]
  - {builtin: denials, name: trying, burst: {uses: 5, within: 1500ms}}
sinks:
  - anything: [at, all]
`)
	truth, lie := true, false
	set := func(all ...capability.Capability) *Capabilities { return &Capabilities{capability.Of(all...)} }
	want := []Rule{
		{
			Name: "raw-socket in web", Severity: alert.Critical,
			Conditions: Conditions{
				Capabilities: set(capability.NetRaw, capability.Chown), RawSocket: &RawSocket{Opened: truth}, Answer: Granted,
				Classes: []classify.Class{classify.Required, classify.Soft}, NestedUserns: &lie, Containers: []string{"web-*"}, Images: []string{"nginx:*"},
				Labels: []string{"team=shop"}, Services: []string{"api"}, Namespaces: []string{"prod"}, Executables: []string{"/usr/bin/*"},
			},
			Alert: Every, CoolDown: Duration(90 * time.Minute),
			Except: []Conditions{
				{Images: []string{"netshoot:*"}, Executables: []string{"/bin/ping"}},
				{RawSocket: &RawSocket{Opened: true, Families: []uses.RawSocket{uses.Packet, uses.IPv6}}},
			},
		},
		{Name: "drift", Builtin: "drift", Severity: alert.Warning, Conditions: Conditions{Answer: Granted}, Profiles: []string{"old/*.json"}},
		{
			Name: "trying", Builtin: "denials", Severity: alert.Warning, Conditions: Conditions{Answer: Denied},
			Burst: &Burst{Uses: 5, Within: Duration(1500 * time.Millisecond)}, CoolDown: Duration(time.Minute),
		},
	}
	if diff := cmp.Diff(want, file.Rules, sameRules()); diff != "" {
		t.Error(diff)
	}
	var lines []int
	for _, rule := range file.Rules {
		lines = append(lines, rule.Line)
	}
	if diff := cmp.Diff([]int{3, 22, 24}, lines); diff != "" {
		t.Error(diff)
	}
	if file.Sinks == nil || !strings.Contains(file.Sinks.String(), "anything") || file.Sinks.GetToken().Position.Line < 26 {
		t.Errorf("the sinks: %v", file.Sinks)
	}
	if !file.NeedsEvery() || file.NeedsAll() {
		t.Error("NeedsEvery or NeedsAll is wrong")
	}
}

func TestBuiltinRulesAreAValidFile(t *testing.T) {
	builtin, err := Builtin()
	if err != nil {
		t.Fatal(err)
	}
	if got := names(builtin.Rules); got != "raw-socket, raw-socket-denied, raw-socket-nested-userns, sys-admin, sys-ptrace, sys-module, bpf, long-setup, drift, denials" {
		t.Error(got)
	}
	for _, rule := range builtin.Rules {
		taken := parsed(t, "rules: [{builtin: "+rule.Name+"}]").Rules[0]
		if taken.Builtin = ""; !taken.same(rule) {
			t.Errorf("%s: %+v", rule.Name, taken)
		}
	}
	if parsed(t, "rules: [{builtin: raw-socket, burst: {uses: 2, within: 1s}}]").Rules[0].Burst == nil {
		t.Error("the burst was not added")
	}
}

func TestErrorsContainTheLine(t *testing.T) {
	const rule = "rules:\n  - name: a\n    capabilities: [NET_RAW]\n"
	for text, want := range map[string]string{
		"":                                   "p: it is empty: a file of rules must have rules",
		"rules: [\n":                         "p:1: ",
		"hello\n":                            "p:1: ",
		"rules: []\n":                        "p:1: there are no rules",
		"sinks: [a]\n":                       "p:1: there are no rules",
		"rules: !0 0000\n":                   "p:1: the tag !0 is not allowed",
		"rules:\n":                           "p:1: rules has no value",
		rule + "---\n" + rule:                "p:5: a file of rules must be one document, and a second one begins here",
		rule + "extra: 1\n":                  `p:4: unknown field "extra"`,
		rule + "    image: [a]\n":            `p:4: unknown field "image"`,
		rule + "    except: [{a: 1}]\n":      `p:4: unknown field "a"`,
		rule + "  - {capabilities: [BPF]}\n": "p:4: this rule has no name",
		rule + "  - {name: a, capabilities: [BPF]}\n":                               `p:4: two rules have the name "a"`,
		rule + "  - {name: \"\\e[2J\", capabilities: [BPF]}\n":                      "characters that are not printable",
		rule + "  - name: b\n":                                                      `p:4: rule "b" has no condition`,
		rule + "  - builtin: dritf\n":                                               `p:4: there is no built-in rule "dritf": choose one of raw-socket, `,
		rule + "    severity: high\n":                                               `p:4: unknown severity "high"`,
		rule + "    severity: [info]\n":                                             "p:4: ",
		rule + "    raw-socket: perhaps\n":                                          "p:4: raw-socket must be true, false or a list of socket families",
		rule + "    raw-socket:\n      - ipv4\n":                                    `p:5: unknown socket family "ipv4": choose one of IPv4, IPv6, packet, XDP`,
		rule + "    answer: refused\n":                                              `p:4: "refused" is neither granted nor denied`,
		rule + "    classes: [required, needed]\n":                                  `p:4: unknown class "needed"`,
		rule + "    nested-userns: maybe\n":                                         "p:4: ",
		rule + "    alert: once\n":                                                  `p:4: "once" is neither first nor every`,
		rule + "    cool-down: 10\n":                                                `p:4: "10" is not a positive duration`,
		rule + "    cool-down: -5s\n":                                               `p:4: "-5s" is not a positive duration`,
		rule + "    cool-down: [1s]\n":                                              "p:4: the value must be a duration",
		rule + "    burst: {uses: 1, within: 1s}\n":                                 "p:4: a burst of 1 uses is not possible: set uses to 2 to 10000",
		rule + "    burst: {uses: 10001, within: 1s}\n":                             "p:4: a burst of 10001 uses",
		rule + "    burst: {uses: 5, within: 999ms}\n":                              "p:4: a burst within 999ms is not possible: capmon counts repeated uses once per second",
		rule + "    burst: {uses: 5}\n":                                             "p:4: a burst requires within",
		rule + "    burst: {uses: 5, within: 1s}\n    alert: first\n":               "p:5: a burst counts every use",
		rule + "    images: []\n":                                                   "p:4: the list is empty",
		rule + "    except: []\n":                                                   "p:4: the list is empty",
		rule + "    except:\n      - {}\n":                                          "p:5: an exception without a condition would allow everything",
		rule + "    except:\n      - images: [a]\n      - executables: [ping]\n":    `p:6: executables: pattern "ping" matches no path: it must begin with a slash`,
		rule + "    executables: [/bin/]\n":                                         "matches no path: it ends with a slash",
		rule + "    images: [nginx]\n    containers:\n      - web\n      - \"[\"\n": `p:7: containers: pattern "[" is malformed: a [ needs a closing ]`,
		rule + "    containers: [a/b]\n":                                            "matches nothing: these names contain no slash",
		rule + "    labels: [\"=x\"]\n":                                             `p:4: labels: pattern "=x" is empty`,
		rule + "    services: [\"\"]\n":                                             `p:4: services: pattern "" is empty`,
		rule + "    images: nginx\n":                                                "p:4: ",
		rule + "    profiles: [\"[\"]\n":                                            `p:4: invalid file pattern "["`,
		"rules:\n  - name: a\n    capabilities:\n      - NET_ROW\n":                 `p:4: unknown capability "NET_ROW": the nearest is NET_RAW`,
		"rules:\n  - name: a\n    capabilities: NET_RAW\n":                          "p:3: capabilities must be a list",
		"rules:\n  - name: a\n    capabilities: [BPF]\n    raw-socket: true\n":      "p:2: no use can match: opening a raw socket requires NET_RAW",
		rule + "    answer: granted\n    classes: [denied]\n":                       "p:2: no use can match",
		rule + "    answer: denied\n    classes: [soft, required]\n":                "p:2: no use can match",
		rule + "    nested-userns: true\n    classes: [denied]\n":                   "p:2: no use can match",
		rule + "    nested-userns: false\n    classes: [nested-userns]\n":           "p:2: no use can match",
	} {
		file, err := Parse("p", []byte(text))
		var placed *strictyaml.Error
		if !errors.As(err, &placed) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s\ngot %v %+v\nwant %s", text, err, file.Rules, want)
		}
	}
}

// FuzzParse verifies that every file is either rules that are the same after writing and reading them again, or an
// error in one line with a position.
func FuzzParse(f *testing.F) {
	for _, text := range []string{
		"", BuiltinText, "rules: [{builtin: drift, profiles: [a]}]", "rules:\n - name: a\n   raw-socket: [XDP]\n   cool-down: 1h\nsinks: {a: b}\n",
		"rules: &a [*a]", "rules:\n - name: a\n   except: [{labels: ['a=b']}]\n   nested-userns: true\n", "rules: [{name: a, capabilities: &x [63], except: [{capabilities: *x}]}]",
		"? \n", "- - -", "!!x", "rules: !0 0000", "{", "\x00", "<<: 1", "rules: {a: b}\n", "rules: [{name: a, burst: {uses: 2, within: 1ns}, answer: denied}]",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := Parse("p", data)
		if err != nil {
			if text := err.Error(); strings.ContainsAny(text, "\n\x1b") || !strings.HasPrefix(text, "p:") {
				t.Errorf("not one line with a position: %q", text)
			}
			return
		}
		text, err := file.Text()
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse("p", []byte(text))
		if err != nil || len(again.Rules) != len(file.Rules) {
			t.Fatalf("%v:\n%s", err, text)
		}
		for i := range file.Rules {
			if !again.Rules[i].same(file.Rules[i]) {
				t.Errorf("%s\nreads as %+v\nand was %+v", text, again.Rules[i], file.Rules[i])
			}
		}
		use := uses.Use{First: true, Count: 1, Capability: capability.NetRaw, Class: classify.Required, Granted: true, RawSocket: true, Family: uses.IPv4}
		for i := range file.Rules {
			file.Rules[i].baseline = &baseline{images: map[string]used{}}
		}
		for _, one := range New(file).Evaluate(use, time.Now()) {
			if one.Count != 1 || one.Summary == "" {
				t.Errorf("%+v", one)
			}
		}
	})
}
