// Package findingstest has data for tests of the formats of findings.
package findingstest

import (
	"strings"
	"time"

	"github.com/capmon/capmon/internal/findings"
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

// Hostile returns a report with a finding about each of the texts, and one about a container with a usual name.
func Hostile() findings.Report {
	r := findings.Report{
		Command: "capmon audit", Version: "1.0", Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
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
