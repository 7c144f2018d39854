package profile

import (
	"slices"
	"testing"
	"testing/quick"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capmon/capmon/capability"
)

func TestMergeInAnyOrder(t *testing.T) {
	for name, holds := range map[string]any{
		"commutative": func(a, b generated) bool {
			return cmp.Equal(Merge(a.Profile, b.Profile), Merge(b.Profile, a.Profile))
		},
		"associative": func(a, b, c generated) bool {
			return cmp.Equal(Merge(Merge(a.Profile, b.Profile), c.Profile), Merge(a.Profile, Merge(b.Profile, c.Profile)))
		},
		"idempotent": func(a generated) bool {
			once := Merge(a.Profile)
			return cmp.Equal(Merge(once, once), once) && cmp.Equal(Merge(a.Profile, a.Profile), once)
		},
		"nothing adds nothing": func(a generated) bool {
			return cmp.Equal(Merge(a.Profile, Merge()), Merge(a.Profile))
		},
		"the order within a profile does not matter": func(a generated) bool {
			reversed := a.Profile
			reversed.Runs = slices.Clone(reversed.Runs)
			slices.Reverse(reversed.Runs)
			return cmp.Equal(Merge(reversed), Merge(a.Profile))
		},
	} {
		t.Run(name, func(t *testing.T) {
			if err := quick.Check(holds, &quick.Config{MaxCount: 500}); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestMergeKeepsEachRunOnce(t *testing.T) {
	holds := func(a, b generated) bool {
		want := make(map[string]bool)
		for _, run := range slices.Concat(a.Runs, b.Runs) {
			want[run.ID] = true
		}
		got := make(map[string]bool)
		for _, run := range Merge(a.Profile, b.Profile).Runs {
			if got[run.ID] {
				return false
			}
			got[run.ID] = true
		}
		return cmp.Equal(got, want)
	}
	if err := quick.Check(holds, nil); err != nil {
		t.Error(err)
	}
}

func TestTheLaterRecordOfARunCounts(t *testing.T) {
	early := Run{ID: "o/1", Observation: Observation{End: saturday}, Checks: 10}
	late := Run{ID: "o/1", Observation: Observation{End: saturday.Add(time.Second)}, Checks: 3}
	full := late
	full.Checks = 20
	for _, test := range []struct {
		name       string
		one, other Run
		want       uint64
	}{
		{"later", early, late, 3},
		{"at the same time, with more checks", late, full, 20},
		{"the same", full, full, 20},
	} {
		if got := Merge(New(test.one), New(test.other)).Runs; len(got) != 1 || got[0].Checks != test.want {
			t.Errorf("%s: got %+v", test.name, got)
		}
	}
}

// Another version of capmon may resume a recording. A file of an earlier version does not name it.
func TestTheLaterRecordHasTheRecorder(t *testing.T) {
	early := Run{ID: "o/1", Observation: Observation{End: saturday, Recorder: Recorder{Host: "web1", Capmon: "v0.8"}}}
	late := Run{ID: "o/1", Observation: Observation{End: saturday.Add(time.Second), Recorder: Recorder{Host: "web1", Engine: "docker 28.2.2", Capmon: "v0.9"}}}
	unknown := Run{ID: "o/1", Observation: Observation{End: saturday}}
	for _, test := range []struct{ one, other, want Run }{{early, late, late}, {late, early, late}, {unknown, early, early}, {early, unknown, early}} {
		if got := Merge(New(test.one), New(test.other)).Runs[0].Observation.Recorder; got != test.want.Observation.Recorder {
			t.Errorf("got %+v, wanted %+v", got, test.want.Observation.Recorder)
		}
	}
}

func TestRunsAreSortedByStart(t *testing.T) {
	at := func(minutes int) *time.Time {
		start := saturday.Add(time.Duration(minutes) * time.Minute)
		return &start
	}
	p := New(
		Run{ID: "second", Started: at(2), Ended: *at(3)},
		Run{ID: "never started", Ended: *at(4)},
		Run{ID: "first", Started: at(1), Ended: *at(9)},
		Run{ID: "another second", Started: at(2), Ended: *at(1)},
	)
	var got []string
	for _, run := range p.Runs {
		got = append(got, run.ID)
	}
	if diff := cmp.Diff([]string{"first", "another second", "second", "never started"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestEmptyProfiles(t *testing.T) {
	want := Profile{Format: "capmon profile", Schema: 2, Runs: []Run{}}
	for name, got := range map[string]Profile{"New": New(), "Merge": Merge(), "Merge of two": Merge(New(), Profile{})} {
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestGrantsOfTheKernelTakePrecedence(t *testing.T) {
	engine, bounding := capability.Of(capability.Chown, capability.NetRaw), capability.Of(capability.Chown)
	for _, test := range []struct {
		name     string
		grants   Grants
		want     capability.Set
		known    bool
		disagree bool
	}{
		{"none", Grants{}, 0, false, false},
		{"the engine", Grants{Engine: &engine}, engine, true, false},
		{"the kernel", Grants{Kernel: &bounding}, bounding, true, false},
		{"both", Grants{Engine: &engine, Kernel: &bounding}, bounding, true, true},
		{"both agree", Grants{Engine: &engine, Kernel: &engine}, engine, true, false},
		{"the permitted set is not a grant", Grants{Permitted: &engine}, 0, false, false},
	} {
		set, known := test.grants.Set()
		if set != test.want || known != test.known || test.grants.Disagree() != test.disagree {
			t.Errorf("%s: got %v, %v, disagree %v", test.name, set, known, test.grants.Disagree())
		}
	}
}
