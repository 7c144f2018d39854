package audit

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/findings"
)

// hostile contains texts that only an attacker chooses.
var hostile = []string{
	`"quotes" and 'others'`, "two\nlines", `<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, "\x00\x1b[31mred\x07", "no UTF-8 \xff",
	"=1+1", "{{.}}", "  blanks  ", strings.Repeat("ü", 255), "\u202e 北京", "",
}

func hostileAudit() Audit {
	audit := Audit{Time: noon, Thresholds: thresholds}
	list := capability.Of(capability.Chown)
	for i, text := range hostile {
		audit.Containers = append(audit.Containers, &ContainerResult{
			ID: text, Name: text, Image: text, ImageID: text, User: text, Status: []findings.Status{findings.Fail, findings.Manual, findings.Pass}[i%3],
			Grants: Grants{Set: &list}, Observation: &Observation{Used: list, List: list, Doubts: []string{text}}, Reasons: []string{text}, Hints: []string{text},
			Remedy:  Remedy{List: &list, Run: []string{text}, Untranslated: []string{text}, Notes: []string{text}},
			Related: []Related{{"CIS-5.5", findings.Fail, text}},
		})
	}
	return audit
}

func write(t *testing.T, audit Audit, format Format) string {
	t.Helper()
	var out bytes.Buffer
	if err := Write(&out, audit, format, "1.0 <b>"); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestAllFormatsEscapeHostileTexts(t *testing.T) {
	for _, format := range Formats() {
		for _, forbidden := range []string{"\x1b", "\x00", "\x07", "\u202e"} {
			if text := write(t, hostileAudit(), format); strings.Contains(text, forbidden) && (format != JSON && format != SARIF || forbidden != "\u202e") {
				t.Errorf("%s contains %q", format, forbidden)
			}
		}
	}
}

// The report contains the texts of a rule only once, and no default values.
func TestSARIFOfManyContainersIsSmall(t *testing.T) {
	var subjects []Subject
	for range 40 {
		subjects = append(subjects, web(nil))
	}
	text := write(t, Of(subjects, Options{Time: noon, Last: capability.CheckpointRestore}), SARIF)
	var log struct {
		Runs []struct {
			Results []json.RawMessage
		}
	}
	if err := json.Unmarshal([]byte(text), &log); err != nil {
		t.Fatal(err)
	}
	if n := len(log.Runs[0].Results); n != len(subjects)*len(Rules()) {
		t.Errorf("%d results", n)
	}
	if help := capabilitiesRule.Remedy; strings.Count(text, help) != 1 {
		t.Errorf("the report contains the help of a rule %d times", strings.Count(text, help))
	}
	const limit = 7 << 10 // for a container with its results
	if len(text) > len(subjects)*limit {
		t.Errorf("%d bytes for %d containers", len(text), len(subjects))
	}
}

func TestJSONKeepsAllTexts(t *testing.T) {
	var got struct {
		Schema int
		Rules  []findings.Rule
		Audit
	}
	if err := json.Unmarshal([]byte(write(t, hostileAudit(), JSON)), &got); err != nil {
		t.Fatal(err)
	}
	if got.Schema != 1 || len(got.Rules) != 9 || len(got.Containers) != len(hostile) {
		t.Fatalf("schema %d, %d rules, %d containers", got.Schema, len(got.Rules), len(got.Containers))
	}
	for i, c := range got.Containers {
		if c.Name != strings.ToValidUTF8(hostile[i], "\ufffd") {
			t.Errorf("%q became %q", hostile[i], c.Name)
		}
	}
}

func TestRemedyListsWhatToFillIn(t *testing.T) {
	r := Remedy{
		Prove: "capmon verify", Run: []string{"docker run"}, List: new(capability.Set), Proved: true,
		Untranslated: []string{"HostConfig.KernelMemory", secretValues}, Withheld: []string{"export KEY"},
	}
	const want = `# to prove what the container needs, replace TEST with a command that succeeds if the container works:
# before you run this command, fill in the values that may be secret:
#   export KEY
# capmon audit --with-values prints the values
#   capmon verify
# with the capabilities that it is proved to need: no capability
# before you run these commands, add the settings that they do not restore:
#   HostConfig.KernelMemory
# before you run these commands, fill in the values that may be secret:
#   export KEY
# capmon audit --with-values prints the values
#   docker run`
	if diff := cmp.Diff(want, r.Text()); diff != "" {
		t.Error(diff)
	}
}
