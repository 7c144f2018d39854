package store

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/capmon/capmon/internal/alert"
	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/profile"
)

// moments are what goes on although a container does nothing. They are kept apart from the
// document of a run, so that it need not be written again and again.
type moments struct {
	ObservationEnd time.Time `json:"observationEnd"`
	Ended          time.Time `json:"ended"`
}

// placed is a use of the set-up of a container with its place among all uses of the run. They
// are kept apart, compressed: most uses of a short run are such, and much the same in all.
type placed struct {
	Position int         `json:"position"`
	Use      profile.Use `json:"use"`
}

// mostSetup is how many bytes the uses of a set-up may be before what is read cannot be so.
const mostSetup = 1 << 28

// document is a run taken apart, each part in its JSON form.
type document struct{ text, setup, when []byte }

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

// documentOf takes a run apart.
func documentOf(run profile.Run) (d document, err error) {
	apart := moments{run.Observation.End, run.Ended}
	run.Observation.End, run.Ended = time.Time{}, time.Time{}
	uses, setup := []profile.Use{}, []placed{}
	for i, use := range run.Uses {
		if use.Class == classify.Setup {
			setup = append(setup, placed{i, use})
		} else {
			uses = append(uses, use)
		}
	}
	if len(setup) > 0 { // else there may be none at all, which is another JSON
		run.Uses = uses
	}
	var errs [3]error
	d.text, errs[0] = json.Marshal(run)
	d.setup, errs[1] = json.Marshal(setup)
	d.when, errs[2] = json.Marshal(apart)
	return d, errors.Join(errs[:]...)
}

// run puts it together again.
func (d document) run() (run profile.Run, err error) {
	var apart moments
	var setup []placed
	if err := errors.Join(json.Unmarshal(d.text, &run), json.Unmarshal(d.setup, &setup), json.Unmarshal(d.when, &apart)); err != nil {
		return run, err
	}
	run.Observation.End, run.Ended = apart.ObservationEnd, apart.Ended
	for _, one := range setup { // in the order of their places
		if one.Position < 0 || one.Position > len(run.Uses) {
			return run, fmt.Errorf("a use has place %d of %d", one.Position, len(run.Uses))
		}
		run.Uses = slices.Insert(run.Uses, one.Position, one.Use)
	}
	return run, nil
}

// assemble puts a run together again from what the tables have.
func assemble(text, packed, when []byte) (profile.Run, error) {
	setup, err := unpack(packed)
	if err != nil {
		return profile.Run{}, err
	}
	return document{text, setup, when}.run()
}

// pack compresses a part of a document.
func pack(text []byte) ([]byte, error) {
	var packed bytes.Buffer
	w := gzips.Get().(*gzip.Writer)
	defer gzips.Put(w)
	w.Reset(&packed)
	_, err := w.Write(text)
	err = errors.Join(err, w.Close())
	return packed.Bytes(), err
}

// gzips are writers at rest: each takes much memory.
var gzips = sync.Pool{New: func() any { return gzip.NewWriter(nil) }}

// unpack is what was packed.
func unpack(packed []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(r, mostSetup+1))
	if len(text) > mostSetup {
		err = fmt.Errorf("it is larger than %d bytes", mostSetup)
	}
	return text, err
}

// damaged says that something of a name is not what was written.
func damaged(kind, id string) error {
	return fmt.Errorf("%w (%s %q is %w)", ErrCorrupt, kind, id, ErrAltered)
}

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

// useColumns are the rows of a run's uses, without the run and the uses of its set-up.
func useColumns(run profile.Run) [][]any {
	var rows [][]any
	for i, use := range run.Uses {
		if use.Class == classify.Setup {
			continue
		}
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
	use, c, name := a.Use, a.Container(), ""
	if a.Loss == nil && a.Dropped == nil { // else there is no use, and 0 would be a capability
		name = use.Capability.String()
	}
	return []any{
		a.ID, sortable(a.Time), a.Rule, string(a.Severity), a.Summary, most(a.Count), name, string(use.Class),
		number(use.Granted), use.Process.Program, c.ID, c.Name, c.Image, digest(text), string(text),
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
