package profile

import (
	"fmt"
	"slices"
	"testing"
	"testing/quick"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/classify"
)

func TestRunsOfAContainerAreAddedUp(t *testing.T) {
	started := saturday
	run := func(id string, minutes int, uses ...UsePattern) Run {
		return Run{
			ID: id, Container: Container{ID: id, Name: "web", Image: "nginx"}, Started: &started,
			Ended: started.Add(time.Duration(minutes) * time.Minute), Processes: 2, Checks: 10, Lost: 1,
			User: 33, Incomplete: []string{"lost"}, Uses: uses,
		}
	}
	one, other := run("a", 1, chown(1)), run("b", 2, chown(2))
	one.Grants = Grants{Engine: ptr(capability.Of(capability.Chown)), Kernel: ptr(capability.Of(capability.Chown))}
	other.Grants = Grants{Kernel: ptr(capability.Of(capability.Kill)), Privileged: true}
	one.Existed, one.Running, other.User = true, true, 34
	one.Observation.Start, other.EngineError = started.Add(time.Second), "away"
	other.Incomplete = []string{"lost", "full"}
	failed := Run{ID: "c", Container: other.Container, Ended: started.Add(time.Hour), Checks: 5}

	want := []Summary{{
		Container: failed.Container, Runs: 3, Starts: 1, FirstStarts: 1, Stops: 1, Observed: 3 * time.Minute, Running: true, Existed: true,
		Processes: 4, Checks: 25, Lost: 2, Users: []uint32{33, 34},
		Grants: Grants{
			Engine:     ptr(capability.Of(capability.Chown)),
			Kernel:     ptr(capability.Of(capability.Chown, capability.Kill)),
			Privileged: true,
		},
		EngineError: "away", Since: started, Found: started.Add(time.Second),
		Started: true, Incomplete: []string{"lost", "full"}, Uses: []UsePattern{chown(3)},
	}}
	if diff := cmp.Diff(want, Summaries(New(one, other, failed))); diff != "" {
		t.Error(diff)
	}
}

func TestRunsBelongTogetherByNameAndImage(t *testing.T) {
	run := func(id, container, name, image string) Run {
		return Run{ID: id, Container: Container{ID: container, Name: name, Image: image}, Ended: saturday}
	}
	p := New(
		run("1", "aa", "web", "nginx"), run("2", "bb", "web", "nginx"), run("3", "cc", "web", "nginx:2"),
		run("4", "dd", "db", "nginx"), run("5", "ee", "", ""), run("6", "ee", "", ""), run("7", "ff", "", ""),
	)
	for i, service := range []string{"api", "api", "api", "", "$(reboot)", "$(reboot)"} {
		task := run(fmt.Sprint("task ", i), fmt.Sprint(i), fmt.Sprint("api.", i), "nginx")
		task.Container.Labels = map[string]string{"com.docker.swarm.service.name": service}
		p.Runs = append(p.Runs, task)
	}
	// The users of another engine choose names, images and labels too. Only Docker has services of a swarm.
	for _, labels := range []map[string]string{nil, {"com.docker.swarm.service.name": "api"}} {
		other := run("other", "11", "web", "nginx")
		other.Container.Labels, other.Container.Engine = labels, "podman"
		p.Runs = append(p.Runs, other)
	}
	var got []int
	for _, s := range Summaries(p) {
		got = append(got, s.Runs)
	}
	if diff := cmp.Diff([]int{2, 1, 1, 2, 1, 3, 1, 1, 1, 2}, got); diff != "" {
		t.Error(diff)
	}
}

func TestSummariesAddUp(t *testing.T) {
	holds := func(g generated) bool {
		p := Merge(g.Profile)
		var runs, checks, lost, count uint64
		seen := make(map[capability.Capability]bool)
		for _, run := range p.Runs {
			runs, checks, lost = runs+1, checks+run.Checks, lost+run.Lost
			for _, use := range run.Uses {
				count += use.Count
				seen[use.Capability] = true
			}
		}
		for _, s := range Summaries(p) {
			runs, checks, lost = runs-uint64(s.Runs), checks-s.Checks, lost-s.Lost
			for _, use := range s.Uses {
				count -= use.Count
				if !seen[use.Capability] {
					return false
				}
			}
		}
		return runs == 0 && checks == 0 && lost == 0 && count == 0
	}
	if err := quick.Check(holds, &quick.Config{MaxCount: 1000}); err != nil {
		t.Error(err)
	}
}

// Uses that look the same to a reader are one line, however often and in however many runs they happened.
func TestNoUseIsListedTwice(t *testing.T) {
	// The frequent one comes first, the other two are the same in two runs.
	frequent := chown(5)
	frequent.Program = "tar"
	run := func(id string, uses ...UsePattern) Run {
		return Run{ID: id, Container: Container{ID: id, Name: "web"}, Ended: saturday, Uses: uses}
	}
	got := Summaries(New(run("a", chown(10), frequent), run("b", chown(1))))[0].Uses
	if diff := cmp.Diff([]UsePattern{chown(11), frequent}, got); diff != "" {
		t.Error(diff)
	}
	holds := func(g generated) bool {
		for _, s := range Summaries(Merge(g.Profile)) {
			seen := make(map[useKey]bool)
			for _, use := range s.Uses {
				if seen[keyOf(use)] {
					return false
				}
				seen[keyOf(use)] = true
			}
			if !slices.IsSortedFunc(s.Uses, compareUses) {
				return false
			}
		}
		return true
	}
	if err := quick.Check(holds, &quick.Config{MaxCount: 1000}); err != nil {
		t.Error(err)
	}
}

func TestSummariesDoNotChangeTheProfile(t *testing.T) {
	holds := func(g generated) bool {
		p := Merge(g.Profile)
		before := encoded(t, p)
		Summaries(p)
		Summaries(p)
		return before == encoded(t, p)
	}
	if err := quick.Check(holds, nil); err != nil {
		t.Error(err)
	}
}

func TestEqualUsesHaveEqualKeys(t *testing.T) {
	holds := func(a, b generated) bool {
		for _, one := range usesOf(a) {
			for _, other := range usesOf(b) {
				order, reverse := compareUses(one, other), compareUses(other, one)
				if order != -reverse || order == 0 && keyOf(one) != keyOf(other) {
					return false
				}
				if keyOf(one) == keyOf(other) && one.Count == other.Count && order != 0 {
					return false
				}
			}
		}
		return true
	}
	if err := quick.Check(holds, &quick.Config{MaxCount: 1000}); err != nil {
		t.Error(err)
	}
}

func usesOf(g generated) (uses []UsePattern) {
	for _, run := range g.Runs {
		uses = append(uses, run.Uses...)
	}
	return uses
}

// testing/quick varies each field only by chance.
func TestUsesThatDifferInOneThingAreTwo(t *testing.T) {
	for name, change := range map[string]func(*UsePattern){
		"capability":  func(u *UsePattern) { u.Capability = capability.Kill },
		"class":       func(u *UsePattern) { u.Class = classify.Soft },
		"granted":     func(u *UsePattern) { u.Granted = false },
		"reason":      func(u *UsePattern) { u.Reason = "why" },
		"unsure":      func(u *UsePattern) { u.Unsure = "why" },
		"alternative": func(u *UsePattern) { u.Alternative = ptr(capability.Chown) },
		"program":     func(u *UsePattern) { u.Program = "bash" },
		"call":        func(u *UsePattern) { u.Call = "chown" },
		"site":        func(u *UsePattern) { u.Site = "setattr_copy" },
		"entry":       func(u *UsePattern) { u.Entry = true },
	} {
		other := chown(1)
		change(&other)
		if keyOf(other) == keyOf(chown(1)) || compareUses(other, chown(1)) == 0 {
			t.Errorf("%s does not distinguish uses", name)
		}
	}
	same := chown(1)
	same.User, same.Stack, same.First, same.Last = 7, []string{"a"}, saturday.Add(1), saturday.Add(2)
	if keyOf(same) != keyOf(chown(1)) {
		t.Error("the user, the stack and the time must not distinguish uses")
	}
}

func TestAddedUsesHaveTheFirstAndTheLastTime(t *testing.T) {
	early, late := chown(2), chown(3)
	early.Stack, late.Stack = []string{"early"}, []string{"late"}
	early.Last = saturday.Add(time.Hour)
	late.First, late.Last = saturday.Add(time.Minute), saturday.Add(2*time.Minute)
	want := early
	want.Count = 5
	for _, got := range []UsePattern{add(early, late), add(late, early)} {
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
}

func TestSetsOfASummary(t *testing.T) {
	use := func(c capability.Capability, class classify.Class) UsePattern {
		return UsePattern{Capability: c, Class: class, Count: 1, Granted: class != classify.Denied}
	}
	unsure := func(c capability.Capability) UsePattern {
		u := use(c, classify.Required)
		u.Unsure = "perhaps"
		return u
	}
	grants := capability.Of(capability.Chown, capability.Kill, capability.NetRaw, 63)
	for _, test := range []struct {
		name                                    string
		uses                                    []UsePattern
		needs, required, unsure, denied, unused capability.Set
	}{
		{name: "no use", unused: grants},
		{
			name:  "required and soft are needs",
			uses:  []UsePattern{use(capability.Chown, classify.Required), use(capability.Fsetid, classify.Soft)},
			needs: capability.Of(capability.Chown, capability.Fsetid), required: capability.Of(capability.Chown),
			unused: grants.Without(capability.Chown),
		},
		{
			name: "other classes are not needs",
			uses: []UsePattern{
				use(capability.Chown, classify.Redundant), use(capability.Kill, classify.Irrelevant), use(63, classify.Setup),
				use(capability.NetRaw, classify.NestedUserns), use(capability.NetRaw, classify.OtherCredential),
			},
			unused: grants,
		},
		{
			name:  "of a long setup",
			uses:  []UsePattern{{Capability: capability.Chown, Class: classify.LongSetup, Unsure: "a workload may hide"}},
			needs: capability.Of(capability.Chown), required: capability.Of(capability.Chown),
			unsure: capability.Of(capability.Chown), unused: grants.Without(capability.Chown),
		},
		{
			name:   "denied",
			uses:   []UsePattern{use(capability.SysTime, classify.Denied)},
			denied: capability.Of(capability.SysTime), unused: grants,
		},
		{
			name:  "denied once and granted once",
			uses:  []UsePattern{use(capability.Kill, classify.Required), use(capability.Kill, classify.Denied)},
			needs: capability.Of(capability.Kill), required: capability.Of(capability.Kill),
			denied: capability.Of(capability.Kill), unused: grants.Without(capability.Kill),
		},
		{
			name:  "one use is unsure, another certain",
			uses:  []UsePattern{unsure(capability.Kill), use(capability.Kill, classify.Required), unsure(63)},
			needs: capability.Of(capability.Kill, 63), required: capability.Of(capability.Kill, 63),
			unsure: capability.Of(63), unused: grants.Without(capability.Kill).Without(63),
		},
		{
			name:  "unsure, and certainly soft: a denial may only change a result",
			uses:  []UsePattern{unsure(capability.Kill), use(capability.Kill, classify.Soft)},
			needs: capability.Of(capability.Kill), required: capability.Of(capability.Kill),
			unsure: capability.Of(capability.Kill), unused: grants.Without(capability.Kill),
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := Summary{Uses: test.uses, Grants: Grants{Kernel: &grants}}
			unused, known := s.Unused()
			got := map[string]capability.Set{
				"needs": s.Needs(), "required": s.Required(), "unsure": s.Unsure(), "denied": s.Denied(), "unused": unused,
			}
			want := map[string]capability.Set{
				"needs": test.needs, "required": test.required, "unsure": test.unsure, "denied": test.denied, "unused": test.unused,
			}
			if diff := cmp.Diff(want, got); diff != "" || !known {
				t.Errorf("known %v: %s", known, diff)
			}
		})
	}
}

func TestUnusedIsNotKnownWithoutGrants(t *testing.T) {
	if unused, known := (Summary{Uses: []UsePattern{chown(1)}}).Unused(); known || !unused.Empty() {
		t.Errorf("got %v, %v", unused, known)
	}
}

func TestNarrowerMustBeSufficientForEveryUse(t *testing.T) {
	use := func(narrower *capability.Capability, class classify.Class) UsePattern {
		return UsePattern{Capability: capability.SysAdmin, Class: class, Alternative: narrower}
	}
	bpf, perfmon := ptr(capability.BPF), ptr(capability.Perfmon)
	for _, test := range []struct {
		name string
		uses []UsePattern
		want *capability.Capability
	}{
		{"no use", nil, nil},
		{"one", []UsePattern{use(bpf, classify.Required)}, bpf},
		{"all", []UsePattern{use(bpf, classify.Required), use(ptr(capability.BPF), classify.Soft)}, bpf},
		{"not for all", []UsePattern{use(bpf, classify.Required), use(nil, classify.Soft)}, nil},
		{"the first has none", []UsePattern{use(nil, classify.Required), use(bpf, classify.Soft)}, nil},
		{"different ones", []UsePattern{use(bpf, classify.Required), use(perfmon, classify.Required)}, nil},
		{"uses that are not needs do not count", []UsePattern{use(nil, classify.Setup), use(bpf, classify.Required), use(nil, classify.Denied)}, bpf},
		{"another capability's", []UsePattern{{Capability: capability.NetAdmin, Class: classify.Required, Alternative: bpf}}, nil},
	} {
		got, ok := Summary{Uses: test.uses}.Narrower(capability.SysAdmin)
		if ok != (test.want != nil) || ok && got != *test.want {
			t.Errorf("%s: got %v, %v", test.name, got, ok)
		}
	}
}

func TestOneOfTwoAlternativesIsEnough(t *testing.T) {
	override, search := capability.DACOverride, capability.DACReadSearch
	onlyWide := UsePattern{Capability: override, Class: classify.Required}
	onlyNarrow := UsePattern{Capability: search, Class: classify.Required}
	wide := UsePattern{Capability: override, Class: classify.Required, Alternative: &search}
	narrow := UsePattern{Capability: search, Class: classify.Required, Alternative: &override}
	soft := UsePattern{Capability: search, Class: classify.Soft, Alternative: &override}
	for _, test := range []struct {
		name                    string
		uses                    []UsePattern
		needs, required, spared capability.Set
	}{
		{"the used capability is listed", []UsePattern{wide}, capability.Of(override), capability.Of(override), 0},
		{"with a wider alternative", []UsePattern{narrow}, capability.Of(search), capability.Of(search), 0},
		{"the wider is needed anyway", []UsePattern{onlyWide, narrow}, capability.Of(override), capability.Of(override), capability.Of(search)},
		{"the narrower is needed anyway", []UsePattern{onlyNarrow, wide}, capability.Of(search), capability.Of(search), capability.Of(override)},
		{"the narrower was enough elsewhere", []UsePattern{wide, narrow}, capability.Of(search), capability.Of(search), capability.Of(override)},
		{"both are needed", []UsePattern{onlyWide, onlyNarrow, wide, narrow}, capability.Of(override, search), capability.Of(override, search), 0},
		{"soft beside required", []UsePattern{onlyWide, soft}, capability.Of(override), capability.Of(override), capability.Of(search)},
		{"soft alone", []UsePattern{soft}, capability.Of(search), 0, 0},
	} {
		s := Summary{Uses: test.uses}
		got := [...]capability.Set{s.Needs(), s.Required(), s.Spared()}
		if want := [...]capability.Set{test.needs, test.required, test.spared}; got != want {
			t.Errorf("%s: got %v, want %v", test.name, got, want)
		}
	}
}

func TestContainersOfAnImageAreAddedUp(t *testing.T) {
	run := func(id, name, image string, labels map[string]string) Run {
		return Run{ID: id, Container: Container{ID: id, Name: name, Image: image, Labels: labels}, Ended: saturday, Uses: []UsePattern{chown(1)}}
	}
	task := map[string]string{"com.docker.swarm.service.name": "web", "team": "shop"}
	p := New(run("a", "eager_bohr", "app:1", nil), run("b", "vain_curie", "app:1", task), run("c", "sad_euler", "app:2", nil), run("d", "", "", nil), run("e", "", "", nil))
	p.Proofs = []Proof{{ID: "proof", Time: saturday, Container: p.Runs[1].Container}}
	got := make(map[string]uint64)
	for _, s := range Summaries(ByImage(p)) {
		got[s.Container.Title()] = s.Uses[0].Count
		if (s.Proof != nil) != (s.Container.Image == "app:1") {
			t.Errorf("%s has proof %v", s.Container.Title(), s.Proof)
		}
	}
	if diff := cmp.Diff(map[string]uint64{"app:1": 2, "app:2": 1, "d": 1, "e": 1}, got); diff != "" {
		t.Error(diff)
	}
	if len(task) != 2 || p.Runs[0].Container.Name != "eager_bohr" {
		t.Error("ByImage changed its argument")
	}
}

// A restart, or a start of another build, does not show what a new container needs to start.
func TestFirstStarts(t *testing.T) {
	run := func(minute int, image string, isNew *bool, existed bool) Run {
		started := saturday.Add(time.Duration(minute) * time.Minute)
		return Run{
			ID: fmt.Sprint(minute), New: isNew, Existed: existed, Started: &started,
			Container: Container{ID: "1", Name: "web", Image: "nginx", ImageID: image},
		}
	}
	older, newer := ptr(false), ptr(true)
	for name, test := range map[string]struct {
		runs []Run
		want string
	}{
		"of a new container":        {[]Run{run(1, "a", newer, false)}, ""},
		"without an engine":         {[]Run{run(1, "", nil, false)}, ""},
		"none":                      {[]Run{run(1, "a", older, true)}, "capmon did not see the start of the container"},
		"a restart":                 {[]Run{run(1, "a", older, true), run(2, "a", older, false)}, "capmon saw only restarts of the container, which may need less than the start of a new container"},
		"a restart, then a new one": {[]Run{run(1, "a", older, false), run(2, "a", newer, false)}, ""},
		"of another build":          {[]Run{run(1, "a", newer, false), run(2, "b", older, false)}, "capmon saw no start of a new container from this build of the image"},
	} {
		if got := Summaries(New(test.runs...))[0].StartUnseen(); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}
