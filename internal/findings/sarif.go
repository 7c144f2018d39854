package findings

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"maps"
	"net/url"
	"strings"
	"time"

	"github.com/capmon/capmon/internal/printable"
	"github.com/capmon/capmon/internal/profile"
)

const (
	informationURI = "https://github.com/capmon/capmon"
	sarifSchema    = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)

// language is the language of all texts. capmon writes it although it is the default, because go-sarif rejects files
// without language and newline sequences.
const language = "en-US"

// The parts of SARIF 2.1.0 that capmon writes. Libraries also write all other parts with their default values, which
// makes each result several times as large.
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool        sarifTool          `json:"tool"`
		Invocations []sarifInvocation  `json:"invocations"`
		Results     []sarifResult      `json:"results"`
		Language    string             `json:"language"`
		Newlines    []string           `json:"newlineSequences"`
		Properties  sarifRunProperties `json:"properties"`
	}
	sarifRunProperties struct {
		Evidence profile.Evidence `json:"evidence"`
	}
	// sarifInvocation has no machine: that would be the machine of this capmon, and not the host of the containers.
	sarifInvocation struct {
		Successful bool      `json:"executionSuccessful"`
		End        time.Time `json:"endTimeUtc"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name           string      `json:"name"`
		Version        string      `json:"version"`
		InformationURI string      `json:"informationUri"`
		Language       string      `json:"language"`
		Rules          []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID            string         `json:"id"`
		Title         sarifText      `json:"shortDescription"`
		Description   sarifText      `json:"fullDescription"`
		Help          sarifText      `json:"help"`
		Configuration sarifLevel     `json:"defaultConfiguration"`
		Properties    map[string]any `json:"properties"`
	}
	sarifText struct {
		Text string `json:"text"`
	}
	sarifLevel struct {
		Level string `json:"level"`
	}
	sarifResult struct {
		RuleID       string            `json:"ruleId"`
		RuleIndex    int               `json:"ruleIndex"`
		Kind         string            `json:"kind"`
		Level        string            `json:"level"`
		Message      sarifText         `json:"message"`
		Locations    []sarifLocation   `json:"locations"`
		Fingerprints map[string]string `json:"partialFingerprints"`
		// Suppressions is not nil in all results or in none (section 3.27.23).
		Suppressions []sarifSuppression `json:"suppressions,omitzero"`
		Properties   map[string]any     `json:"properties,omitempty"`
	}
	sarifSuppression struct {
		Kind          string `json:"kind"`
		Status        string `json:"status"`
		Justification string `json:"justification"`
	}
	sarifLocation struct {
		Physical sarifPhysical  `json:"physicalLocation"`
		Logical  []sarifLogical `json:"logicalLocations,omitempty"`
	}
	sarifPhysical struct {
		Artifact sarifArtifact `json:"artifactLocation"`
		Region   sarifRegion   `json:"region"`
	}
	sarifArtifact struct {
		URI string `json:"uri"`
	}
	sarifRegion struct {
		StartLine int `json:"startLine"`
	}
	sarifLogical struct {
		Name          string `json:"name"`
		QualifiedName string `json:"fullyQualifiedName"`
		Kind          string `json:"kind"`
	}
)

// WriteSARIF writes SARIF 2.1.0 with a result for each finding. The kind of a result is pass, fail or, if a person must
// review it, review. A waived finding is a suppressed failure. The texts of a rule are in the rule only, not in the
// results. The logical location is the container. The physical location, which some services require, is its image. The
// properties of the run have the evidence.
func WriteSARIF(out io.Writer, report Report) error {
	driver := sarifDriver{Name: "capmon", Version: report.Version, InformationURI: informationURI, Language: language, Rules: []sarifRule{}}
	index := make(map[string]int)
	for i, rule := range report.Rules {
		index[rule.ID] = i
		driver.Rules = append(driver.Rules, sarifRuleOf(rule))
	}
	run := sarifRun{
		Tool: sarifTool{driver}, Invocations: []sarifInvocation{{true, report.Time.UTC()}}, Results: []sarifResult{}, Language: language,
		Newlines: []string{"\r\n", "\n"}, Properties: sarifRunProperties{report.Evidence},
	}
	for _, f := range report.Findings {
		result := sarifResultOf(f, index[f.Rule])
		if report.Waivers {
			result.Suppressions = suppressionsOf(f)
		}
		run.Results = append(run.Results, result)
	}
	return json.NewEncoder(out).Encode(sarifLog{sarifSchema, "2.1.0", []sarifRun{run}})
}

func sarifRuleOf(rule Rule) sarifRule {
	properties := map[string]any{"tags": append([]string{}, rule.Tags...)}
	for key, value := range map[string]string{"impact": rule.Impact, "default": rule.Default} {
		if value != "" {
			properties[key] = value
		}
	}
	if len(rule.References) > 0 {
		properties["references"] = rule.References
	}
	return sarifRule{
		ID: rule.ID, Title: sarifText{rule.Title}, Description: sarifText{cmp.Or(rule.Rationale, rule.Title)}, Help: sarifText{cmp.Or(rule.Remedy, rule.Title)},
		Configuration: sarifLevel{"error"}, Properties: properties,
	}
}

func sarifResultOf(f Finding, rule int) sarifResult {
	kind, level := "review", "none"
	switch f.Status {
	case Pass:
		kind = "pass"
	case Fail:
		kind, level = "fail", "error"
		if f.Uncounted {
			level = "warning"
		}
	case Waived: // services that ignore suppressions show it, but do not fail
		kind, level = "fail", "note"
	}
	properties := make(map[string]any)
	maps.Copy(properties, f.Properties)
	if f.Remedy != "" {
		properties["remedy"] = f.Remedy
	}
	sum := sha256.Sum256([]byte(strings.Join([]string{f.Rule, f.Subject, f.Image}, "\x00")))
	return sarifResult{
		RuleID: f.Rule, RuleIndex: rule, Kind: kind, Level: level, Message: sarifText{plain(f.Text)}, Locations: []sarifLocation{location(f)},
		Fingerprints: map[string]string{"ruleAndContainer/v1": hex.EncodeToString(sum[:])}, Properties: properties,
	}
}

// suppressionsOf returns the waivers of a finding, not nil.
func suppressionsOf(f Finding) []sarifSuppression {
	suppressions := []sarifSuppression{}
	if f.Status == Waived {
		for _, waiver := range f.Waivers {
			suppressions = append(suppressions, sarifSuppression{"external", "accepted", printable.Text(waiver)})
		}
	}
	return suppressions
}

func location(f Finding) sarifLocation {
	name := printable.Text(f.Subject)
	uri := (&url.URL{Path: cmp.Or(f.File, f.Image, f.Subject)}).EscapedPath()
	// A colon before the first slash would turn the text before the colon into a scheme.
	uri = strings.ReplaceAll(uri, ":", "%3A")
	at := sarifLocation{Physical: sarifPhysical{sarifArtifact{uri}, sarifRegion{StartLine: max(f.Line, 1)}}}
	if f.File == "" {
		at.Logical = []sarifLogical{{Name: name, QualifiedName: name, Kind: "container"}}
	}
	return at
}

// plain escapes a text so that SARIF does not find links or placeholders in it (sections 3.11.5 and 3.11.6 of the
// standard).
func plain(text string) string {
	return strings.NewReplacer(`[`, `\[`, `]`, `\]`, `{`, `{{`, `}`, `}}`).Replace(printable.Text(text))
}
