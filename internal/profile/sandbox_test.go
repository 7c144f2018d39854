package profile

import (
	"slices"
	"testing"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/classify"
)

func TestJudged(t *testing.T) {
	run := func(id, name string, sandbox bool, classes ...classify.Class) Run {
		r := Run{ID: id, Container: Container{ID: id, Name: name, Sandbox: sandbox}}
		for _, class := range classes {
			r.Uses = append(r.Uses, UsePattern{Capability: capability.Chown, Class: class, Granted: class != classify.Denied})
		}
		return r
	}
	lost := run("f", "lost-infra", true)
	lost.Incomplete = []string{"checks are missing"}
	p := New(
		run("a", "web", false),
		run("b", "idle-infra", true, classify.Setup, classify.Irrelevant),
		run("c", "busy-infra", true, classify.Required),
		run("d", "busy-infra", true),
		run("e", "denied-infra", true, classify.Denied),
		lost,
		run("g", "idle-infra", true),
	)
	judged, leftOut := p.Judged()
	var kept []string
	for _, run := range judged.Runs {
		kept = append(kept, run.ID)
	}
	slices.Sort(kept)
	if want := []string{"a", "c", "d", "e", "f"}; !slices.Equal(kept, want) {
		t.Errorf("kept %v, want %v", kept, want)
	}
	if len(leftOut) != 1 || leftOut[0].Name != "idle-infra" {
		t.Errorf("left out %v", leftOut)
	}
	if len(p.Runs) != 7 {
		t.Error("the profile has changed")
	}
}
