package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math"
	"time"

	"github.com/capmon/capmon/internal/alert"
	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/profile"
)

// moments are what goes on although a container does nothing. They are kept apart from the
// document of a run, so that it need not be written again and again.
type moments struct {
	ObservationEnd time.Time `json:"observationEnd"`
	Ended          time.Time `json:"ended"`
}

// canonical is the one JSON form of a value, and the value as it is read back from that.
func canonical[T any](value T) ([]byte, T, error) {
	text, err := json.Marshal(value)
	if err != nil || !bytes.Contains(text, []byte(`\ufffd`)) {
		return text, value, err
	}
	// What is no UTF-8 comes back as U+FFFD, of which the form is another.
	var back T
	if err := json.Unmarshal(text, &back); err != nil {
		return nil, back, err
	}
	text, err = json.Marshal(back)
	return text, back, err
}

func digest(text []byte) []byte {
	sum := sha256.Sum256(text)
	return sum[:]
}

// document takes a run apart.
func document(run profile.Run) (text, when []byte, err error) {
	apart := moments{run.Observation.End, run.Ended}
	run.Observation.End, run.Ended = time.Time{}, time.Time{}
	if text, err = json.Marshal(run); err != nil {
		return nil, nil, err
	}
	when, err = json.Marshal(apart)
	return text, when, err
}

// assemble puts a run together again.
func assemble(text, when []byte) (run profile.Run, err error) {
	var apart moments
	if err := json.Unmarshal(text, &run); err != nil {
		return run, err
	}
	if err := json.Unmarshal(when, &apart); err != nil {
		return run, err
	}
	run.Observation.End, run.Ended = apart.ObservationEnd, apart.Ended
	return run, nil
}

// damaged says that something of a name is not what was written.
func damaged(kind, id string) error { return fmt.Errorf("%w (%s %q)", ErrCorrupt, kind, id) }

// runColumns are the columns of a run from observed_from on.
func runColumns(run profile.Run) []any {
	started, seconds := any(nil), 0.0
	if run.Started != nil {
		started, seconds = sortable(*run.Started), run.Ended.Sub(*run.Started).Seconds()
	}
	return []any{
		sortable(run.Observation.Start), sortable(run.Observation.End), started, sortable(run.Ended), seconds, number(run.Existed),
		number(run.Running), number(len(run.Incomplete) == 0), granted(run.Grants), int64(run.Processes), most(run.Checks), most(run.Lost),
	}
}

// granted is the JSON list of what was granted, nil if that is not known.
func granted(grants profile.Grants) any {
	set, known := grants.Set()
	if !known {
		return nil
	}
	text, _ := json.Marshal(set)
	return string(text)
}

// useWidth is how many columns the table of uses has.
const useWidth = 14

// useColumns are the rows of a run's uses, without the run.
func useColumns(run profile.Run) [][]any {
	var rows [][]any
	for i, use := range run.Uses {
		rows = append(rows, []any{
			int64(i), use.Capability.String(), string(use.Class), number(use.Granted), name(use.Alternative), use.Program, use.Call,
			use.Site, number(use.Entry), int64(use.User), most(use.Count), sortable(use.First), sortable(use.Last),
		})
	}
	return rows
}

func name(c *capability.Capability) any {
	if c == nil {
		return nil
	}
	return c.String()
}

// containerColumns are the columns of a container from its digest on.
func containerColumns(c profile.Container) ([]any, error) {
	text, c, err := canonical(c)
	if err != nil {
		return nil, err
	}
	project, service := c.ComposeService()
	return []any{digest(text), c.ID, c.Name, c.Image, c.ImageID, c.ImageDigest, project, service, c.Service(), c.User, c.NetworkMode}, nil
}

// proofColumns are the columns of a proof from its time on; text is its JSON form.
func proofColumns(proof profile.Proof, text []byte) []any {
	return []any{sortable(proof.Time), number(proof.Works), number(proof.Minimal), digest(text), string(text)}
}

// alertColumns are all columns of an alert; text is its JSON form.
func alertColumns(a alert.Alert, text []byte) []any {
	use := a.Use
	return []any{
		a.ID, sortable(a.Time), a.Rule, string(a.Severity), a.Summary, most(a.Count), use.Capability.String(), string(use.Class),
		number(use.Granted), use.Process.Program, use.Container.ID, use.Container.Name, use.Container.Image, digest(text), string(text),
	}
}

// sortable is a moment as text that is in the order of time, and that SQLite's functions
// read.
func sortable(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000000Z") }

// most is a count, or the greatest integer that SQLite has.
func most(count uint64) int64 { return int64(min(count, math.MaxInt64)) }

func number(yes bool) int64 {
	if yes {
		return 1
	}
	return 0
}
