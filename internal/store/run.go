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

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/alert"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/profile"
)

// times are the fields of a run that change even if the container does nothing. They are not part of the document, so
// that it does not have to be written again each time.
type times struct {
	ObservationEnd time.Time `json:"observationEnd"`
	Ended          time.Time `json:"ended"`
}

// setupUse is a use of the runtime setup, with its position among all uses of the run. These uses are stored separately
// and compressed: they are most of the uses of a short run, and similar in all runs.
type setupUse struct {
	Position int                `json:"position"`
	Use      profile.UsePattern `json:"use"`
}

// maxSetup is the maximum size of the uncompressed uses of a runtime setup, in bytes. A larger value is an error.
const maxSetup = 1 << 28

// document is a run, split into parts in JSON form: text is the run without the other parts, setup the uses of its
// runtime setup, and when the times.
type document struct{ text, setup, when []byte }

// canonical returns the canonical JSON form of a value, and the value that is decoded from it.
func canonical[T any](value T) ([]byte, T, error) {
	text, err := json.Marshal(value)
	if err != nil || !bytes.Contains(text, []byte(`\ufffd`)) {
		return text, value, err
	}
	// Invalid UTF-8 is decoded as U+FFFD, which has another JSON form.
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

// documentOf splits a run into its parts.
func documentOf(run profile.Run) (d document, err error) {
	when := times{run.Observation.End, run.Ended}
	run.Observation.End, run.Ended = time.Time{}, time.Time{}
	uses, setup := []profile.UsePattern{}, []setupUse{}
	for i, use := range run.Uses {
		if use.Class == classify.Setup {
			setup = append(setup, setupUse{i, use})
		} else {
			uses = append(uses, use)
		}
	}
	if len(setup) > 0 { // otherwise keep run.Uses, which may be nil: nil has another JSON form than an empty list
		run.Uses = uses
	}
	var errs [3]error
	d.text, errs[0] = json.Marshal(run)
	d.setup, errs[1] = json.Marshal(setup)
	d.when, errs[2] = json.Marshal(when)
	return d, errors.Join(errs[:]...)
}

// run joins the parts.
func (d document) run() (run profile.Run, err error) {
	var when times
	var setup []setupUse
	if err := errors.Join(json.Unmarshal(d.text, &run), json.Unmarshal(d.setup, &setup), json.Unmarshal(d.when, &when)); err != nil {
		return run, err
	}
	run.Observation.End, run.Ended = when.ObservationEnd, when.Ended
	for _, one := range setup { // sorted by position
		if one.Position < 0 || one.Position > len(run.Uses) {
			return run, fmt.Errorf("a use has the position %d of %d", one.Position, len(run.Uses))
		}
		run.Uses = slices.Insert(run.Uses, one.Position, one.Use)
	}
	return run, nil
}

// assemble returns the run from its parts in the tables.
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

// gzips contains unused writers, because each writer needs much memory.
var gzips = sync.Pool{New: func() any { return gzip.NewWriter(nil) }}

// unpack decompresses a part of a document.
func unpack(packed []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(r, maxSetup+1))
	if len(text) > maxSetup {
		err = fmt.Errorf("it is larger than %d bytes", maxSetup)
	}
	return text, err
}

// damaged returns the error for a row that differs from what was written.
func damaged(kind, id string) error {
	return fmt.Errorf("%w (%s %q is %w)", ErrCorrupt, kind, id, ErrAltered)
}

// runColumns returns the columns of a run, from observed_from on.
func runColumns(run profile.Run) []any {
	started, seconds := any(nil), 0.0
	if run.Started != nil {
		started, seconds = sortable(*run.Started), run.Ended.Sub(*run.Started).Seconds()
	}
	return []any{
		sortable(run.Observation.Start), sortable(run.Observation.End), started, sortable(run.Ended), seconds, number(run.Existed),
		number(run.Running), number(len(run.Incomplete) == 0), granted(run.Grants), int64(run.Processes), clamp(run.Checks), clamp(run.Lost),
	}
}

// granted returns the granted capabilities as a JSON list; nil if unknown.
func granted(grants profile.Grants) any {
	set, known := grants.Set()
	if !known {
		return nil
	}
	text, _ := json.Marshal(set)
	return string(text)
}

// useWidth is the number of columns of the table uses.
const useWidth = 14

// useColumns returns a row for each use of a run after its runtime setup, without the column run.
func useColumns(run profile.Run) [][]any {
	var rows [][]any
	for i, use := range run.Uses {
		if use.Class == classify.Setup {
			continue
		}
		rows = append(rows, []any{
			int64(i), use.Capability.String(), string(use.Class), number(use.Granted), name(use.Alternative), use.Program, use.Call,
			use.Site, number(use.Entry), int64(use.User), clamp(use.Count), sortable(use.First), sortable(use.Last),
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

// containerColumns returns the columns of a container, from digest on.
func containerColumns(c profile.Container) ([]any, error) {
	text, c, err := canonical(c)
	if err != nil {
		return nil, err
	}
	project, service := c.ComposeService()
	return []any{digest(text), c.ID, c.Name, c.Image, c.ImageID, c.ImageDigest, project, service, c.Service(), c.User, c.NetworkMode}, nil
}

// proofColumns returns the columns of a proof, from time on. text is its JSON form.
func proofColumns(proof profile.Proof, text []byte) []any {
	return []any{sortable(proof.Time), number(proof.Works), number(proof.Minimal), digest(text), string(text)}
}

// alertColumns returns all columns of an alert. text is its JSON form.
func alertColumns(a alert.Alert, text []byte) []any {
	use, c, name := a.Use, a.Container(), ""
	if a.Loss == nil && a.Dropped == nil { // otherwise there is no use, and its zero capability would be CHOWN
		name = use.Capability.String()
	}
	return []any{
		a.ID, sortable(a.Time), a.Rule, string(a.Severity), a.Summary, clamp(a.Count), name, string(use.Class),
		number(use.Granted), use.Process.Program, c.ID, c.Name, c.Image, digest(text), string(text),
	}
}

// sortable formats a time so that the texts sort in chronological order and SQLite's functions accept them.
func sortable(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000000Z") }

// clamp returns a count, limited to SQLite's largest integer.
func clamp(count uint64) int64 { return int64(min(count, math.MaxInt64)) }

func number(yes bool) int64 {
	if yes {
		return 1
	}
	return 0
}
