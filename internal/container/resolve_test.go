package container

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/capmon/capmon/internal/kubernetes"
)

// listed is an engine that only implements List.
type listed struct {
	Engine
	infos []Info
}

func (l listed) List(context.Context, bool) ([]Info, error) { return l.infos, nil }

func TestResolve(t *testing.T) {
	id := func(start string) string { return start + strings.Repeat("0", 64-len(start)) }
	engine := listed{infos: []Info{
		{ID: id("aa11"), Name: "web", Running: true},
		{ID: id("aa22"), Name: "db", Running: true},
		{ID: id("cc33"), Name: "aa", Running: true},
		{ID: id("dd44"), Name: "old"},
		{ID: id("ee55"), Name: "wed", Running: true},
		{ID: id("ff66"), Name: "both", Running: true},
		{ID: id("ff77"), Name: "both", Running: true, Engine: Podman},
		{ID: id("ff88"), Name: "once"},
		{ID: id("ff99"), Name: "once", Running: true, Engine: Podman},
		{ID: id("bb00"), Name: "stopped-pod", Engine: Podman},
		{ID: "default/db", Name: "ctr-db", Running: true, Engine: "containerd"},
		{ID: id("0a"), Name: "pay/web-1", Running: true, Pod: "p1", Sandbox: true, Kubernetes: kubernetes.Pod{Name: "web-1"}},
		{ID: id("0b"), Name: "pay/web-1/main", Running: true, Pod: "p1"},
		{ID: id("0c"), Name: "pay/web-1/side", Running: true, Pod: "p1"},
		{ID: id("0d"), Name: "pay/web-1/init", Pod: "p1"},
		{ID: id("0e"), Name: "pay/web-2/main", Running: true, Pod: "p2"},
	}}
	for _, test := range []struct {
		name  string
		args  []string
		want  []string // names
		error string
	}{
		{name: "name", args: []string{"web"}, want: []string{"web"}},
		{name: "name with a slash", args: []string{"/web"}, want: []string{"web"}},
		{name: "name has precedence over the beginning of an ID", args: []string{"aa"}, want: []string{"aa"}},
		{name: "whole ID", args: []string{id("aa22")}, want: []string{"db"}},
		{name: "beginning of an ID", args: []string{"aa2"}, want: []string{"db"}},
		{name: "several", args: []string{"db", "web"}, want: []string{"db", "web"}},
		{name: "one twice", args: []string{"db", "aa22", "web"}, want: []string{"db", "web"}},
		{name: "none", want: nil},
		{name: "ambiguous", args: []string{"a"}, error: `"a" is the beginning of several containers' IDs: aa1100000000 (web), aa2200000000 (db)`},
		{name: "the same name in two engines", args: []string{"both"}, error: `"both" is the name of several containers: ff6600000000 (both), ff7700000000 (both); use the ID`},
		{name: "one of the same name, by ID", args: []string{"ff7"}, want: []string{"both"}},
		{name: "the same name, but one runs", args: []string{"once"}, want: []string{"once"}},
		{name: "ID of containerd", args: []string{"default/db"}, want: []string{"ctr-db"}},
		{name: "a pod", args: []string{"pay/web-1", "pay/web-1/side"}, want: []string{"pay/web-1/main", "pay/web-1/side"}},
		{name: "the sandbox of a pod, by ID", args: []string{"0a"}, want: []string{"pay/web-1"}},
		{name: "a container of a pod", args: []string{"pay/web-1/main"}, want: []string{"pay/web-1/main"}},
		{name: "stopped", args: []string{"old"}, error: `"old" is not running`},
		{name: "stopped, of Podman", args: []string{"stopped-pod"}, error: "capmon profile -- podman start -a stopped-pod"},
		{name: "stopped, by ID", args: []string{"dd"}, error: `"old" is not running`},
		{name: "unknown", args: []string{"weby"}, error: `no container "weby": the nearest that run are web, wed`},
		{name: "prefix of a name", args: []string{"we"}, error: `the nearest that run are web, wed`},
		{name: "empty", args: []string{""}, error: `no container ""`},
	} {
		t.Run(test.name, func(t *testing.T) {
			infos, err := Resolve(t.Context(), engine, test.args)
			if test.error != "" {
				if err == nil || !strings.Contains(err.Error(), test.error) {
					t.Fatalf("got %v; want %s", err, test.error)
				}
				return
			}
			var got []string
			for _, info := range infos {
				got = append(got, info.Name)
			}
			if err != nil || !slices.Equal(got, test.want) {
				t.Errorf("got %v, %v; want %v", got, err, test.want)
			}
		})
	}
}

// Docker decides what a name means.
func TestResolveAsDockerDoes(t *testing.T) {
	docker, c := engine(t), through{t, ""}
	one := c.create("bb", "sleep", "1000")
	c.output("start", one)
	for _, name := range []string{
		one[:3],  // the beginning of the first container's ID
		one[:12], // the ID of the first container as docker ps shows it
		one,
	} {
		c.output("start", c.create("--name="+name, "bb", "sleep", "1000"))
	}
	for _, name := range []string{one[:3], "/" + one[:3], one[:12], one[:13], one[:63], one, "/" + one} {
		want := c.output("inspect", "--format={{.Id}}", name)
		infos, err := Resolve(t.Context(), docker, []string{name})
		if err != nil || len(infos) != 1 || infos[0].ID != want {
			t.Errorf("%s: got %+v, %v; docker has %s", name, infos, err, want)
		}
	}
}

func TestUnknownErrorListsAtMostThree(t *testing.T) {
	engine := listed{infos: []Info{
		{Name: "wex", Running: true}, {Name: "web", Running: true}, {Name: "web1", Running: true}, {Name: "zzzzz", Running: true}, {Name: "wey"},
	}}
	_, err := Resolve(t.Context(), engine, []string{"we1"})
	var unknown *UnknownError
	if !errors.As(err, &unknown) {
		t.Fatalf("got %v", err)
	}
	if want := []string{"web", "web1", "wex"}; !slices.Equal(unknown.Nearest, want) || unknown.Name != "we1" {
		t.Errorf("got %+v; want %v", unknown, want)
	}
	if _, err := Resolve(t.Context(), listed{}, []string{"web"}); err == nil || !strings.Contains(err.Error(), "no container is running") {
		t.Errorf("without any container: %v", err)
	}
}
