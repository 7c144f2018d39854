package main

import (
	"strings"
	"testing"

	"github.com/capmon/capmon/internal/capability"
)

func TestUsesThatDifferAreNamed(t *testing.T) {
	one := use{Capability: capability.Chown, Site: "chown_common", Count: 3}
	other := one
	other.Site = "setattr_prepare"
	if got := differing([]use{one, other}, []use{other, one}); got != "" {
		t.Errorf("the same in another order differs: %s", got)
	}
	got := differing([]use{one}, []use{other})
	if !strings.Contains(got, "from memory: {Capability:CHOWN") || !strings.Contains(got, "from walks: {Capability:CHOWN") {
		t.Errorf("got %q", got)
	}
	if differing([]use{one, one}, []use{one}) == "" {
		t.Error("one that is there twice is not missed")
	}
}

// TestListThatChangesIsNamed covers runs with the list that capmon printed of the run before.
func TestListThatChangesIsNamed(t *testing.T) {
	first := list{capability.Chown: unmarked, capability.Kill: unsure}
	for name, test := range map[string]struct {
		again    list
		explains []capability.Capability
		want     string
	}{
		"the same list":     {again: first},
		"one is gone":       {again: list{capability.Chown: unmarked}, want: "KILL is unsure, then not listed"},
		"one is new":        {again: list{capability.Chown: unmarked, capability.Kill: unsure, capability.Mknod: unmarked}, want: "MKNOD is not listed, then unmarked"},
		"another mark":      {again: list{capability.Chown: unmarked, capability.Kill: soft}, want: "KILL is unsure, then soft"},
		"explained":         {again: list{capability.Chown: unmarked}, explains: []capability.Capability{capability.Kill}},
		"explained in vain": {again: first, explains: []capability.Capability{capability.Kill}, want: "marks [] otherwise, not [KILL]"},
		"others explained":  {again: list{capability.Chown: unmarked}, explains: []capability.Capability{capability.Chown}, want: "marks [KILL] otherwise, not [CHOWN]"},
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

func wantError(t *testing.T, err error, want string) {
	t.Helper()
	if want == "" && err != nil {
		t.Error(err)
	}
	if want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
		t.Errorf("got %v, wanted %s", err, want)
	}
}
