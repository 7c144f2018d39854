package profile

import (
	"fmt"
	"testing"
	"testing/quick"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capmon/capmon/capability"
)

func TestMergeKeepsEachProofOnce(t *testing.T) {
	holds := func(a, b generated) bool {
		want := make(map[string]bool)
		for _, proof := range append(append([]Proof{}, a.Proofs...), b.Proofs...) {
			want[proof.ID] = true
		}
		got := make(map[string]bool)
		for _, proof := range Merge(a.Profile, b.Profile).Proofs {
			if got[proof.ID] {
				return false
			}
			got[proof.ID] = true
		}
		return cmp.Equal(got, want)
	}
	if err := quick.Check(holds, nil); err != nil {
		t.Error(err)
	}
}

// web returns a run of one build of an image. The run needs CHOWN.
func web(build string) Run {
	return Run{
		ID: "o/" + build, Container: Container{ID: build, Name: "web", Image: "nginx", ImageID: build},
		Started: &saturday, Ended: saturday.Add(time.Minute), Uses: []UsePattern{chown(1)},
	}
}

func provedAt(minute int, build string, set capability.Set, tried ...capability.Capability) Proof {
	proof := Proof{
		ID: build + time.Duration(minute).String(), Time: saturday.Add(time.Duration(minute) * time.Minute), Set: set, Works: true,
		Container: Container{Name: "web", Image: "nginx", ImageID: build},
	}
	for _, c := range tried {
		proof.Members = append(proof.Members, Member{Capability: c, Verdict: Needed})
	}
	return proof
}

func TestAValidProofDeterminesTheList(t *testing.T) {
	const chown, raw, kill = capability.Chown, capability.NetRaw, capability.Kill
	fails := provedAt(1, "one", capability.Of(raw), chown)
	fails.Works = false
	elsewhere := provedAt(1, "one", capability.Of(raw), chown)
	elsewhere.Container.Name = "db"
	for _, test := range []struct {
		name   string
		proofs []Proof
		proved bool
		list   capability.Set
	}{
		{"none", nil, false, capability.Of(chown)},
		{"valid", []Proof{provedAt(1, "one", 0, chown)}, true, 0},
		{"the latest counts", []Proof{provedAt(2, "one", capability.Of(raw), chown), provedAt(1, "one", 0, chown)}, true, capability.Of(raw)},
		{"another image", []Proof{provedAt(1, "two", 0, chown)}, false, capability.Of(chown)},
		{"another container", []Proof{elsewhere}, false, capability.Of(chown)},
		{"more observed than tried", []Proof{provedAt(1, "one", capability.Of(kill), kill)}, false, capability.Of(chown, kill)},
		{"it does not work", []Proof{fails}, false, capability.Of(chown)},
	} {
		summaries := Summaries(Merge(New(web("one")), Profile{Proofs: test.proofs}))
		if s := summaries[0]; s.Proved() != test.proved || s.List() != test.list {
			t.Errorf("%s: proved %v, list %s; wanted %v, %s", test.name, s.Proved(), s.List(), test.proved, test.list)
		}
	}
}

// A proof of one build does not remove the observed needs of another build.
func TestAProofIsValidForOneBuildOnly(t *testing.T) {
	const chown, kill = capability.Chown, capability.Kill
	for _, test := range []struct {
		name   string
		runs   []Run
		proof  Proof
		proved bool
		list   capability.Set
	}{
		{"all runs of its build", []Run{web("one"), web("one")}, provedAt(1, "one", 0, chown), true, 0},
		{"its build is the latest", []Run{web("one"), web("two")}, provedAt(1, "two", capability.Of(kill), chown, kill), false, capability.Of(chown, kill)},
		{"its build is the earlier", []Run{web("two"), web("one")}, provedAt(1, "two", 0, chown), false, capability.Of(chown)},
	} {
		p := Profile{Proofs: []Proof{test.proof}}
		for i, run := range test.runs {
			run.ID = fmt.Sprint(i)
			p.Runs = append(p.Runs, run)
		}
		s := Summaries(p)[0]
		if s.Runs != 2 || s.Proved() != test.proved || s.List() != test.list {
			t.Errorf("%s: %d runs, proved %v, list %s; wanted %v, %s", test.name, s.Runs, s.Proved(), s.List(), test.proved, test.list)
		}
	}
}

func TestTrialsAreFoundByNumber(t *testing.T) {
	proof := Proof{Trials: []Trial{{Number: 2}, {Number: 1, Original: true}}}
	if trial, ok := proof.TrialNumber(1); !ok || !trial.Original {
		t.Errorf("got %+v, %v", trial, ok)
	}
	for _, number := range []int{0, 3} {
		if _, ok := proof.TrialNumber(number); ok {
			t.Errorf("there is no trial %d", number)
		}
	}
}
