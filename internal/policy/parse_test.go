package policy

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/strictyaml"
)

func TestParse(t *testing.T) {
	const text = `# what web may do
version: 1
unmatched: fail
rules:
  - name: no raw sockets
    deny: [NET_RAW, cap_sys_admin, "41"]

  - {name: "in one line", max-unused: 0}
  - name: web
    match:
      service: [web, "web-*"]
      image: [registry/*/web]
    except:
      label: [tier=debug]
      container: ["old-?"]
    allow: []
    ignore-denied: true
    deny-granted: [all]
    allow-granted: [default]
    complete: true
    whole-run: true
    proved: true
`
	p, err := Parse("policy.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	set := func(s capability.Set) *Capabilities { return &Capabilities{s} }
	zero := 0
	want := Policy{
		Version: 1, Unmatched: Fail, Path: "policy.yaml",
		Rules: []Rule{
			{Name: "no raw sockets", Line: 5, Deny: set(capability.Of(capability.NetRaw, capability.SysAdmin, 41))},
			{Name: "in one line", Line: 8, MaxUnused: &zero},
			{
				Name: "web", Line: 9,
				Match:  &Selector{Service: []string{"web", "web-*"}, Image: []string{"registry/*/web"}},
				Except: &Selector{Label: []string{"tier=debug"}, Container: []string{"old-?"}},
				Allow:  set(0), IgnoreDenied: true, DenyGranted: set(^capability.Set(0)), AllowGranted: set(capability.DockerDefault()),
				Complete: true, WholeRun: true, Proved: true,
			},
		},
	}
	if diff := cmp.Diff(want, p, cmpopts.IgnoreUnexported(Selector{})); diff != "" {
		t.Error(diff)
	}
}

func TestAnchorsAndAliases(t *testing.T) {
	p, err := Parse("p", []byte("version: 1\nrules:\n  - name: a\n    match: &m {image: [nginx]}\n    deny: &d [&n NET_RAW]\n  - name: b\n    match: *m\n    deny: *d\n"))
	if err != nil {
		t.Fatal(err)
	}
	if b := p.Rules[1]; b.Deny == nil || b.Deny.Set != capability.Of(capability.NetRaw) || b.Match == nil || len(b.Match.Image) != 1 {
		t.Errorf("got %+v", b)
	}
}

func TestParseErrorsHaveTheLine(t *testing.T) {
	const rule = "version: 1\nrules:\n  - name: a\n    complete: true\n"
	for _, test := range []struct{ name, text, want string }{
		{"empty", "", "p: it is empty: a policy must have version: 1 and rules"},
		{"a comment alone", "# nothing\n", "p: it is empty"},
		{"null", "null\n", "p: it is empty"},
		{"no YAML", "version: 1\nrules: [\n", "p:2: "},
		{"a tab", "version: 1\n\trules: []\n", "p:2: "},
		{"text", "hello\n", "p:1: "},
		{"a list", "- version: 1\n", "p:1: "},
		{"two documents", rule + "---\n" + rule, "p:6: a policy must be one document, and a second one begins here"},
		{"a second document without anything", rule + "---\n", "p: a policy must be one document"},
		{"no version", "rules:\n  - name: a\n    complete: true\n", "unsupported version 0: this version of capmon reads policies of version 1"},
		{"another version", "version: 2\nrules:\n  - name: a\n", "p:1: unsupported version 2"},
		{"an invalid version", "version: one\nrules: []\n", "p:1: "},
		{"no rules", "version: 1\nrules: []\n", "p:2: there are no rules"},
		{"rules without a value", "version: 1\nrules:\n", "p:2: rules has no value"},
		{"allow without a value", rule + "    allow:\n", "p:5: allow has no value: give it one, or remove the key"},
		{"an unknown key", rule + "extra: 1\n", `p:5: unknown field "extra"`},
		{"an unknown key of a rule", rule + "    denies: [NET_RAW]\n", `p:5: unknown field "denies"`},
		{"an unknown key of a selector", rule + "    match:\n      name: [web]\n", `p:6: unknown field "name"`},
		{"a key twice", rule + "    complete: false\n", `p:5: mapping key "complete" already defined`},
		{"a name twice", rule + "  - name: a\n    complete: true\n", `p:5: there are two rules with the name "a"`},
		{"no name", "version: 1\nrules:\n  - complete: true\n", "p:3: this rule has no name"},
		{"an unprintable name", "version: 1\nrules:\n  - name: \"a\\e[2J\"\n    complete: true\n", `p:3: the name "a\\x1b[2J" has characters that cannot be printed`},
		{"nothing required", "version: 1\nrules:\n  - name: a\n", `p:3: rule "a" requires nothing`},
		{"only ignore-denied", "version: 1\nrules:\n  - name: a\n    ignore-denied: true\n", `p:3: rule "a" requires nothing`},
		{"nothing denied", rule + "    deny: []\n", `p:3: rule "a" denies an empty list`},
		{"an unknown capability", rule + "    deny:\n      - NET_RAW\n      - NET_ROW\n", `p:7: unknown capability "NET_ROW": the nearest is NET_RAW`},
		{"a capability out of range", rule + "    deny: [64]\n", `p:5: unknown capability "64"`},
		{"no list of capabilities", rule + "    deny: NET_RAW\n", "p:5: expected a list of capabilities"},
		{"a list of lists", rule + "    deny: [[NET_RAW]]\n", "p:5: expected the name of a capability"},
		{"an alias for a name", rule + "    deny: [&x NET_RAW, *x]\n", "p:5: expected the name of a capability"},
		{"an invalid pattern", rule + "    match:\n      image: [\"[\"]\n", `pattern "["`},
		{"an empty selector", rule + "    except: {}\n", "p:5: except is empty"},
		{"a selector of empty lists", rule + "    match: {image: []}\n", "p:5: match is empty"},
		{"a negative number", rule + "    max-unused: -1\n", "p:5: max-unused is -1: it must be 0 or more"},
		{"an invalid number", rule + "    max-unused: few\n", "p:5: "},
		{"an invalid boolean", rule + "    proved: sometimes\n", "p:5: "},
		{"an invalid value of ignore-denied", rule + "    deny: [NET_RAW]\n    ignore-denied: maybe\n", `p:6: `},
		{"ignore-denied without deny or allow", rule + "    ignore-denied: true\n", `p:5: ignore-denied requires deny or allow, and rule "a" has neither`},
		{"an invalid value of unmatched", rule + "unmatched: deny\n", `p:5: unmatched is "deny": write pass or fail`},
		{"a tag", "version: 1\nrules: !0 0\n", "p:2: the tag !0 is not allowed: remove it"},
		{"an anchor that does not exist", rule + "    deny: *none\n", "p:5: "},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, err := Parse("p", []byte(test.text))
			if err == nil {
				t.Fatalf("got %+v", p)
			}
			var policyError *strictyaml.Error
			if !errors.As(err, &policyError) || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %q, want %q", err, test.want)
			}
		})
	}
}

func TestLoadErrorsNameTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "policy.yaml")
	if _, err := Load(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	if err := os.WriteFile(path, []byte("version: 1\nrules: 7\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err == nil || !strings.HasPrefix(err.Error(), path+":2: ") {
		t.Errorf("got %v", err)
	}
}

// FuzzParse: any file is a policy with rules that can be checked, or an error in one line.
func FuzzParse(f *testing.F) {
	for _, text := range []string{"", "version: 1\nrules: []", "version: 1\nrules:\n - name: a\n   deny: [NET_RAW]\n", "a: &a [*a]", "? \n", "- - -", "!!x", "{", "\x00", "<<: 1", "rules: {a: b}\nversion: 1"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := Parse("p", data)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\x1b") {
				t.Errorf("not one line: %q", err)
			}
			return
		}
		if len(p.Rules) == 0 {
			t.Error("no rules")
		}
		Check(whole(), p, nil)
	})
}
