package waiver

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

const digestOfImage = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func TestParse(t *testing.T) {
	const text = `# accepted risks
waivers:
  - container: "ci-*"
    capabilities: [SYS_ADMIN, cap_net_raw, "41"]
    reason: the runner mounts overlay file systems
    owner: platform team
    expires: 2027-03-31

  - {image: "registry/*/builder@` + digestOfImage + `", capabilities: [all], reason: "it builds: images", owner: 42, expires: "2027-01-01"}
  - image: &nginx nginx
    container: web
    capabilities: [default]
    reason: >
      two
      lines
    owner: &owner |
      the web team
    expires: 2099-12-31
  - {image: *nginx, capabilities: [CHOWN], reason: b, owner: *owner, expires: 2000-01-01}
`
	file, err := Parse("waivers.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	want := &File{Path: "waivers.yaml", Waivers: []Waiver{
		{
			Container: "ci-*", Capabilities: Capabilities{capability.Of(capability.SysAdmin, capability.NetRaw, 41)}, Line: 3,
			Reason: "the runner mounts overlay file systems", Owner: "platform team", Expires: date(t, "2027-03-31"),
		},
		{
			Image: "registry/*/builder@" + digestOfImage, Capabilities: Capabilities{^capability.Set(0)}, Line: 9,
			Reason: "it builds: images", Owner: "42", Expires: date(t, "2027-01-01"),
		},
		{
			Container: "web", Image: "nginx", Capabilities: Capabilities{capability.DockerDefault()}, Line: 10,
			Reason: "two lines", Owner: "the web team", Expires: date(t, "2099-12-31"),
		},
		{Image: "nginx", Capabilities: Capabilities{capability.Of(capability.Chown)}, Line: 19, Reason: "b", Owner: "the web team", Expires: date(t, "2000-01-01")},
	}}
	if diff := cmp.Diff(want, file, cmpopts.IgnoreUnexported(Waiver{})); diff != "" {
		t.Error(diff)
	}
	if file, err := Parse("w", []byte("waivers: []\n")); err != nil || len(file.Waivers) != 0 {
		t.Errorf("an empty list: %+v, %v", file, err)
	}
}

func TestParseErrorsHaveTheLine(t *testing.T) {
	const (
		rest   = "    reason: a\n    owner: b\n    expires: 2027-03-31\n"
		waiver = "waivers:\n  - container: ci\n    capabilities: [CHOWN]\n" + rest
	)
	without := func(key string) string {
		var text strings.Builder
		for line := range strings.Lines(waiver) {
			if !strings.Contains(line, key+":") {
				text.WriteString(line)
			}
		}
		return text.String()
	}
	with := func(key, value string) string {
		return strings.Replace(without(key), "waivers:\n  - container: ci\n", "waivers:\n  - container: ci\n    "+key+": "+value+"\n", 1)
	}
	named := func(pattern string) string { return strings.Replace(waiver, "container: ci", pattern, 1) }
	for _, test := range []struct{ name, text, want string }{
		{"empty", "", "w: it is empty: a file of waivers must have waivers"},
		{"a comment alone", "# nothing\n", "w: it is empty: a file of waivers must have waivers"},
		{"text", "hello\n", "w:1: string was used where mapping is expected"},
		{"no YAML", "waivers: [\n", "w:1: sequence end token ']' not found"},
		{"another key", "waiver: []\n", `w:1: unknown field "waiver"`},
		{"only braces", "{}\n", "w:1: there is no key waivers: add it, with a list of waivers or with [] for none"},
		{"no value", "waivers:\n", "w:1: waivers has no value: give it one, or remove the key"},
		{"no list", "waivers: {container: ci}\n", "w:1: "},
		{"a list of texts", "waivers: [ci]\n", "w:1: "},
		{"two documents", waiver + "---\n" + waiver, "w:8: a file of waivers must be one document, and a second one begins here"},
		{"an unknown key", waiver + "    name: c\n", `w:7: unknown field "name"`},
		{"a key of a policy", named("match: {container: [ci]}"), `w:2: unknown field "match"`},
		{"a key twice", waiver + "    owner: c\n", `w:7: mapping key "owner" already defined at [5:5]`},
		{"the list twice", waiver + waiver, `w:7: mapping key "waivers" already defined at [1:1]`},
		{"a tag", with("reason", "!!str a"), "w:3: the tag !!str is not allowed: remove it"},
		{"neither container nor image", "waivers:\n  - capabilities: [CHOWN]\n" + rest, "w:2: this waiver selects no container: add container or image"},
		{"no capabilities", without("capabilities"), "w:2: this waiver has no capabilities: name those whose risk is accepted, such as [NET_RAW], or [ALL]"},
		{"no capability in the list", with("capabilities", "[]"), "w:2: this waiver has no capabilities: name those whose risk is accepted, such as [NET_RAW], or [ALL]"},
		{"no reason", without("reason"), "w:2: this waiver has no reason: explain why the risk is accepted"},
		{"no owner", without("owner"), "w:2: this waiver has no owner: name the person or team that accepts the risk"},
		{"no date", without("expires"), "w:2: this waiver does not expire: add expires, the last day on which it is valid, such as 2027-03-31"},
		{"the second waiver", waiver + "  - image: a\n", "w:7: this waiver has no capabilities: name those whose risk is accepted, such as [NET_RAW], or [ALL]"},
		{"an empty reason", with("reason", `" "`), "w:3: the text is empty: write one"},
		{"an owner without a value", with("owner", ""), "w:3: owner has no value: give it one, or remove the key"},
		{"an owner that is a list", with("owner", "[a]"), "w:3: the value must be a text"},
		{"an unprintable reason", with("reason", `"a\e[2J"`), `w:3: the text "a\\x1b[2J" has characters that cannot be printed`},
		{"a reason that changes the direction of text", with("reason", `"a\u202eb"`), `w:3: the text "a\\u202eb" has characters that cannot be printed`},
		{"an empty pattern", named(`container: ""`), "w:2: the pattern is empty: write a name or pattern, or remove the key"},
		{"a list of patterns", named("container: [ci]"), "w:2: the value must be one name or pattern, such as ci-*: write a waiver for each pattern"},
		{"a malformed pattern", named(`container: "["`), `w:2: container: pattern "[": syntax error in pattern: a [ needs a closing ], or a backslash before it`},
		{"a malformed pattern of images", named(`image: "a["`), `w:2: image: pattern "a[": syntax error in pattern: a [ needs a closing ], or a backslash before it`},
		{"half a digest", named("image: sha256:0123"), `w:2: image: "sha256:0123" is not a digest: write sha256: and its 64 hexadecimal digits`},
		{"a pattern of digests", named(`image: "nginx@sha256:*"`), `w:2: image: "sha256:*" is not a digest: write sha256: and its 64 hexadecimal digits`},
		{"an empty digest", named(`image: "nginx@"`), `w:2: image: "" is not a digest: write sha256: and its 64 hexadecimal digits`},
		{"an unknown capability", with("capabilities", "[NET_ROW]"), `w:3: unknown capability "NET_ROW": the nearest is NET_RAW`},
		{"no list of capabilities", with("capabilities", "ALL"), "w:3: capabilities must be a list, such as [NET_RAW, CHOWN]"},
		{"a list of lists", with("capabilities", "[[ALL]]"), "w:3: an element must be the name of a capability, such as NET_RAW"},
		{"another form of date", with("expires", "31.03.2027"), `w:3: "31.03.2027" is not a date such as 2027-03-31`},
		{"a date with a time", with("expires", "2027-03-31T00:00:00Z"), `w:3: "2027-03-31T00:00:00Z" is not a date such as 2027-03-31`},
		{"a day that does not exist", with("expires", "2027-02-29"), `w:3: "2027-02-29" is not a date such as 2027-03-31`},
		{"a number", with("expires", "2027"), `w:3: "2027" is not a date such as 2027-03-31`},
		{"never", with("expires", "never"), `w:3: "never" is not a date such as 2027-03-31`},
		{"almost never", with("expires", "9999-12-31"), "w:3: the date 9999-12-31 is not possible: use one from 2000 to 2099"},
		{"a list of dates", with("expires", "[2027-03-31]"), `w:3: "[2027-03-31]" is not a date such as 2027-03-31`},
		{"an anchor that does not exist", with("owner", "*none"), "w:3: "},
	} {
		t.Run(test.name, func(t *testing.T) {
			file, err := Parse("w", []byte(test.text))
			if err == nil {
				t.Fatalf("got %+v", file)
			}
			var position *strictyaml.Error
			exact := !strings.HasSuffix(test.want, ": ")
			if !errors.As(err, &position) || !strings.HasPrefix(err.Error(), test.want) || exact && err.Error() != test.want || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %q, want %q", err, test.want)
			}
		})
	}
}

func TestLoadErrorsNameTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "waivers.yaml")
	if _, err := Load(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	if err := os.WriteFile(path, []byte("waivers: 7\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err == nil || !strings.HasPrefix(err.Error(), path+":1: ") {
		t.Errorf("got %v", err)
	}
}

// FuzzParse: any file contains waivers that can be matched, or is an error in one line.
func FuzzParse(f *testing.F) {
	for _, text := range []string{
		"", "waivers: []", "waivers:\n- {container: a, image: 'b@" + digestOfImage + "', capabilities: [ALL], reason: c, owner: d, expires: 2027-03-31}",
		"waivers: [{owner: &a [*a]}]", "? \n", "waivers: - -", "!!x", "{", "\x00", "waivers: [{expires: >\n a}]",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := Parse("w", data)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\x1b") {
				t.Errorf("not one line: %q", err)
			}
			return
		}
		review := file.At(noon)
		review.Match(builder).Cover(^capability.Set(0))
		if len(review.List) != len(file.Waivers) {
			t.Errorf("%d of %d waivers", len(review.List), len(file.Waivers))
		}
	})
}
