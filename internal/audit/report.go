package audit

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/findings"
	"github.com/capmon/capmon/internal/overview"
	"github.com/capmon/capmon/internal/waiver"
)

// Format is the name of an output format.
type Format string

// Formats of [Write].
const (
	Table    Format = "table"
	JSON     Format = "json"
	CSV      Format = "csv"
	SARIF    Format = "sarif"
	JUnit    Format = "junit"
	OSCAL    Format = "oscal"
	Markdown Format = "markdown"
)

// Formats returns the formats of [Write]. The first one is the default.
func Formats() []Format { return []Format{Table, JSON, CSV, SARIF, JUnit, OSCAL, Markdown} }

// View contains the options of the format [Table].
type View struct {
	// Details adds the details of each container to the overview. The table of a single container always has them.
	Details bool
	// Command is the command that prints the same audit, as words; empty if there is none. The overview adds words for
	// the details to it.
	Command []string
	// Width is the number of columns of the terminal; 0 for no limit.
	Width int
	// Color colors the statuses. Set it only for terminals.
	Color bool
	// Quiet leaves out the hints.
	Quiet bool
}

// Write writes an audit in a format. version is the version of capmon.
func Write(out io.Writer, audit Audit, format Format, version string, view View) error {
	switch format {
	case JSON:
		return writeJSON(out, audit)
	case CSV:
		return findings.WriteCSV(out, audit.findings(version))
	case SARIF:
		return findings.WriteSARIF(out, audit.findings(version))
	case JUnit:
		return findings.WriteJUnit(out, audit.findings(version))
	case OSCAL:
		return writeOSCAL(out, audit, version)
	case Markdown:
		return writeMarkdown(out, audit)
	default:
		return writeTable(out, audit, view)
	}
}

// schema is the version of the JSON format. It increases when a reader of the old format would misread the new one.
const schema = 1

func writeJSON(out io.Writer, audit Audit) error {
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	t := audit.Thresholds
	return encoder.Encode(struct {
		Schema     int             `json:"schema"`
		Rules      []findings.Rule `json:"rules"`
		Thresholds jsonThresholds  `json:"thresholds"`
		Audit
	}{schema, Rules(), jsonThresholds{t.Observed.Seconds(), t.ObservedRisky.Seconds(), t.Runs, t.EvenIfStartUnseen}, audit})
}

type jsonThresholds struct {
	Observed          float64 `json:"observedSeconds"`
	ObservedRisky     float64 `json:"observedRiskySeconds"`
	Runs              int     `json:"runs"`
	EvenIfStartUnseen bool    `json:"evenIfStartUnseen"`
}

// findings returns the audit in a form for CSV, SARIF and JUnit.
func (a Audit) findings(version string) findings.Report {
	report := findings.Report{Command: "capmon audit", Version: version, Time: a.Time, Evidence: a.Evidence, Rules: Rules()}
	for _, c := range a.Containers {
		properties := map[string]any{"containerID": c.ID, "grants": c.Grants}
		if c.Observation != nil {
			properties["observation"] = c.Observation
		}
		for key, covers := range map[string][]waiver.Cover{"waived": c.Waived, "expiredWaivers": c.ExpiredWaivers} {
			if len(covers) > 0 {
				properties[key] = covers
			}
		}
		report.Findings = append(report.Findings, findings.Finding{
			Rule: Capabilities, Status: c.Status, Subject: c.Name, Image: c.Image, Text: c.text(), Waivers: c.WaiverTexts(),
			Remedy: a.RemedyText(c), Properties: properties,
		})
		for _, r := range c.Related {
			report.Findings = append(report.Findings, findings.Finding{
				Rule: r.Rule, Status: r.Status, Uncounted: r.Status == findings.Fail && !a.Strict,
				Subject: c.Name, Image: c.Image, Text: r.Text, Properties: map[string]any{"containerID": c.ID},
			})
		}
	}
	a.Waivers.AddTo(&report)
	return report
}

// text returns the reasons, waivers and hints as one paragraph.
func (c *ContainerResult) text() string {
	return strings.Join(slices.Concat(c.Reasons, c.WaiverTexts(), c.Hints), "; ")
}

// grantsText describes the grants relative to Docker's default.
func (c *ContainerResult) grantsText() string {
	g := c.Grants
	switch {
	case g.Privileged:
		return "privileged"
	case g.Set == nil:
		return "unknown"
	case g.Set.Empty():
		return "none"
	case g.Added.Empty() && g.Dropped.Empty():
		return fmt.Sprintf("Docker's %d default capabilities", g.Default.Len())
	}
	var parts []string
	switch {
	case g.Default.Empty():
	case g.Dropped.Empty():
		parts = append(parts, fmt.Sprintf("Docker's %d default capabilities", g.Default.Len()))
	case g.Dropped.Len() < g.Default.Len():
		parts = append(parts, fmt.Sprintf("Docker's default capabilities except %s", names(g.Dropped)))
	default:
		parts = append(parts, names(g.Default))
	}
	if !g.Added.Empty() {
		parts = append(parts, "added "+names(g.Added))
	}
	return strings.Join(parts, ", ")
}

// observedText describes what capmon observed of the container.
func (c *ContainerResult) observedText() string {
	o := c.Observation
	if o == nil {
		return "not observed"
	}
	text := "observed for " + overview.Duration(time.Duration(o.Seconds*float64(time.Second)))
	if o.Runs > 1 {
		text += fmt.Sprintf(" in %d runs", o.Runs)
	}
	text += ": used " + cmp.Or(names(o.Used), "no capability")
	if o.Proved {
		return text + fmt.Sprintf("; proved to be sufficient: %s", cmp.Or(names(o.List), "none"))
	}
	if c.Status == findings.Fail {
		for _, unsure := range overview.Gravest(c.unsure()) {
			text += fmt.Sprintf("; %s may not be needed, which only capmon verify can find out: %s", unsure, c.Summary.UnsureReason(unsure))
		}
	}
	return text
}

// unsure returns the used capabilities that the container may not need.
func (c *ContainerResult) unsure() (set capability.Set) {
	if c.Summary == nil || c.Observation == nil {
		return set
	}
	return c.Summary.Unsure().Intersect(c.Observation.Used)
}

// failedRelated returns the related rules that the container violates.
func (c *ContainerResult) failedRelated() []Related {
	return slices.DeleteFunc(slices.Clone(c.Related), func(r Related) bool { return r.Status != findings.Fail })
}
