package report

import (
	"encoding/json"
	"io"
	"time"

	"github.com/capmon/capmon/internal/alternatives"
	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/settings"
)

// schema is the version of the JSON report. It grows when a reader of the old
// form would misread the new one; new fields alone do not make it grow.
const schema = 2

// jsonReport is a report for programs.
type jsonReport struct {
	// Version of the form of the report.
	Schema int `json:"schema"`
	// In the order of their start.
	Containers []jsonContainer `json:"containers"`
}

// jsonContainer is all runs of the same name and image added up, or all tasks of a swarm's
// service with the same image.
type jsonContainer struct {
	profile.Container
	// The swarm's service that it is a task of; missing if it is none.
	Service string `json:"service,omitempty"`
	// How many runs were added up.
	Runs int `json:"runs"`
	// How long the workload was seen running, in total.
	Seconds float64 `json:"seconds"`
	// From when on it was watched.
	Since time.Time `json:"since"`
	// It was still running when the observation ended.
	Running bool `json:"running"`
	// It was running before the observation began: what it used before is not known.
	Existed bool `json:"existed"`
	// Workload processes that were seen.
	Processes uint64 `json:"processes"`
	// Capability checks, of every class, that were seen.
	Checks uint64 `json:"checks"`
	// Checks of it that could not be recorded.
	Lost uint64 `json:"lost"`
	// A run of a new container was watched from its first instruction on, or verify has proved that it starts with the list.
	StartSeen bool `json:"startSeen"`
	// Nothing was lost while it was watched, and a workload was seen.
	Complete bool `json:"complete"`
	// What was lost; empty if nothing was.
	Incomplete []string `json:"incomplete"`
	// Programs that were executed and gone before it could be read whether their files carry capabilities.
	Unexamined []string `json:"unexamined"`
	// What to know before relying on the list, gravest first.
	Cautions []string `json:"cautions"`
	// Why the engine could not tell how it is set up; missing if it has told.
	EngineErr string `json:"engineError,omitempty"`
	// What engine and kernel say is granted.
	Grants profile.Grants `json:"grants"`
	// The best that is known of the grants; null if nothing is.
	Granted *capability.Set `json:"granted" jsonschema:"nullable"`
	// Needs whose refusal is an error.
	Required capability.Set `json:"required"`
	// Needs that no check asks about, but that are read straight from a credential.
	Implicit capability.Set `json:"implicit"`
	// Needs whose refusal only changes a result.
	Soft capability.Set `json:"soft"`
	// Members of the list of which no use is certainly needed.
	Unsure capability.Set `json:"unsure"`
	// Members of the list that whoever used them had given up by the end.
	AtStart capability.Set `json:"atStart"`
	// Granted capabilities that the seccomp profile may allow system calls by which were not all recorded.
	Unwatched capability.Set `json:"unwatched"`
	// Capabilities that were used, where others that are in the list do as well.
	Spared capability.Set `json:"spared"`
	// Tried and denied, and the system call failed or it is not known how it ended.
	Denied capability.Set `json:"denied"`
	// Granted and never used; null if the grants are not known.
	Unused *capability.Set `json:"unused" jsonschema:"nullable"`
	// Capabilities that would do instead of others, and give less.
	Narrower []jsonNarrower `json:"narrower,omitempty"`
	// What may serve in place of a capability, untested.
	Substitutes []alternatives.Substitute `json:"substitutes"`
	// For each class the capabilities with a check of it.
	Classes map[classify.Class]capability.Set `json:"classes"`
	// A proof of verify holds: it is of this image, and everything observed was tried.
	Proved bool `json:"proved"`
	// The latest proof; missing if it was never verified.
	Proof *profile.Proof `json:"proof,omitempty"`
	// The options of docker run, as proved or else as observed; empty if no workload was seen.
	Flags []string `json:"flags"`
	// The ways in which capabilities were asked for.
	Uses []profile.Use `json:"uses"`
	// All limits of the kernel's that it passed because a sysctl of its network namespace lifted them are in lifted.
	LimitsSeen bool `json:"limitsSeen"`
	// How it passed such limits, for which an engine that leaves them as they are has to grant a capability. There was no check.
	Lifted []profile.Lifted `json:"lifted"`
	// The files that made capabilities for files necessary, as far as they could be named.
	Files []profile.File `json:"files"`
	// How many such checks were made of files that could not be listed.
	Unlisted uint64 `json:"unlisted"`
}

// jsonNarrower is a capability that would do instead of another.
type jsonNarrower struct {
	// The wider one, which is in the list.
	Instead capability.Capability `json:"insteadOf"`
	// The narrower one.
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
		Container:   s.Container,
		Service:     s.Container.Service(),
		Runs:        s.Runs,
		Seconds:     s.Observed.Seconds(),
		Since:       s.Since,
		Running:     s.Running,
		Existed:     s.Existed,
		Processes:   s.Processes,
		Checks:      s.Checks,
		Lost:        s.Lost,
		StartSeen:   s.StartSeen(),
		Complete:    len(s.Incomplete) == 0 && s.Started,
		Incomplete:  append([]string{}, s.Incomplete...),
		Unexamined:  append([]string{}, s.Unexamined...),
		Cautions:    append([]string{}, cautions(s)...),
		EngineErr:   s.EngineError,
		Grants:      s.Grants,
		Required:    s.Required(),
		Implicit:    s.Implicit(),
		Soft:        s.Soft(),
		Unsure:      s.Unsure(),
		AtStart:     s.AtStart(),
		Unwatched:   s.Unwatched,
		Spared:      s.Spared(),
		Denied:      s.Denied(),
		Proved:      s.Proved(),
		Proof:       s.Proof,
		Substitutes: append([]alternatives.Substitute{}, alternatives.Of(s)...),
		Classes:     make(map[classify.Class]capability.Set),
		Flags:       []string{},
		Uses:        s.Uses,
		LimitsSeen:  s.LimitsSeen,
		Lifted:      append([]profile.Lifted{}, s.Lifted...),
		Files:       append([]profile.File{}, s.Files...),
		Unlisted:    s.Unlisted,
	}
	if granted, known := s.Grants.Set(); known {
		unused, _ := s.Unused()
		c.Granted, c.Unused = &granted, &unused
	}
	if s.StartSeen() {
		c.Flags = settings.DockerFlags(s.List())
	}
	for _, use := range s.Uses {
		c.Classes[use.Class] = c.Classes[use.Class].With(use.Capability)
	}
	for _, need := range s.Needs().Sorted() {
		if narrower, ok := s.Advised(need); ok {
			c.Narrower = append(c.Narrower, jsonNarrower{need, narrower})
		}
	}
	return c
}
