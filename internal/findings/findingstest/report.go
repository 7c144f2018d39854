// Package findingstest has data for tests of the formats of findings.
package findingstest

import (
	"strings"
	"time"

	"github.com/capmon/capmon/internal/findings"
	"github.com/capmon/capmon/internal/profile"
)

// Texts returns names that only an attacker chooses.
func Texts() []string {
	return []string{
		`"quotes" and 'others'`,
		"two\nlines\r\nand a tab\t",
		`<script>alert(1)</script>&amp;]]>`,
		"\x00\x01\x1b[31mred\x07\ufffe\uffff",
		"no UTF-8 \xff\xfe",
		`=cmd|'/c calc'!A1`, "+1", "-1", "@SUM(A1)", "\t=1", "＝1",
		"[click](https://evil.example) {0} %s \\[",
		"/..//../etc/passwd?query#fragment",
		strings.Repeat("ü", 255),
		"\u202etxt.exe 北京 🦀",
		"",
	}
}

// Evidence returns the evidence of a recording whose host, engine and version have this name.
func Evidence(name string) profile.Evidence {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return profile.Evidence{
		Hosts: []string{name}, Engines: []string{name}, Kernels: []string{name}, RecordedBy: []string{name}, From: at, To: at.Add(time.Minute),
		Scope: "profile web.json", Created: at.Add(time.Hour), Capmon: "v0.9",
	}
}

// Hostile returns a report with a finding about each of the texts, and one about a container with a usual name.
func Hostile() findings.Report {
	r := findings.Report{
		Command: "capmon audit", Version: "1.0", Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Evidence: Evidence(strings.Join(Texts(), "")),
		Rules: []findings.Rule{
			{ID: "CIS-5.4", Title: "restricted", Rationale: "why", Impact: "cost", Remedy: "drop", Default: "14", References: []string{"CM-7"}, Tags: []string{"security"}},
			{ID: "CIS-5.5", Title: "not privileged"},
			{ID: "none", Title: "without findings"},
		},
	}
	for i, text := range Texts() {
		r.Findings = append(r.Findings, findings.Finding{
			Rule: "CIS-5.4", Status: []findings.Status{findings.Pass, findings.Fail, findings.Manual}[i%3], Subject: text, Image: text, Text: text,
			Remedy: "run this:\n" + text, Properties: map[string]any{"name": text, text: []string{text}},
		})
	}
	r.Findings = append(r.Findings, findings.Finding{Rule: "CIS-5.5", Status: findings.Fail, Subject: "web", Image: "docker.io:5000/nginx:1", Text: "it is"})
	return r
}
