package audit

import (
	"encoding/json"
	"io"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/capmon/capmon/internal/findings"
	"github.com/capmon/capmon/internal/printable"
	"github.com/capmon/capmon/internal/waiver"
)

// oscalVersion is the version of the OSCAL model. The tests validate against its JSON schema. Tools for later 1.x
// releases read it as well.
const oscalVersion = "1.0.6"

// control and statement are the control of NIST SP 800-53 that a finding refers to: provide only essential capabilities
// (CM-7 a).
const control, statement = "cm-7", "cm-7_smt.a"

// The parts of OSCAL's assessment results that are written.
type (
	oscalDocument struct {
		Results oscalResults `json:"assessment-results"`
	}
	oscalResults struct {
		UUID     string        `json:"uuid"`
		Metadata oscalMetadata `json:"metadata"`
		ImportAP oscalLink     `json:"import-ap"`
		Results  []oscalResult `json:"results"`
		Back     oscalBack     `json:"back-matter"`
	}
	oscalMetadata struct {
		Title    string    `json:"title"`
		Modified time.Time `json:"last-modified"`
		Version  string    `json:"version"`
		OSCAL    string    `json:"oscal-version"`
	}
	oscalLink struct {
		Href string `json:"href"`
	}
	oscalBack struct {
		Resources []oscalResource `json:"resources"`
	}
	oscalResource struct {
		UUID        string `json:"uuid"`
		Title       string `json:"title"`
		Description string `json:"description"`
	}
	oscalResult struct {
		UUID         string             `json:"uuid"`
		Title        string             `json:"title"`
		Description  string             `json:"description"`
		Start        time.Time          `json:"start"`
		End          time.Time          `json:"end"`
		Props        []oscalProperty    `json:"props,omitempty"`
		Local        *oscalLocal        `json:"local-definitions,omitempty"`
		Reviewed     oscalReviewed      `json:"reviewed-controls"`
		Observations []oscalObservation `json:"observations,omitempty"`
		Risks        []oscalRisk        `json:"risks,omitempty"`
		Findings     []oscalFinding     `json:"findings,omitempty"`
		Remarks      string             `json:"remarks,omitempty"`
	}
	oscalLocal struct {
		Items []oscalItem `json:"inventory-items"`
	}
	oscalItem struct {
		UUID        string          `json:"uuid"`
		Description string          `json:"description"`
		Props       []oscalProperty `json:"props,omitempty"`
	}
	oscalProperty struct {
		Name  string `json:"name"`
		NS    string `json:"ns,omitempty"`
		Value string `json:"value"`
	}
	oscalReviewed struct {
		Selections []oscalSelection `json:"control-selections"`
	}
	oscalSelection struct {
		Controls []oscalControl `json:"include-controls"`
	}
	oscalControl struct {
		ID string `json:"control-id"`
	}
	oscalObservation struct {
		UUID        string         `json:"uuid"`
		Title       string         `json:"title"`
		Description string         `json:"description"`
		Methods     []string       `json:"methods"`
		Subjects    []oscalSubject `json:"subjects"`
		Collected   time.Time      `json:"collected"`
		Remarks     string         `json:"remarks,omitempty"`
	}
	oscalSubject struct {
		UUID string `json:"subject-uuid"`
		Type string `json:"type"`
	}
	oscalRisk struct {
		UUID        string          `json:"uuid"`
		Title       string          `json:"title"`
		Description string          `json:"description"`
		Statement   string          `json:"statement"`
		Props       []oscalProperty `json:"props,omitempty"`
		Status      string          `json:"status"`
		Deadline    time.Time       `json:"deadline"`
		Related     []oscalRelated  `json:"related-observations"`
	}
	oscalFinding struct {
		UUID        string             `json:"uuid"`
		Title       string             `json:"title"`
		Description string             `json:"description"`
		Props       []oscalProperty    `json:"props,omitempty"`
		Target      oscalTarget        `json:"target"`
		Related     []oscalRelated     `json:"related-observations"`
		Risks       []oscalRelatedRisk `json:"related-risks,omitempty"`
	}
	oscalTarget struct {
		Type   string      `json:"type"`
		ID     string      `json:"target-id"`
		Status oscalStatus `json:"status"`
	}
	oscalStatus struct {
		State  string `json:"state"`
		Reason string `json:"reason"`
	}
	oscalRelated struct {
		UUID string `json:"observation-uuid"`
	}
	oscalRelatedRisk struct {
		UUID string `json:"risk-uuid"`
	}
)

// writeOSCAL writes OSCAL assessment results. Each container is an inventory item. Each audited rule of a container is
// an observation with a finding. Each waiver of a container is a risk of its finding.
func writeOSCAL(out io.Writer, audit Audit, version string) error {
	plan := oscalResource{uuid.NewString(), "capmon audit", "Containers were audited against CIS Docker Benchmark 5.4 and related rules. There is no other plan."}
	document := oscalDocument{oscalResults{
		UUID:     uuid.NewString(),
		Metadata: oscalMetadata{"Capabilities of containers, audited against CIS Docker Benchmark 5.4", audit.Time, property(version), oscalVersion},
		ImportAP: oscalLink{"#" + plan.UUID},
		Results:  []oscalResult{oscalResultOf(audit)},
		Back:     oscalBack{[]oscalResource{plan}},
	}}
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(document)
}

func oscalResultOf(audit Audit) oscalResult {
	result := oscalResult{
		UUID: uuid.NewString(), Title: "capmon audit", Description: capabilitiesRule.Rationale, Start: collectionStart(audit), End: audit.Time,
		Reviewed: oscalReviewed{[]oscalSelection{{[]oscalControl{{"cm-6"}, {control}}}}},
	}
	for _, fact := range audit.Evidence.Facts() {
		result.Props = append(result.Props, oscalProperty{strings.ReplaceAll(fact.Name, " ", "-"), propertyNamespace, property(fact.Text)})
	}
	titles := make(map[string]string)
	for _, rule := range Rules() {
		titles[rule.ID] = rule.Title
	}
	var items []oscalItem
	for _, c := range audit.Containers {
		// The ID stays the same in each audit of the same container.
		item := oscalItem{UUID: uuid.NewSHA1(uuid.NameSpaceURL, []byte("docker:"+c.ID)).String(), Description: "container " + printable.Text(c.Name)}
		for _, p := range []oscalProperty{{"asset-id", "", c.ID}, {"container-name", propertyNamespace, c.Name}, {"image", propertyNamespace, c.Image}} {
			if p.Value = property(p.Value); p.Value != "" {
				item.Props = append(item.Props, p)
			}
		}
		items = append(items, item)
		method := []string{"TEST"}
		if audit.Static || c.Observation == nil {
			method = []string{"EXAMINE"}
		}
		finding := result.add(item.UUID, Related{Capabilities, c.Status, c.text()}, titles[Capabilities], audit.RemedyText(c), method, audit.Time)
		result.addRisks(finding, c.Waived, "deviation-approved")
		result.addRisks(finding, c.ExpiredWaivers, "open")
		for _, r := range c.Related {
			result.add(item.UUID, r, titles[r.Rule], "", []string{"EXAMINE"}, audit.Time)
		}
	}
	if len(items) > 0 {
		result.Local = &oscalLocal{items}
	}
	result.Remarks = printable.Lines(strings.Join(audit.Waivers.Lines(), "\n"))
	return result
}

// collectionStart returns when the collection of the evidence began. OSCAL allows no times before 1900.
func collectionStart(audit Audit) time.Time {
	if from := audit.Evidence.From; from.Year() >= 1900 && from.Before(audit.Time) {
		return from.UTC()
	}
	return audit.Time
}

// propertyNamespace is the namespace of properties that capmon defines.
const propertyNamespace = "https://github.com/capmon/capmon"

// property returns a text in a form that OSCAL allows in properties.
func property(text string) string { return strings.TrimSpace(printable.Text(text)) }

// add adds an observation with a finding, and returns the finding until the next one is added.
func (r *oscalResult) add(item string, outcome Related, title, remedy string, methods []string, at time.Time) *oscalFinding {
	observation := oscalObservation{
		UUID: uuid.NewString(), Title: outcome.Rule, Description: printable.Text(outcome.Text), Methods: methods,
		Subjects: []oscalSubject{{item, "inventory-item"}}, Collected: at, Remarks: printable.Lines(remedy),
	}
	status := map[findings.Status]oscalStatus{
		findings.Pass: {"satisfied", "pass"}, findings.Fail: {"not-satisfied", "fail"}, findings.Manual: {"not-satisfied", "other"},
		findings.Waived: {"not-satisfied", "fail"}, // a risk of the finding is approved
	}[outcome.Status]
	r.Observations = append(r.Observations, observation)
	r.Findings = append(r.Findings, oscalFinding{
		UUID: uuid.NewString(), Title: outcome.Rule + " " + title, Description: observation.Description,
		Props:  []oscalProperty{{"status", propertyNamespace, string(outcome.Status)}},
		Target: oscalTarget{"statement-id", statement, status}, Related: []oscalRelated{{observation.UUID}},
	})
	return &r.Findings[len(r.Findings)-1]
}

// addRisks adds a risk to a finding for each waiver.
func (r *oscalResult) addRisks(finding *oscalFinding, waivers []waiver.Cover, status string) {
	for _, w := range waivers {
		risk := oscalRisk{
			UUID: uuid.NewString(), Title: "waiver for " + w.Capabilities.Text(), Description: printable.Text(w.Text()), Statement: printable.Text(string(w.Reason)),
			Props:  []oscalProperty{{"owner", propertyNamespace, property(string(w.Owner))}},
			Status: status, Deadline: w.Expires.End(), Related: finding.Related,
		}
		r.Risks = append(r.Risks, risk)
		finding.Risks = append(finding.Risks, oscalRelatedRisk{risk.UUID})
	}
}
