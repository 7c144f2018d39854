package finding

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"maps"
	"net/url"
	"strings"

	"github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif"

	"github.com/capmon/capmon/internal/printable"
)

const informationURI = "https://github.com/capmon/capmon"

// WriteSARIF writes SARIF 2.1.0: a result for each finding, whose kind is pass, fail or,
// for what a person has to look at, review. The place is the container, and for services
// that insist on a file its image.
func WriteSARIF(out io.Writer, report Report) error {
	run := sarif.NewRunWithInformationURI("capmon", informationURI)
	run.Tool.Driver.WithVersion(report.Version)
	for _, rule := range report.Rules {
		addRule(run, rule)
	}
	for _, f := range report.Findings {
		fill(run.CreateResultForRule(f.Rule), f)
	}
	log := sarif.NewReport()
	log.Schema = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
	log.AddRun(run)
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(log)
}

func addRule(run *sarif.Run, rule Rule) {
	properties := sarif.NewPropertyBag().WithTags(rule.Tags)
	for key, value := range map[string]string{"impact": rule.Impact, "default": rule.Default} {
		if value != "" {
			properties.Add(key, value)
		}
	}
	if len(rule.References) > 0 {
		properties.Add("references", rule.References)
	}
	run.AddRule(rule.ID).
		WithShortDescription(sarif.NewMultiformatMessageString().WithText(rule.Title)).
		WithFullDescription(sarif.NewMultiformatMessageString().WithText(cmp.Or(rule.Rationale, rule.Title))).
		WithHelp(sarif.NewMultiformatMessageString().WithText(cmp.Or(rule.Remedy, rule.Title))).
		WithDefaultConfiguration(sarif.NewReportingConfiguration().WithLevel(sarif.LevelError)).
		WithProperties(properties)
}

func fill(result *sarif.Result, f Finding) {
	kind, level := "review", "none"
	switch f.Status {
	case Pass:
		kind = "pass"
	case Fail:
		kind, level = "fail", "error"
		if f.Uncounted {
			level = "warning"
		}
	}
	properties := sarif.NewPropertyBag()
	maps.Copy(properties.Properties, f.Properties)
	if f.Remedy != "" {
		properties.Add("remedy", f.Remedy)
	}
	result.WithKind(kind).
		WithLevel(level).
		WithMessage(sarif.NewTextMessage(plain(f.Text))).
		WithProperties(properties).
		WithLocations([]*sarif.Location{place(f)})
	sum := sha256.Sum256([]byte(strings.Join([]string{f.Rule, f.Subject, f.Image}, "\x00")))
	result.PartialFingerprints = map[string]string{"ruleAndContainer/v1": hex.EncodeToString(sum[:])}
}

func place(f Finding) *sarif.Location {
	name := printable.Text(f.Subject)
	location := sarif.NewLocation().WithLogicalLocations([]*sarif.LogicalLocation{
		sarif.NewLogicalLocation().WithName(name).WithFullyQualifiedName(name).WithKind("container"),
	})
	uri := (&url.URL{Path: cmp.Or(f.Image, f.Subject)}).EscapedPath()
	// A colon in front of the first slash would make a scheme of what stands before it.
	uri = strings.ReplaceAll(uri, ":", "%3A")
	return location.WithPhysicalLocation(sarif.NewPhysicalLocation().
		WithArtifactLocation(sarif.NewSimpleArtifactLocation(uri)).
		WithRegion(sarif.NewRegion().WithStartLine(1)))
}

// plain is a text in which SARIF sees neither links nor placeholders (3.11.5 and 3.11.6 of
// the standard).
func plain(text string) string {
	return strings.NewReplacer(`[`, `\[`, `]`, `\]`, `{`, `{{`, `}`, `}}`).Replace(printable.Text(text))
}
