package store

import (
	"bytes"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capmon/capmon/internal/alert"
	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/uses"
)

func opened(t testing.TB, path string, options Options) *Store {
	t.Helper()
	s, err := Open(t.Context(), path, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// fresh returns an empty store.
func fresh(t testing.TB) *Store {
	t.Helper()
	return opened(t, filepath.Join(t.TempDir(), "capmon.db"), Options{})
}

func put(t testing.TB, s *Store, p profile.Profile) Change {
	t.Helper()
	change, err := s.Put(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	return change
}

func stored(t testing.TB, s *Store, selection Selection) profile.Profile {
	t.Helper()
	p, err := s.Profile(t.Context(), selection)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func encoded(t testing.TB, p profile.Profile) string {
	t.Helper()
	var text bytes.Buffer
	if err := profile.Encode(&text, p); err != nil {
		t.Fatal(err)
	}
	back, err := profile.Parse(text.Bytes()) // so that invalid UTF-8 is as in a file
	if err != nil {
		t.Fatal(err)
	}
	text.Reset()
	if err := profile.Encode(&text, back); err != nil {
		t.Fatal(err)
	}
	return text.String()
}

func checked(t testing.TB, s *Store) {
	t.Helper()
	problems, err := s.Check(t.Context())
	if err != nil || len(problems) > 0 {
		t.Errorf("check: %v, %q", err, problems)
	}
}

// The store contains the merged profile, regardless of the order and number of puts.
func TestTheStoreMergesWhatIsPut(t *testing.T) {
	t.Parallel()
	for seed := range int64(30) {
		r := rand.New(rand.NewSource(seed))
		s := fresh(t)
		var all []profile.Profile
		for range 1 + r.Intn(4) {
			p := generateProfile(r)
			all = append(all, p)
			put(t, s, p)
			put(t, s, all[r.Intn(len(all))])
		}
		want := encoded(t, profile.Merge(all...))
		if diff := cmp.Diff(want, encoded(t, stored(t, s, Selection{}))); diff != "" {
			t.Fatalf("seed %d: %s", seed, diff)
		}
		checked(t, s)
		r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		other := fresh(t)
		for _, p := range all {
			put(t, other, p)
		}
		if diff := cmp.Diff(want, encoded(t, stored(t, other, Selection{}))); diff != "" {
			t.Fatalf("seed %d, in another order: %s", seed, diff)
		}
	}
}

func TestAnOngoingRunIsUpdated(t *testing.T) {
	t.Parallel()
	s := fresh(t)
	web, db := run("web", "nginx", 1), run("db", "postgres", 1)
	web.Running = true
	if got := put(t, s, profile.New(web, db)); got != (Change{New: 2}) {
		t.Errorf("new: %+v", got)
	}
	if got := put(t, s, profile.New(web, db)); got != (Change{Known: 2}) {
		t.Errorf("the same: %+v", got)
	}
	earlier := web
	later := saturday.Add(5 * time.Minute)
	web.Observation.End, web.Ended = later, later
	if got := put(t, s, profile.New(web, db)); got != (Change{Grown: 1, Known: 1}) {
		t.Errorf("time went on: %+v", got)
	}
	web.Uses = slices.Clone(web.Uses)
	web.Uses[0].Count, web.Checks, web.Observation.End = 10, 10, later.Add(1)
	if got := put(t, s, profile.New(web)); got != (Change{Grown: 1}) {
		t.Errorf("more was used: %+v", got)
	}
	web.Observation.Recorder, web.Observation.End = profile.Recorder{Host: "web1", Engine: "docker 28.2.2", Capmon: "v0.9"}, later.Add(2)
	if got := put(t, s, profile.New(web)); got != (Change{Grown: 1}) {
		t.Errorf("another version of capmon resumed the recording: %+v", got)
	}
	if got := put(t, s, profile.New(earlier)); got != (Change{Known: 1}) {
		t.Errorf("an earlier version: %+v", got)
	}
	var count int
	if err := s.db.QueryRow("SELECT sum(count) FROM uses JOIN runs ON run = key WHERE id = ?", web.ID).Scan(&count); err != nil || count != 10 {
		t.Errorf("%d uses, %v", count, err)
	}
	if diff := cmp.Diff(encoded(t, profile.New(web, db)), encoded(t, stored(t, s, Selection{}))); diff != "" {
		t.Error(diff)
	}
	checked(t, s)
}

// If only the times of a run have changed, Put updates a row and does not write the document.
func TestPutOfChangedTimesIsCheap(t *testing.T) {
	t.Parallel()
	s := fresh(t)
	var runs []profile.Run
	for minute := range 20 {
		r := run("web", "nginx", minute)
		for range 300 {
			r.Uses = append(r.Uses, r.Uses[0])
		}
		runs = append(runs, r)
	}
	put(t, s, profile.New(runs...))
	if err := s.shrink(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range runs {
		runs[i].Observation.End = runs[i].Observation.End.Add(time.Second)
	}
	if got := put(t, s, profile.New(runs...)); got.Grown != len(runs) {
		t.Fatalf("got %+v", got)
	}
	info, err := s.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if info.Log > info.Size/10 {
		t.Errorf("%d bytes were written for a database of %d", info.Log, info.Size)
	}
}

func TestOnlyTheOwnerCanReadTheStore(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "below", "odd ?#%name.db")
	s := opened(t, path, Options{})
	put(t, s, profile.New(run("web", "nginx", 1)))
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if info, err := os.Stat(path + suffix); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: %v, %v", suffix, info.Mode(), err)
		}
	}
}

func TestSelections(t *testing.T) {
	t.Parallel()
	s := fresh(t)
	web, db := run("web", "nginx:1.27", 10), run("db", "docker.io/library/postgres:17", 20)
	old := run("old", "nginx:1.26", 5)
	p := profile.New(web, db, old)
	p.Proofs = []profile.Proof{{ID: "proof", Time: saturday, Container: web.Container}}
	put(t, s, p)
	at := func(minute int) time.Time { return saturday.Add(time.Duration(minute) * time.Minute) }
	for name, test := range map[string]struct {
		selection Selection
		want      []string
	}{
		"all":                   {Selection{}, []string{"old", "web", "db", "proof"}},
		"image":                 {Selection{Images: []string{"nginx:1.27"}}, []string{"web", "proof"}},
		"image of any tag":      {Selection{Images: []string{"nginx"}}, []string{"old", "web", "proof"}},
		"image in short":        {Selection{Images: []string{"postgres"}}, []string{"db"}},
		"image by its ID":       {Selection{Images: []string{"sha256:nginx:1.26"}}, []string{"old"}},
		"image by name or ID":   {Selection{Images: []string{"sha256:nginx:1.26", "postgres"}}, []string{"old", "db"}},
		"container":             {Selection{Containers: []string{"w*"}}, []string{"web", "proof"}},
		"service":               {Selection{ComposeServices: []string{"db"}}, []string{"db"}},
		"service of a project":  {Selection{ComposeServices: []string{"shop/w?b"}}, []string{"web", "proof"}},
		"another project":       {Selection{ComposeServices: []string{"pay/*"}}, nil},
		"label":                 {Selection{Labels: []string{"com.docker.compose.service=db"}}, []string{"db"}},
		"since":                 {Selection{Since: at(10)}, []string{"web", "db", "proof"}},
		"until":                 {Selection{Until: at(-1)}, []string{"proof"}},
		"two kinds, both match": {Selection{Images: []string{"nginx"}, Containers: []string{"old"}}, []string{"old"}},
		"two kinds, one does":   {Selection{Images: []string{"nginx"}, Containers: []string{"db"}}, nil},
	} {
		names := func(p profile.Profile) (names []string) {
			for _, run := range p.Runs {
				names = append(names, run.Container.Name)
			}
			for _, proof := range p.Proofs {
				names = append(names, proof.ID)
			}
			slices.Sort(names)
			return names
		}
		slices.Sort(test.want)
		if diff := cmp.Diff(test.want, names(stored(t, s, test.selection))); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		same, err := test.selection.Of(p)
		if diff := cmp.Diff(test.want, names(same)); diff != "" || err != nil {
			t.Errorf("%s of a profile: %v, %s", name, err, diff)
		}
	}
	for _, selection := range []Selection{{Images: []string{"["}}, {Containers: []string{"["}}, {Labels: []string{"["}}, {ComposeServices: []string{"["}}} {
		if _, err := s.Profile(t.Context(), selection); err == nil {
			t.Errorf("%+v was accepted", selection)
		}
	}
}

// A run that the engine could not name is selected with the named runs of the same ID, unless another user than root
// may have created its cgroup.
func TestUnnamedRunsAreSelectedWithTheOthersOfTheirContainer(t *testing.T) {
	t.Parallel()
	s, random := fresh(t), rand.New(rand.NewSource(1))
	of := func(id string, c profile.Container, engineError string) profile.Run {
		run := generateRun(random)
		run.ID, run.Container, run.EngineError = id, c, engineError
		return run
	}
	p := profile.New(
		of("named", profile.Container{ID: "1", Name: "web", Image: "nginx"}, ""),
		of("unnamed", profile.Container{ID: "1"}, "gone"),
		of("claimed", profile.Container{ID: "1", Unconfirmed: "/user.slice/1"}, "gone"),
		of("other", profile.Container{ID: "2"}, "gone"),
	)
	put(t, s, p)
	selection := Selection{Containers: []string{"web"}}
	missing, err := s.Missing(t.Context(), selection)
	if err != nil || !slices.Equal(slices.Sorted(slices.Values(missing.Unknown.Containers)), []string{"1", "2"}) {
		t.Errorf("unknown in the database: %v, %v", missing.Unknown.Containers, err)
	}
	unknown, err := selection.Unknown(p)
	if err != nil || !slices.Equal(slices.Sorted(slices.Values(unknown.Containers)), []string{"1", "2"}) {
		t.Errorf("unknown in the profile: %v, %v", unknown.Containers, err)
	}
	same, err := selection.Of(p)
	if err != nil {
		t.Fatal(err)
	}
	for from, selected := range map[string]profile.Profile{"database": stored(t, s, selection), "profile": same} {
		summaries := profile.Summaries(selected)
		if len(summaries) != 1 || summaries[0].Runs != 2 || summaries[0].Container.Name != "web" {
			t.Errorf("of a %s: %+v", from, summaries)
		}
	}
}

// If the value of a label was not stored, it is unknown whether a filter on the value selects the container.
func TestContainersWithoutStoredLabelValuesAreUnknown(t *testing.T) {
	t.Parallel()
	s, run := fresh(t), generateRun(rand.New(rand.NewSource(1)))
	run.Container = profile.Container{ID: "id", Name: "web", Image: "nginx", Labels: map[string]string{"team": container.Redacted}}
	p := profile.New(run)
	put(t, s, p)
	for label, want := range map[string]struct{ runs, unknown int }{"team": {1, 0}, "team=edge": {0, 1}, "other=edge": {0, 0}} {
		selection := Selection{Labels: []string{label}}
		missing, err := s.Missing(t.Context(), selection)
		if err != nil {
			t.Fatal(err)
		}
		unknown, err := selection.Unknown(p)
		if err != nil {
			t.Fatal(err)
		}
		runs := len(stored(t, s, selection).Runs)
		if runs != want.runs || len(missing.Unknown.Containers) != want.unknown || len(unknown.Containers) != want.unknown {
			t.Errorf("%s: %d runs, unknown in the database %v, in the profile %v", label, runs, missing.Unknown.Containers, unknown.Containers)
		}
	}
}

func TestAlertsAreStoredOnce(t *testing.T) {
	t.Parallel()
	s := fresh(t)
	r := rand.New(rand.NewSource(1))
	var alerts []alert.Alert
	for i := range 50 {
		a := generateAlert(r)
		a.ID = fmt.Sprint("alert-", i)
		a.Time = saturday.Add(time.Duration(i) * time.Second)
		a.Use.Container.Image = pickOf(i, "nginx:1.27", "redis")
		if a.Loss != nil {
			a.Loss.Container.Image = pickOf(i, "nginx:1.27", "redis")
		}
		alerts = append(alerts, a)
	}
	for _, test := range []struct{ from, to, added int }{{0, 30, 30}, {0, 30, 0}, {20, 50, 20}} {
		if added, err := s.PutAlerts(t.Context(), alerts[test.from:test.to]); added != test.added || err != nil {
			t.Errorf("%+v: %d, %v", test, added, err)
		}
	}
	checked(t, s)
	for name, test := range map[string]struct {
		selection Selection
		want      func(alert.Alert) bool
	}{
		"all":   {Selection{}, func(alert.Alert) bool { return true }},
		"image": {Selection{Images: []string{"nginx"}}, func(a alert.Alert) bool { return a.Container().Image == "nginx:1.27" }},
		"since": {Selection{Since: alerts[40].Time}, func(a alert.Alert) bool { return !a.Time.Before(alerts[40].Time) }},
		"until": {Selection{Until: alerts[3].Time}, func(a alert.Alert) bool { return !a.Time.After(alerts[3].Time) }},
	} {
		got, err := s.Alerts(t.Context(), test.selection)
		if err != nil {
			t.Fatal(err)
		}
		want := slices.DeleteFunc(slices.Clone(alerts), func(a alert.Alert) bool { return !test.want(a) })
		if diff := cmp.Diff(asJSON(t, want), asJSON(t, got)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// Alerts may be selected although their container is unknown, or although they were removed.
func TestMissingAlertsAreReported(t *testing.T) {
	t.Parallel()
	s := fresh(t)
	at := func(minute int) time.Time { return saturday.Add(time.Duration(minute) * time.Minute) }
	one := func(id string, minute int, c uses.ContainerRef) alert.Alert {
		return alert.Alert{ID: id, Time: at(minute), Use: uses.Use{Container: c}}
	}
	alerts := []alert.Alert{
		one("web", 0, uses.ContainerRef{ID: "0a", Name: "web", Image: "nginx"}),
		one("unknown", 1, uses.ContainerRef{ID: "0b"}),
		one("no room", 2, uses.ContainerRef{}),
		one("db", 3, uses.ContainerRef{ID: "0c", Name: "db", Image: "postgres"}),
	}
	if _, err := s.PutAlerts(t.Context(), alerts); err != nil {
		t.Fatal(err)
	}
	missing := func(selection Selection) MissingAlerts {
		t.Helper()
		missing, err := s.MissingAlerts(t.Context(), selection)
		if err != nil {
			t.Fatal(err)
		}
		return missing
	}
	for name, test := range map[string]struct {
		selection Selection
		want      []string
	}{
		"all":         {Selection{}, nil},
		"image":       {Selection{Images: []string{"nginx"}}, []string{"unknown", "no room"}},
		"container":   {Selection{Containers: []string{"db"}}, []string{"unknown", "no room"}},
		"its ID":      {Selection{Containers: []string{"0b"}}, []string{"no room"}},
		"since":       {Selection{Images: []string{"nginx"}, Since: at(2)}, []string{"no room"}},
		"until":       {Selection{Images: []string{"nginx"}, Until: at(1)}, []string{"unknown"}},
		"only a time": {Selection{Since: at(1)}, nil},
	} {
		var got []string
		for _, a := range missing(test.selection).Unknown {
			got = append(got, a.ID)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	prune(t, s, Retention{MaxAge: time.Minute, Now: at(100)})
	for name, test := range map[string]struct {
		selection Selection
		number    uint64
		until     time.Time
	}{
		"all":   {Selection{}, 4, at(3)},
		"image": {Selection{Images: []string{"nginx"}}, 3, at(2)}, // includes alerts of unknown images
		"since": {Selection{Since: at(4)}, 0, time.Time{}},
	} {
		if got := missing(test.selection); got.Pruned != test.number || !got.Until.Equal(test.until) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func pickOf[T any](i int, of ...T) T { return of[i%len(of)] }

// asJSON returns the canonical JSON form of a value.
func asJSON[T any](t *testing.T, value T) string {
	t.Helper()
	text, _, err := canonical(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// While a daemon writes, a reader sees all of a Put or nothing of it.
func TestReadersSeeCompletePuts(t *testing.T) {
	t.Parallel()
	writer := fresh(t)
	put(t, writer, profile.New(run("web", "nginx", 0), run("db", "postgres", 0)))
	reader := opened(t, writer.Path(), Options{ReadOnly: true})
	done := make(chan error, 1)
	go func() {
		var err error
		for minute := 1; minute < 100 && err == nil; minute++ {
			_, err = writer.Put(t.Context(), profile.New(run("web", "nginx", minute), run("db", "postgres", minute)))
		}
		done <- err
	}()
	for last, running := 0, true; running; {
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			running = false
		default:
		}
		p := stored(t, reader, Selection{})
		if n := len(p.Runs); n%2 != 0 || n < last {
			t.Fatalf("%d runs after %d", n, last)
		} else if last = n; !running && n != 200 {
			t.Errorf("%d runs at the end", n)
		}
	}
	checked(t, reader)
}
