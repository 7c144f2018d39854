package report

import (
	"encoding/json"
	"io"
	"time"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/alternatives"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/settings"
)

// schema is the version of the JSON formats of this package. It increases when a reader of the old format would misread
// the new one. New fields alone do not increase it.
const schema = 2

// jsonReport is the JSON form of a report.
type jsonReport struct {
	// Version of this JSON format.
	Schema int `json:"schema"`
	// Where the facts in the report come from.
	Evidence profile.Evidence `json:"evidence"`
	// Sorted by their start.
	Containers []jsonContainer `json:"containers"`
}

// jsonContainer is the sum of all runs with the same name, image and engine, or of all tasks of a swarm service with
// the same image.
type jsonContainer struct {
	profile.Container
	// The swarm service that the container is a task of; missing if it is not a task.
	Service string `json:"service,omitempty"`
	// Number of runs that were added up.
	Runs int `json:"runs"`
	// How long capmon saw the workload run, in total.
	Seconds float64 `json:"seconds"`
	// When capmon began to watch the container.
	Since time.Time `json:"since"`
	// True if the container was still running when the observation ended.
	Running bool `json:"running"`
	// True if the container was running before the observation began: capmon does not know what it used before.
	Existed bool `json:"existed"`
	// Number of processes of the workload that capmon saw.
	Processes uint64 `json:"processes"`
	// Number of checks of all classes that capmon saw.
	Checks uint64 `json:"checks"`
	// Number of checks of the container that capmon could not record.
	Lost uint64 `json:"lost"`
	// True if capmon watched a run of a new container from its first instruction, or capmon verify has proved that it
	// starts with the list.
	StartSeen bool `json:"startSeen"`
	// True if capmon saw the workload of the container, and lost nothing while it watched the container.
	Complete bool `json:"complete"`
	// What capmon lost; empty if it lost nothing.
	Incomplete []string `json:"incomplete"`
	// Programs that were executed, or that failed to execute, and whose file capabilities capmon could not read in
	// time.
	Unexamined []string `json:"unexamined"`
	// What to know before relying on the list, the most severe first.
	Cautions []string `json:"cautions"`
	// Why the engine could not report the container's settings; missing if it has reported them.
	EngineErr string `json:"engineError,omitempty"`
	// The grants as the engine and the kernel report them.
	Grants profile.Grants `json:"grants"`
	// The granted capabilities: those that the kernel reports if known, otherwise those that the engine reports; null
	// if neither is known.
	Granted *capability.Set `json:"granted" jsonschema:"nullable"`
	// Needs: a denial would be an error.
	Required capability.Set `json:"required"`
	// Needs without a check: the kernel reads them directly from a credential, or the seccomp profile requires them.
	Implicit capability.Set `json:"implicit"`
	// Needs: a denial would only change a result.
	Soft capability.Set `json:"soft"`
	// Members of the list that may not be needed: no use of them is certainly a need.
	Unsure capability.Set `json:"unsure"`
	// Members of the list that were needed at the start only: each process that used them dropped them before its end.
	AtStart capability.Set `json:"atStart"`
	// Granted capabilities that the seccomp profile may require for system calls. capmon did not record all of these
	// calls.
	Unwatched capability.Set `json:"unwatched"`
	// Used capabilities that are not in the list, because other members of the list are sufficient.
	Spared capability.Set `json:"spared"`
	// Capabilities that the workload tried to use and the kernel denied; the system call failed, or its outcome is not
	// known.
	Denied capability.Set `json:"denied"`
	// Capabilities that are granted but were never used; null if the grants are not known.
	Unused *capability.Set `json:"unused" jsonschema:"nullable"`
	// Capabilities that are sufficient instead of others, and grant less.
	Narrower []jsonNarrower `json:"narrower,omitempty"`
	// Changes that may make capabilities unnecessary. capmon has not tested them.
	Alternatives []alternatives.Alternative `json:"alternatives"`
	// For each class, the capabilities with a check of this class.
	Classes map[classify.Class]capability.Set `json:"classes"`
	// True if a proof of capmon verify holds: it is for this build of the image, and it tried all observed needs.
	Proved bool `json:"proved"`
	// The latest proof; missing if the container was never verified.
	Proof *profile.Proof `json:"proof,omitempty"`
	// The options of docker run or, for a command or a unit, of systemd-run: the proved ones, or otherwise the observed
	// ones; empty if startSeen is false.
	Flags []string `json:"flags"`
	// The patterns of use.
	Uses []profile.UsePattern `json:"uses"`
	// True if lifted is complete.
	LimitsSeen bool `json:"limitsSeen"`
	// Uses of kernel limits that a sysctl of the container's network namespace lifted, so that the kernel made no
	// check. An engine that does not lift these limits must grant a capability instead.
	Lifted []profile.Lifted `json:"lifted"`
	// The files for which the kernel checked capabilities, as far as capmon could record them.
	Files []profile.File `json:"files"`
	// Number of checks whose files did not fit in the list.
	Unlisted uint64 `json:"unlisted"`
}

// jsonNarrower is a capability that is sufficient instead of another one.
type jsonNarrower struct {
	// The wider capability, which is in the list.
	Instead capability.Capability `json:"insteadOf"`
	// The narrower capability.
	Narrower capability.Capability `json:"narrower"`
}

func writeJSON(out io.Writer, p profile.Profile, evidence profile.Evidence) error {
	report := jsonReport{Schema: schema, Evidence: evidence, Containers: []jsonContainer{}}
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
		Container:    s.Container,
		Service:      s.Container.Service(),
		Runs:         s.Runs,
		Seconds:      s.Observed.Seconds(),
		Since:        s.Since,
		Running:      s.Running,
		Existed:      s.Existed,
		Processes:    s.Processes,
		Checks:       s.Checks,
		Lost:         s.Lost,
		StartSeen:    s.StartSeen(),
		Complete:     len(s.Incomplete) == 0 && s.Started,
		Incomplete:   append([]string{}, s.Incomplete...),
		Unexamined:   append([]string{}, s.Unexamined...),
		Cautions:     append([]string{}, cautions(s)...),
		EngineErr:    s.EngineError,
		Grants:       s.Grants,
		Required:     s.Required(),
		Implicit:     s.Implicit(),
		Soft:         s.Soft(),
		Unsure:       s.Unsure(),
		AtStart:      s.AtStart(),
		Unwatched:    s.Unwatched,
		Spared:       s.Spared(),
		Denied:       s.Denied(),
		Proved:       s.Proved(),
		Proof:        s.Proof,
		Alternatives: append([]alternatives.Alternative{}, alternatives.Of(s)...),
		Classes:      make(map[classify.Class]capability.Set),
		Flags:        []string{},
		Uses:         s.Uses,
		LimitsSeen:   s.LimitsSeen,
		Lifted:       append([]profile.Lifted{}, s.Lifted...),
		Files:        append([]profile.File{}, s.Files...),
		Unlisted:     s.Unlisted,
	}
	if granted, known := s.Grants.Set(); known {
		unused, _ := s.Unused()
		c.Granted, c.Unused = &granted, &unused
	}
	if s.StartSeen() {
		c.Flags = settings.Flags(s.Container.Kind, s.List())
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

// JSONTypes returns a zero value of the type of each JSON document that this package writes, by the name of its schema
// in docs/schema.
func JSONTypes() map[string]any {
	return map[string]any{"report": jsonReport{}, "diff": jsonComparison{}, "check": jsonCheck{}, "verify": jsonProof{}}
}
