package report

import (
	"encoding/json"
	"io"
	"time"

	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/recommend"
	"github.com/capmon/capmon/internal/substitute"
)

// schema is the version of the JSON report. It grows when a reader of the old
// form would misread the new one; new fields alone do not make it grow.
const schema = 1

type jsonReport struct {
	Schema     int             `json:"schema"`
	Containers []jsonContainer `json:"containers"`
}

type jsonContainer struct {
	profile.Container
	Service    string                            `json:"service,omitempty"`
	Runs       int                               `json:"runs"`
	Seconds    float64                           `json:"seconds"`
	Since      time.Time                         `json:"since"`
	Running    bool                              `json:"running"`
	Existed    bool                              `json:"existed"`
	Processes  uint64                            `json:"processes"`
	Checks     uint64                            `json:"checks"`
	Lost       uint64                            `json:"lost"`
	Complete   bool                              `json:"complete"`
	Incomplete []string                          `json:"incomplete"`
	Unexamined []string                          `json:"unexamined"`
	Cautions   []string                          `json:"cautions"`
	EngineErr  string                            `json:"engineError,omitempty"`
	Grants     profile.Grants                    `json:"grants"`
	Granted    *capability.Set                   `json:"granted"`
	Required   capability.Set                    `json:"required"`
	Demanded   capability.Set                    `json:"demanded"`
	Soft       capability.Set                    `json:"soft"`
	Unsure     capability.Set                    `json:"unsure"`
	AtStart    capability.Set                    `json:"atStart"`
	Unwatched  capability.Set                    `json:"unwatched"`
	Spared     capability.Set                    `json:"spared"`
	Denied     capability.Set                    `json:"denied"`
	Unused     *capability.Set                   `json:"unused"`
	Narrower   []jsonNarrower                    `json:"narrower,omitempty"`
	Substitute []substitute.Substitute           `json:"substitutes"`
	Classes    map[classify.Class]capability.Set `json:"classes"`
	Proved     bool                              `json:"proved"`
	Proof      *profile.Proof                    `json:"proof,omitempty"`
	Flags      []string                          `json:"flags"`
	Uses       []profile.Use                     `json:"uses"`
	Files      []profile.File                    `json:"files"`
	Unlisted   uint64                            `json:"unlisted"`
}

type jsonNarrower struct {
	Instead  capability.Capability `json:"insteadOf"`
	Narrower capability.Capability `json:"narrower"`
}

func writeJSON(out io.Writer, p profile.Profile) error {
	report := jsonReport{Schema: schema, Containers: []jsonContainer{}}
	for _, s := range profile.Summaries(p) {
		report.Containers = append(report.Containers, jsonOf(s))
	}
	return encode(out, report)
}

func encode(out io.Writer, value any) error {
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}

func jsonOf(s profile.Summary) jsonContainer {
	c := jsonContainer{
		Container:  s.Container,
		Service:    s.Container.Service(),
		Runs:       s.Runs,
		Seconds:    s.Observed.Seconds(),
		Since:      s.Since,
		Running:    s.Running,
		Existed:    s.Existed,
		Processes:  s.Processes,
		Checks:     s.Checks,
		Lost:       s.Lost,
		Complete:   len(s.Incomplete) == 0 && s.Started,
		Incomplete: append([]string{}, s.Incomplete...),
		Unexamined: append([]string{}, s.Unexamined...),
		Cautions:   append([]string{}, cautions(s)...),
		EngineErr:  s.EngineError,
		Grants:     s.Grants,
		Required:   s.Required(),
		Demanded:   s.Demanded(),
		Soft:       s.Soft(),
		Unsure:     s.Unsure(),
		AtStart:    s.AtStart(),
		Unwatched:  s.Unwatched,
		Spared:     s.Spared(),
		Denied:     s.Denied(),
		Proved:     s.Proved(),
		Proof:      s.Proof,
		Substitute: append([]substitute.Substitute{}, substitute.Of(s)...),
		Classes:    make(map[classify.Class]capability.Set),
		Flags:      []string{},
		Uses:       s.Uses,
		Files:      append([]profile.File{}, s.Files...),
		Unlisted:   s.Unlisted,
	}
	if granted, known := s.Grants.Set(); known {
		unused, _ := s.Unused()
		c.Granted, c.Unused = &granted, &unused
	}
	if s.Started {
		c.Flags = recommend.DockerFlags(s.List())
	}
	for _, use := range s.Uses {
		c.Classes[use.Class] = c.Classes[use.Class].With(use.Capability)
	}
	for _, need := range s.Needs().Sorted() {
		if narrower, ok := s.Narrower(need); ok {
			c.Narrower = append(c.Narrower, jsonNarrower{need, narrower})
		}
	}
	return c
}
