// Package audit_test compares the output formats of audits with their libraries and schemas.
package audit_test

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif"
	"github.com/xeipuuv/gojsonschema"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/audit"
	engine "github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/findings"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/waiver"
)

var noon = time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)

// hostile contains texts that only an attacker chooses.
var hostile = []string{
	`"quotes" and 'others'`, "two\nlines", `<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, "\x00\x1b[31mred\x07", "no UTF-8 \xff",
	"=1+1", "{{.}}", "  blanks  ", strings.Repeat("ü", 255), "\u202e 北京", "",
}

func hostileAudit() audit.Audit {
	all := audit.Audit{Time: noon, Thresholds: audit.Thresholds{Observed: 10 * time.Minute, ObservedRisky: time.Minute, Runs: 1}, Waivers: &waiver.Review{}, Evidence: evidence(hostile...)}
	day := waiver.Date{Time: noon.Truncate(24 * time.Hour)}
	list := capability.Of(capability.Chown)
	for i, text := range hostile {
		all.Containers = append(all.Containers, &audit.ContainerResult{
			ID: text, Name: text, Image: text, ImageID: text, User: text, Status: []findings.Status{findings.Fail, findings.Manual, findings.Pass, findings.Waived}[i%4],
			Grants: audit.Grants{Set: &list}, Observation: &audit.Observation{Used: list, List: list, Doubts: []string{text}}, Reasons: []string{text}, Hints: []string{text},
			Remedy:  audit.Remedy{List: &list, Run: []string{text}, Untranslated: []string{text}, Notes: []string{text}},
			Related: []audit.Related{{Rule: "CIS-5.5", Status: findings.Fail, Text: text}},
			Waived:  []waiver.Cover{{Capabilities: list, Reason: waiver.Text(text), Owner: waiver.Text("owner" + text), Expires: day}},
		})
		all.Waivers.List = append(all.Waivers.List, &waiver.Reviewed{Waiver: waiver.Waiver{
			Container: waiver.Pattern(text), Capabilities: waiver.Capabilities{Set: list}, Reason: waiver.Text(text), Owner: waiver.Text(text), Expires: day,
		}})
	}
	return all
}

// evidence returns the evidence of recordings on these hosts.
func evidence(hosts ...string) profile.Evidence {
	return profile.Evidence{
		Hosts: hosts, Engines: hosts, Kernels: hosts, RecordedBy: hosts, From: noon.Add(-time.Hour), To: noon, Scope: "all containers", Created: noon, Capmon: "v0.9",
		Audited: &profile.AuditedEngine{Host: strings.Join(hosts, ""), Engine: strings.Join(hosts, "")},
	}
}

// web returns a container with Docker's default settings.
func web() audit.Subject {
	return audit.Subject{
		Info: engine.Info{ID: strings.Repeat("a", 64), Name: "web", Image: "nginx:latest", ImageID: "sha256:1", Running: true, Inspected: true},
		Settings: engine.Settings{
			Container: container.InspectResponse{
				ContainerJSONBase: &container.ContainerJSONBase{
					ID: strings.Repeat("a", 64), Name: "/web", Image: "sha256:1", HostConfig: &container.HostConfig{}, State: &container.State{Running: true},
				},
				Config: &container.Config{Image: "nginx", Hostname: "web"},
			},
			Security: []string{"name=seccomp,profile=builtin"},
		},
	}
}

func audits() map[string]audit.Audit {
	options := audit.Options{Time: noon, Last: capability.CheckpointRestore, Evidence: evidence("web1")}
	waived := options
	file, err := waiver.Parse("waivers.yaml", []byte(`waivers:
  - {container: web, capabilities: [ALL], reason: a, owner: b, expires: 2027-03-31}
  - {image: nginx, capabilities: [NET_RAW], reason: a, owner: b, expires: 2026-07-01}
`))
	if err != nil {
		panic(err)
	}
	waived.Waivers = file
	return map[string]audit.Audit{
		"hostile": hostileAudit(), "empty": {Time: noon}, "static": audit.Of([]audit.Subject{web()}, options),
		"waived": audit.Of([]audit.Subject{web()}, waived), "two": audit.Of([]audit.Subject{web(), web()}, options),
	}
}

func write(t *testing.T, audited audit.Audit, format audit.Format) string {
	t.Helper()
	var out bytes.Buffer
	if err := audit.Write(&out, audited, format, "1.0 <b>", audit.View{}); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestSARIFIsValid(t *testing.T) {
	for name, audited := range audits() {
		log, err := sarif.FromString(write(t, audited, audit.SARIF))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := log.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOSCALIsValid(t *testing.T) {
	schema, err := os.ReadFile("../../../internal/audit/testdata/oscal-ar-schema-1.0.6.json")
	if err != nil {
		t.Fatal(err)
	}
	for name, audited := range audits() {
		document := write(t, audited, audit.OSCAL)
		result, err := gojsonschema.Validate(gojsonschema.NewBytesLoader(schema), gojsonschema.NewStringLoader(document))
		if err != nil {
			t.Fatal(err)
		}
		for _, fault := range result.Errors() {
			t.Errorf("%s: %s", name, fault)
		}
		var parsed struct {
			Results struct {
				Results []struct {
					Risks []struct {
						UUID, Status string
						Deadline     time.Time
					}
					Findings []struct {
						Target struct {
							Status struct{ State, Reason string }
						}
						Risks []struct {
							UUID string `json:"risk-uuid"`
						} `json:"related-risks"`
					}
				}
			} `json:"assessment-results"`
		}
		if err := json.Unmarshal([]byte(document), &parsed); err != nil {
			t.Fatal(err)
		}
		if name == "static" && (len(parsed.Results.Results[0].Findings) != len(audit.Rules()) || parsed.Results.Results[0].Findings[0].Target.Status.State != "not-satisfied") {
			t.Errorf("%+v", parsed)
		}
		if name != "waived" {
			continue
		}
		// The control is not satisfied, and somebody has approved that until the end of a day.
		results := parsed.Results.Results[0]
		finding := results.Findings[0]
		if len(results.Risks) != 2 || len(finding.Risks) != 2 || finding.Target.Status.State != "not-satisfied" {
			t.Fatalf("%+v", results)
		}
		approved, expired := results.Risks[0], results.Risks[1]
		if finding.Risks[0].UUID != approved.UUID || approved.Status != "deviation-approved" || expired.Status != "open" || !approved.Deadline.Equal(time.Date(2027, 4, 1, 0, 0, 0, 0, time.UTC)) {
			t.Errorf("%+v", results.Risks)
		}
	}
}
