package verify

import (
	"context"
	"errors"
	"maps"
	"math/rand"
	"reflect"
	"slices"
	"testing"
	"testing/quick"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/profile"
)

const (
	chown    = capability.Chown
	override = capability.DACOverride
	search   = capability.DACReadSearch
	raw      = capability.NetRaw
	admin    = capability.SysAdmin
)

// of returns a runner with this outcome. It counts how often each set is run.
func of(outcome func(capability.Set) Outcome, runs map[capability.Set]int) Runner {
	return func(_ context.Context, sets []capability.Set) ([]Outcome, error) {
		outcomes := make([]Outcome, len(sets))
		for i, set := range sets {
			runs[set]++
			outcomes[i] = outcome(set)
		}
		return outcomes, nil
	}
}

// instead returns a Search.Narrower with narrower capabilities for a wide one.
func instead(wide capability.Capability, narrower ...capability.Capability) func(capability.Set, capability.Capability) capability.Set {
	return func(_ capability.Set, c capability.Capability) capability.Set {
		if c == wide {
			return capability.Of(narrower...)
		}
		return 0
	}
}

func when(same bool) Outcome {
	if same {
		return Same
	}
	return Differs
}

func TestMinimize(t *testing.T) {
	for _, test := range []struct {
		name     string
		search   Search
		outcome  func(capability.Set) Outcome
		set      capability.Set
		verdicts map[capability.Capability]profile.Verdict
	}{
		{
			"nothing to leave out", Search{}, func(capability.Set) Outcome { return Same },
			0, map[capability.Capability]profile.Verdict{},
		},
		{
			"all needed", Search{Start: capability.Of(chown, raw)},
			func(s capability.Set) Outcome { return when(s.Has(chown) && s.Has(raw)) },
			capability.Of(chown, raw), map[capability.Capability]profile.Verdict{chown: profile.Needed, raw: profile.Needed},
		},
		{
			"used but unneeded", Search{Start: capability.Of(chown, raw)},
			func(s capability.Set) Outcome { return when(s.Has(raw)) },
			capability.Of(raw), map[capability.Capability]profile.Verdict{chown: profile.Unneeded, raw: profile.Needed},
		},
		{
			"either suffices, the wider is left out", Search{Start: capability.Of(admin, raw)},
			func(s capability.Set) Outcome { return when(s.Has(admin) || s.Has(raw)) },
			capability.Of(raw), map[capability.Capability]profile.Verdict{admin: profile.Unneeded, raw: profile.Needed},
		},
		{
			"two of three suffice", Search{Start: capability.Of(admin, raw, chown)},
			func(s capability.Set) Outcome { return when(s.Len() >= 2) },
			capability.Of(raw, chown), map[capability.Capability]profile.Verdict{
				admin: profile.Unneeded, raw: profile.Needed, chown: profile.Needed,
			},
		},
		{
			// The program may change its user and then fails without the other capability.
			"needed only together with another", Search{Start: capability.Of(chown, raw)},
			func(s capability.Set) Outcome { return when(!s.Has(chown) || s.Has(raw)) },
			0, map[capability.Capability]profile.Verdict{chown: profile.Unneeded, raw: profile.Unneeded},
		},
		{
			"flaky without it", Search{Start: capability.Of(chown, raw)},
			func(s capability.Set) Outcome {
				if !s.Has(chown) {
					return Varies
				}
				return when(s.Has(raw))
			},
			capability.Of(chown, raw), map[capability.Capability]profile.Verdict{chown: profile.Unsure, raw: profile.Needed},
		},
		{
			"the outcome does not show it", Search{Start: capability.Of(chown, raw), Keep: capability.Of(chown)},
			func(capability.Set) Outcome { return Same },
			capability.Of(chown), map[capability.Capability]profile.Verdict{chown: profile.Unsure, raw: profile.Unneeded},
		},
		{
			"the narrower suffices", Search{Start: capability.Of(override), Narrower: instead(override, search)},
			func(s capability.Set) Outcome { return when(s.Has(override) || s.Has(search)) },
			capability.Of(search), map[capability.Capability]profile.Verdict{override: profile.Unneeded, search: profile.Needed},
		},
		{
			"one of several narrower ones suffices", Search{Start: capability.Of(admin), Narrower: instead(admin, search, raw)},
			func(s capability.Set) Outcome { return when(s.Has(admin) || s.Has(raw)) },
			capability.Of(raw), map[capability.Capability]profile.Verdict{admin: profile.Unneeded, raw: profile.Needed},
		},
		{
			"the narrower does not suffice", Search{Start: capability.Of(override), Narrower: instead(override, search)},
			func(s capability.Set) Outcome { return when(s.Has(override)) },
			capability.Of(override), map[capability.Capability]profile.Verdict{override: profile.Needed},
		},
		{
			"no narrower is tried for an unneeded one", Search{Start: capability.Of(override), Narrower: instead(override, search)},
			func(s capability.Set) Outcome { return when(!s.Has(search)) },
			0, map[capability.Capability]profile.Verdict{override: profile.Unneeded},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			found, err := Minimize(t.Context(), of(test.outcome, map[capability.Set]int{}), test.search)
			if err != nil {
				t.Fatal(err)
			}
			if found.Set != test.set || !maps.Equal(found.Verdicts, test.verdicts) {
				t.Errorf("got %s, %v\nwanted %s, %v", found.Set, found.Verdicts, test.set, test.verdicts)
			}
		})
	}
}

// world is a random workload over few capabilities. More capabilities may harm it.
type world struct {
	outcomes map[capability.Set]Outcome
	start    capability.Set
	narrower func(capability.Set, capability.Capability) capability.Set
}

func (world) Generate(r *rand.Rand, _ int) reflect.Value {
	all := capability.Of(chown, override, raw, admin, search)
	w := world{outcomes: make(map[capability.Set]Outcome), start: capability.Of(chown, override, raw, admin)}
	for set := range subsets(all) {
		w.outcomes[set] = Differs + Outcome(r.Intn(3))
	}
	w.outcomes[w.start] = Same
	if r.Intn(2) == 0 {
		w.narrower = instead(override, search)
	}
	return reflect.ValueOf(w)
}

// monotone is a workload that more capabilities never harm: any superset of one of some sets is enough.
type monotone struct{ world }

func (monotone) Generate(r *rand.Rand, size int) reflect.Value {
	w := world{}.Generate(r, size).Interface().(world)
	var enough []capability.Set
	all := slices.Collect(subsets(w.start))
	for range 1 + r.Intn(4) {
		enough = append(enough, all[r.Intn(len(all))])
	}
	for set := range w.outcomes {
		w.outcomes[set] = when(slices.ContainsFunc(enough, func(e capability.Set) bool { return e.Minus(set).Empty() }))
	}
	return reflect.ValueOf(monotone{w})
}

func subsets(set capability.Set) func(func(capability.Set) bool) {
	return func(yield func(capability.Set) bool) {
		for subset := set; ; subset = (subset - 1) & set {
			if !yield(subset) || subset == 0 {
				return
			}
		}
	}
}

func (w world) minimize(t *testing.T) (Found, map[capability.Set]int) {
	runs := make(map[capability.Set]int)
	found, err := Minimize(t.Context(), of(func(s capability.Set) Outcome { return w.outcomes[s] }, runs), Search{Start: w.start, Narrower: w.narrower})
	if err != nil {
		t.Fatal(err)
	}
	return found, runs
}

func TestNoMemberOfTheSetFoundCanBeLeftOut(t *testing.T) {
	holds := func(w world) bool {
		found, runs := w.minimize(t)
		if w.outcomes[found.Set] != Same {
			return false
		}
		for _, c := range found.Set.Sorted() {
			outcome := w.outcomes[found.Set.Without(c)]
			if outcome == Same || (outcome == Differs) != (found.Verdicts[c] == profile.Needed) {
				return false
			}
		}
		for _, c := range w.start.Minus(found.Set).Sorted() {
			if found.Verdicts[c] != profile.Unneeded {
				return false
			}
		}
		for _, times := range runs {
			if times != 1 {
				return false
			}
		}
		return len(found.Verdicts) == w.start.Union(found.Set).Len()
	}
	if err := quick.Check(holds, &quick.Config{MaxCount: 5000}); err != nil {
		t.Error(err)
	}
}

// If more capabilities never do harm, no smaller set at all is enough.
func TestMinimalSetMatchesBruteForce(t *testing.T) {
	holds := func(w monotone) bool {
		w.narrower = nil
		found, _ := w.minimize(t)
		for set := range subsets(found.Set) {
			if (w.outcomes[set] == Same) != (set == found.Set) {
				return false
			}
		}
		return true
	}
	if err := quick.Check(holds, &quick.Config{MaxCount: 5000}); err != nil {
		t.Error(err)
	}
}

// If the search ends early, it returns the error and only verdicts that are already shown.
func TestErrorEndsTheSearch(t *testing.T) {
	away := errors.New("the engine does not answer")
	holds := func(w world, after uint8) bool {
		left := int(after % 16)
		tried := make(map[capability.Set]bool)
		found, err := Minimize(t.Context(), func(_ context.Context, sets []capability.Set) ([]Outcome, error) {
			outcomes := make([]Outcome, len(sets))
			for i, set := range sets {
				if left--; left < 0 {
					return outcomes, away
				}
				outcomes[i], tried[set] = w.outcomes[set], true
			}
			return outcomes, nil
		}, Search{Start: w.start, Narrower: w.narrower})
		for c, verdict := range found.Verdicts {
			without := found.Set.Without(c)
			if found.Set.Has(c) && (verdict == profile.Needed) != (tried[without] && w.outcomes[without] == Differs) {
				return false
			}
		}
		return (left < 0) == errors.Is(err, away) && w.outcomes[found.Set] == Same
	}
	if err := quick.Check(holds, nil); err != nil {
		t.Error(err)
	}
}
