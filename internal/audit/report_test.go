package audit

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/google/go-cmp/cmp"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/findings"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/waiver"
)

// hostile contains texts that only an attacker chooses.
var hostile = []string{
	`"quotes" and 'others'`, "two\nlines", `<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, "\x00\x1b[31mred\x07", "no UTF-8 \xff",
	"=1+1", "{{.}}", "  blanks  ", strings.Repeat("ü", 255), "\u202e 北京", "",
}

func hostileAudit() Audit {
	audit := Audit{Time: noon, Thresholds: thresholds, Waivers: &waiver.Review{}, Evidence: profile.Evidence{
		Hosts: hostile, Engines: hostile, Kernels: hostile, RecordedBy: hostile, From: noon.Add(-time.Hour), To: noon, Scope: "all containers", Created: noon, Capmon: "v0.9",
		Audited: &profile.AuditedEngine{Host: strings.Join(hostile, ""), Engine: strings.Join(hostile, "")},
	}}
	list := capability.Of(capability.Chown)
	for i, text := range hostile {
		audit.Containers = append(audit.Containers, &ContainerResult{
			ID: text, Name: text, Image: text, ImageID: text, User: text, Status: []findings.Status{findings.Fail, findings.Manual, findings.Pass, findings.Waived}[i%4],
			Grants: Grants{Set: &list}, Observation: &Observation{Used: list, List: list, Doubts: []string{text}}, Reasons: []string{text}, Hints: []string{text},
			Remedy:  Remedy{List: &list, Run: []string{text}, Untranslated: []string{text}, Notes: []string{text}},
			Related: []Related{{"CIS-5.5", findings.Fail, text}},
			Waived:  []waiver.Cover{{Capabilities: list, Reason: waiver.Text(text), Owner: waiver.Text(text)}}, ExpiredWaivers: []waiver.Cover{{Reason: waiver.Text(text)}},
		})
		c := audit.Containers[i]
		c.Remedy.Observe, c.Remedy.NewStart = []string{text}, true
		switch i % 3 {
		case 1:
			c.Service = text
		case 2:
			c.Compose = &Compose{Project: text, Service: text, Directory: text, Files: []string{text}}
		}
		audit.Waivers.File = text
		audit.Waivers.List = append(audit.Waivers.List, &waiver.Reviewed{Waiver: waiver.Waiver{
			Container: waiver.Pattern(text), Image: waiver.Pattern(text), Capabilities: waiver.Capabilities{Set: list}, Reason: waiver.Text(text), Owner: waiver.Text(text),
		}})
	}
	return audit
}

func write(t *testing.T, audit Audit, format Format) string {
	t.Helper()
	var out bytes.Buffer
	if err := Write(&out, audit, format, "1.0 <b>", View{Details: true}); err != nil {
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

func TestQuietLeavesHintsOutOfTheTable(t *testing.T) {
	var quiet, want strings.Builder
	if err := Write(&quiet, hostileAudit(), Table, "1.0 <b>", View{Details: true, Quiet: true}); err != nil {
		t.Fatal(err)
	}
	loud := write(t, hostileAudit(), Table)
	for line := range strings.Lines(loud) {
		if !strings.HasPrefix(line, "  hint: ") {
			want.WriteString(line)
		}
	}
	if diff := cmp.Diff(want.String(), quiet.String()); diff != "" || quiet.String() == loud {
		t.Error(diff)
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
	const limit = 6 << 10 // for a container with its results
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
		Prove: "capmon verify", AuditProof: "capmon audit --profile", WithValues: "capmon audit --with-values", Run: []string{"docker run"}, List: new(capability.Set), Proved: true,
		Untranslated: []string{"HostConfig.KernelMemory", secretValues}, Withheld: []string{"export KEY"},
	}
	const want = `# 1. to prove what the container needs, replace TEST with a command on this host that succeeds if the container works:
# before you run this command, fill in the values that may be secret:
#   export KEY
# or print the commands with the values, and keep them secret:
#   capmon audit --with-values
#   capmon verify
# verify starts other containers, and leaves this one as it is; then audit with its proof:
#   capmon audit --profile
# 2. to create the container again with the capabilities that it is proved to need: no capability
# before you run these commands, add the settings that they do not restore:
#   HostConfig.KernelMemory
# before you run these commands, fill in the values as above
#   docker run`
	if diff := cmp.Diff(want, r.Text()); diff != "" {
		t.Error(diff)
	}
}

// The table has an overview first. A container has details if it is the only one, or if they are wanted.
func TestTheTableBeginsWithAnOverview(t *testing.T) {
	subjects := []Subject{web(nil), web(nil)}
	subjects[1].Info.ID, subjects[1].Info.Name, subjects[1].Info.Privileged = strings.Repeat("b", 64), "ci 'runner'", true
	two := Of(subjects, Options{Time: noon, Last: capability.CheckpointRestore})
	text := func(audit Audit, view View) string {
		var out bytes.Buffer
		if err := Write(&out, audit, Table, "1.0", view); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	const details = "  granted: "
	short := text(two, View{Command: []string{"capmon", "audit", "--static"}, Width: 80})
	for _, want := range []string{"CIS 5.4, 2 containers: 2 fail\n", "Start with ci 'runner': it is privileged", `  capmon audit --static 'ci '\''runner'\'''` + "\n", "  capmon audit --static --details\n"} {
		if !strings.Contains(short, want) {
			t.Errorf("%q is missing:\n%s", want, short)
		}
	}
	if strings.Contains(short, details) {
		t.Errorf("unwanted details:\n%s", short)
	}
	if strings.Index(short, "ci 'runner'") > strings.Index(short, "web") {
		t.Errorf("the privileged container is not first:\n%s", short)
	}
	if long := text(two, View{Details: true}); strings.Count(long, details) != 2 || !strings.HasPrefix(long, "CIS 5.4, 2 containers") {
		t.Errorf("no details:\n%s", long)
	}
	if one := text(Of(subjects[:1], Options{Time: noon}), View{}); strings.Count(one, details) != 1 {
		t.Errorf("no details of the only container:\n%s", one)
	}
	if none := text(Of(nil, Options{Time: noon}), View{}); none != "CIS 5.4, 0 containers\n" {
		t.Errorf("%q", none)
	}
}

// The evidence is about the audited containers only, as find finds them.
func TestEvidenceHasTheRecordingsOfTheAuditedContainers(t *testing.T) {
	const service = "com.docker.swarm.service.name"
	recorded := func(host string, change func(*profile.Run)) profile.Run {
		run := ran(time.Minute)
		run.ID, run.Observation.Host = "o/"+host, host
		change(&run)
		return run
	}
	p := profile.New(
		recorded("by-name", func(*profile.Run) {}),
		recorded("by-id", func(r *profile.Run) { r.Container = profile.Container{ID: strings.Repeat("a", 64)} }),
		recorded("by-service", func(r *profile.Run) {
			r.Container.Name, r.Container.Labels = "shop.1", map[string]string{service: "shop"}
		}),
		recorded("other-image", func(r *profile.Run) { r.Container.Image = "nginx:1" }),
		recorded("other-name", func(r *profile.Run) { r.Container.Name = "db" }),
		recorded("other-service", func(r *profile.Run) {
			r.Container.Name, r.Container.Labels = "pay.1", map[string]string{service: "pay"}
		}),
		recorded("unconfirmed", func(r *profile.Run) {
			r.Container = profile.Container{ID: strings.Repeat("a", 64), Unconfirmed: "/user.slice"}
		}),
		recorded("unnamed", func(r *profile.Run) { r.Container = profile.Container{ID: strings.Repeat("c", 64)} }),
	)
	subject := web(func(_ *container.HostConfig, c *container.Config) { c.Labels = map[string]string{service: "shop"} })
	evidence := profile.Evidence{Scope: "container web", Created: noon, Capmon: "v0.9", Audited: &profile.AuditedEngine{Host: "web1", Engine: "docker 28.2.2"}}
	audit := Of([]Subject{subject}, Options{Profile: &p, Time: noon, Evidence: evidence})
	if diff := cmp.Diff([]string{"by-id", "by-name", "by-service"}, audit.Evidence.Hosts); diff != "" {
		t.Error(diff)
	}
	if static := Of([]Subject{subject}, Options{Time: noon, Evidence: evidence}); len(static.Evidence.Hosts) > 0 || static.Evidence.Audited.Host != "web1" {
		t.Errorf("a static audit: %+v", static.Evidence)
	}
}

func TestFormatsHaveTheEvidence(t *testing.T) {
	p := profile.New(ran(time.Minute))
	evidence := profile.Evidence{Scope: "container web", Created: noon, Capmon: "v0.9", Audited: &profile.AuditedEngine{Host: "web1", Engine: "docker 28.2.2"}}
	audit := Of([]Subject{web(nil)}, Options{Profile: &p, Time: noon, Evidence: evidence})
	for format, want := range map[Format]string{
		Table: `host web1 · engine docker 28.2.2
  recorded 2026-08-01 12:00:00 to 12:01:00 UTC on host unknown with engine unknown by capmon unknown
  container web · audited 2026-08-01 12:00:00 UTC · capmon v0.9

CIS 5.4, 1 container: 1 fail

FAIL  `,
		JSON:  `"audited": {`,
		CSV:   ",web1,docker 28.2.2,2026-08-01T12:00:00Z,2026-08-01T12:01:00Z,container web,2026-08-01T12:00:00Z,v0.9\r\n",
		SARIF: `"audited":{"host":"web1","engine":"docker 28.2.2"}`,
		JUnit: `<property name="audited host" value="web1">`,
		OSCAL: `"name": "audited-host",`,
	} {
		if text := write(t, audit, format); !strings.Contains(text, want) || format == Table && !strings.HasPrefix(text, want) {
			t.Errorf("%s lacks %q:\n%.2000s", format, want, text)
		}
	}
}
