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
)

var noon = time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)

// hostile contains texts that only an attacker chooses.
var hostile = []string{
	`"quotes" and 'others'`, "two\nlines", `<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, "\x00\x1b[31mred\x07", "no UTF-8 \xff",
	"=1+1", "{{.}}", "  blanks  ", strings.Repeat("ü", 255), "\u202e 北京", "",
}

func hostileAudit() audit.Audit {
	all := audit.Audit{Time: noon, Thresholds: audit.Thresholds{Observed: 10 * time.Minute, ObservedRisky: time.Minute, Runs: 1}, Evidence: evidence(hostile...)}
	list := capability.Of(capability.Chown)
	for i, text := range hostile {
		all.Containers = append(all.Containers, &audit.ContainerResult{
			ID: text, Name: text, Image: text, ImageID: text, User: text, Status: []findings.Status{findings.Fail, findings.Manual, findings.Pass}[i%3],
			Grants: audit.Grants{Set: &list}, Observation: &audit.Observation{Used: list, List: list, Doubts: []string{text}}, Reasons: []string{text}, Hints: []string{text},
			Remedy:  audit.Remedy{List: &list, Run: []string{text}, Untranslated: []string{text}, Notes: []string{text}},
			Related: []audit.Related{{Rule: "CIS-5.5", Status: findings.Fail, Text: text}},
		})
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
	return map[string]audit.Audit{
		"hostile": hostileAudit(), "empty": {Time: noon}, "static": audit.Of([]audit.Subject{web()}, options),
		"two": audit.Of([]audit.Subject{web(), web()}, options),
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
					Findings []struct {
						Target struct {
							Status struct{ State, Reason string }
						}
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
	}
}
