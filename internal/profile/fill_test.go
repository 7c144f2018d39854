package profile

import (
	"reflect"
	"testing"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/classify"
)

func TestFillFrom(t *testing.T) {
	engine := capability.Set(1 << capability.Chown)
	implicit := UsePattern{Capability: capability.SysNice, Class: classify.Implicit, Program: "probe", Count: 2}
	required := UsePattern{Capability: capability.Chown, Class: classify.Required, Program: "chown", Count: 3}
	more := required
	more.Count = 5
	named := Container{ID: "1", Name: "web", Image: "nginx"}
	known := Run{Container: named, Grants: Grants{Engine: &engine}, Uses: []UsePattern{required, implicit}}
	for name, test := range map[string]struct{ now, earlier, want Run }{
		"the engine describes it": {
			Run{Container: Container{ID: "1", Name: "shop"}, Uses: []UsePattern{more}}, known,
			Run{Container: Container{ID: "1", Name: "shop"}, Uses: []UsePattern{more}},
		},
		"the engine no longer knows it": {
			Run{Container: Container{ID: "1"}, EngineError: "gone", Uses: []UsePattern{more}}, known,
			Run{Container: named, Grants: Grants{Engine: &engine}, Uses: []UsePattern{implicit, more}},
		},
		"an event had another name": {
			Run{Container: Container{ID: "1", Name: "shop"}, EngineError: "gone", Uses: []UsePattern{more}}, known,
			Run{Container: Container{ID: "1", Name: "shop", Image: "nginx"}, Grants: Grants{Engine: &engine}, Uses: []UsePattern{implicit, more}},
		},
		"only its name was known": {
			Run{Container: Container{ID: "1"}, EngineError: "gone"}, Run{Container: named, EngineError: "not yet"},
			Run{Container: named, EngineError: "not yet"},
		},
		"another run is described": {
			Run{ID: "a", Container: Container{ID: "1"}, EngineError: "gone", Uses: []UsePattern{more}}, known,
			Run{ID: "a", Container: named, Grants: Grants{Engine: &engine}, Uses: []UsePattern{more}},
		},
		"nothing was known": {
			Run{Container: Container{ID: "1"}, EngineError: "gone"}, Run{Container: Container{ID: "1"}, EngineError: "not yet"},
			Run{Container: Container{ID: "1"}, EngineError: "gone"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := test.now.FillFrom(test.earlier)
			want := test.want
			want.Uses = addUp(want.Uses)
			got.Uses = addUp(got.Uses)
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

// The engine's description of one run identifies the other runs of the same container.
func TestUnnamedRunsAreAddedToTheOthersOfTheirContainer(t *testing.T) {
	named := Container{ID: "1", Name: "web", Image: "nginx"}
	p := New(
		Run{ID: "a", Container: Container{ID: "1"}, EngineError: "gone"},
		Run{ID: "b", Container: named},
		Run{ID: "c", Container: Container{ID: "1", Unconfirmed: "/user.slice/1"}, EngineError: "gone"},
		Run{ID: "d", Container: Container{ID: "2"}, EngineError: "gone"},
	)
	summed := make(map[string]int)
	for _, s := range Summaries(p) {
		summed[s.Container.ID+" "+s.Container.Name+s.Container.Unconfirmed] += s.Runs
	}
	if want := map[string]int{"1 web": 2, "1 /user.slice/1": 1, "2 ": 1}; !reflect.DeepEqual(summed, want) {
		t.Errorf("got %v, want %v", summed, want)
	}
}
