package main

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/capmon/capmon/capability"
)

func TestUsesThatDifferAreNamed(t *testing.T) {
	one := use{Capability: capability.Chown, Site: "chown_common", Count: 3}
	other := one
	other.Site = "setattr_prepare"
	if got := differing([]use{one, other}, []use{other, one}); got != "" {
		t.Errorf("the same uses in another order differ: %s", got)
	}
	got := differing([]use{one}, []use{other})
	if !strings.Contains(got, "from the cache: {Capability:CHOWN") || !strings.Contains(got, "from stack walks: {Capability:CHOWN") {
		t.Errorf("got %q", got)
	}
	if differing([]use{one, one}, []use{one}) == "" {
		t.Error("a missing second copy of a use is not reported")
	}
}

// TestListThatChangesIsNamed covers runs with the list that capmon printed for the run before.
func TestListThatChangesIsNamed(t *testing.T) {
	first := list{capability.Chown: unmarked, capability.Kill: unsure}
	for name, test := range map[string]struct {
		again    list
		explains []capability.Capability
		want     string
	}{
		"the same list":            {again: first},
		"one is missing":           {again: list{capability.Chown: unmarked}, want: "KILL is unsure, then not listed"},
		"one is new":               {again: list{capability.Chown: unmarked, capability.Kill: unsure, capability.Mknod: unmarked}, want: "MKNOD is not listed, then unmarked"},
		"another mark":             {again: list{capability.Chown: unmarked, capability.Kill: soft}, want: "KILL is unsure, then soft"},
		"explained":                {again: list{capability.Chown: unmarked}, explains: []capability.Capability{capability.Kill}},
		"explained without a need": {again: first, explains: []capability.Capability{capability.Kill}, want: "marks [] differently, but workload.json expects [KILL]"},
		"others explained":         {again: list{capability.Chown: unmarked}, explains: []capability.Capability{capability.Chown}, want: "marks [KILL] differently, but workload.json expects [CHOWN]"},
	} {
		t.Run(name, func(t *testing.T) {
			r := comparison{
				workload: workload{truth: []capability.Set{members(first)}, Differs: map[capability.Capability]string{}},
				measured: measured{First: first, Again: test.again},
			}
			for _, c := range test.explains {
				r.Differs[c] = "why"
			}
			wantError(t, r.check(), test.want)
		})
	}
}

func TestListThatDiffersFromStoredIsNamed(t *testing.T) {
	w := workload{name: "su", stored: &measured{First: list{capability.Kill: unsure}}}
	for want, first := range map[string]list{
		"": w.stored.First,
		"su: capmon's list differs from the stored one (if that is right, run corpus compare -update su): KILL is unsure, then unmarked": {capability.Kill: unmarked},
		"KILL is unsure, then not listed": {},
	} {
		wantError(t, comparison{workload: w, measured: measured{First: first}}.checkStored(), want)
	}
	wantError(t, comparison{}.checkStored(), "no stored measurement")
}

func wantError(t *testing.T, err error, want string) {
	t.Helper()
	if want == "" && err != nil {
		t.Error(err)
	}
	if want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
		t.Errorf("got %v, wanted %s", err, want)
	}
}

func TestMeasurementIsStored(t *testing.T) {
	w := workload{directory: t.TempDir()}
	proved := capability.Set(1 << capability.Chown)
	for _, m := range []measured{
		{Naive: proved, First: list{capability.Chown: unmarked, capability.Kill: soft}, Again: list{}, Proved: &proved},
		{First: list{}},
	} {
		if err := w.saveMeasured(m); err != nil {
			t.Fatal(err)
		}
		var got measured
		if err := readJSON(w.measuredFile(), &got); err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("got %+v, %v, wanted %+v", got, err, m)
		}
	}
}

// TestDocumentationHasTheResults fails if docs/precision.md is not up to date.
func TestDocumentationHasTheResults(t *testing.T) {
	all, err := load(".", nil)
	if err != nil {
		t.Fatal(err)
	}
	results, err := stored(all)
	if err != nil {
		t.Error(err)
	}
	text, err := os.ReadFile("../docs/precision.md")
	if err != nil {
		t.Fatal(err)
	}
	if updated, err := withTables(string(text), results); err != nil || updated != string(text) {
		t.Errorf("docs/precision.md is not up to date, run go run ./corpus table -update: %v", err)
	}
}
