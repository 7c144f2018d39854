package monitor

import (
	"testing"

	"github.com/capmon/capmon/internal/testutil"
	"github.com/capmon/capmon/internal/testutil/testlock"
)

// manyKinds makes many more kinds of check than fit in a small map.
var manyKinds = []string{"bb", "sh", "-c", "probe repeat 50 setuid0; probe repeat 60 setgid0; probe repeat 70 rawsock; cat /data/secret; probe fork 20"}

func TestChecksThatDoNotFitAreCounted(t *testing.T) {
	const room = 8
	roomy, tiny := start(t, Options{}), start(t, Options{MaxChecks: room})
	id := run(t, manyKinds...)
	if err := tiny.Stop(); err != nil {
		t.Fatal(err)
	}
	all, some := find(t, roomy, id), find(t, tiny, id)
	if some.Lost == 0 || some.ChecksMade != total(some.Checks)+some.Lost {
		t.Errorf("made %d, recorded %d, lost %d", some.ChecksMade, total(some.Checks), some.Lost)
	}
	if all.Lost != 0 || all.ChecksMade != some.ChecksMade {
		t.Errorf("made %d checks with room for all and %d without", all.ChecksMade, some.ChecksMade)
	}
	// Counts of unfolded checks are complete.
	counts := rawChecks(t, roomy, all.Cgroup)
	for key, count := range rawChecks(t, tiny, some.Cgroup) {
		if foldingOf(&key.Comm) == Unfolded && counts[key] != count {
			t.Errorf("counted %d with room for all and %d without: %+v", counts[key], count, key)
		}
	}

	// Together, the containers do not have more entries than the map.
	s := snapshot(t, tiny)
	var kinds int
	var lost uint64
	for _, c := range s.Containers {
		kinds += len(c.Checks)
		lost += c.Lost
	}
	if kinds == 0 || kinds > room {
		t.Errorf("%d kinds were recorded with room for %d", kinds, room)
	}
	if !s.Losses.Any() || s.Losses.Checks != lost {
		t.Errorf("the containers lost %d checks, the host %+v", lost, s.Losses)
	}
}

// checksOutside returns the number of checks in all that belong to containers that are not in some.
func checksOutside(all, some Snapshot) (n uint64) {
	recorded := make(map[uint64]bool)
	for _, c := range some.Containers {
		recorded[c.Cgroup] = true
	}
	for _, c := range all.Containers {
		if !recorded[c.Cgroup] {
			n += c.ChecksMade
		}
	}
	return n
}

func TestContainersThatDoNotFitAreCounted(t *testing.T) {
	roomy, tiny := start(t, Options{}), start(t, Options{MaxContainers: 1})
	ids := []string{run(t, manyKinds...), run(t, manyKinds...)}
	if err := tiny.Stop(); err != nil {
		t.Fatal(err)
	}
	s := snapshot(t, tiny)
	if len(s.Containers) != 1 {
		t.Fatalf("%d containers were recorded with room for one", len(s.Containers))
	}

	var lost uint64
	for _, id := range ids {
		all := find(t, roomy, id)
		switch some := runs(s, id); {
		case len(some) == 0:
			lost += all.ChecksMade
		case some[0].ChecksMade != all.ChecksMade || some[0].Lost != 0:
			t.Errorf("the container with room made %d of %d checks, lost %d", some[0].ChecksMade, all.ChecksMade, some[0].Lost)
		}
	}
	if lost == 0 || s.Losses.Containers < lost {
		t.Errorf("%d of %d lost checks were counted", s.Losses.Containers, lost)
	}
	// The other monitor may not have counted the deferred checks of other containers yet.
	testutil.Eventually(t, "no more losses are counted than there are", func() bool {
		return s.Losses.Containers <= checksOutside(snapshot(t, roomy), s)
	})
}

// If more containers run than fit in the map, Start counts the losses and does not fail.
func TestStartSucceedsWithMoreContainersThanFit(t *testing.T) {
	ids := []string{launch(t, "bb", "sleep", "1000"), launch(t, "bb", "sleep", "1000")}
	m := start(t, Options{MaxContainers: 1})
	for _, id := range ids {
		testutil.Docker(t, "exec", id, "probe", "setuid0")
	}
	if s := snapshot(t, m); len(s.Containers) != 1 || s.Losses.Containers == 0 {
		t.Errorf("%d containers, losses %+v", len(s.Containers), s.Losses)
	}
}

// A process that is nested too deeply belongs to the topmost container.
func TestDeepCgroupsBelongToTheTopmostContainer(t *testing.T) {
	m := start(t, Options{})
	for _, depth := range []int{maxDepth, maxDepth + 1, 100, 300} {
		tree := newCgroupTree(t)
		cgroups := tree.check(append([]string{"slice", randomID()}, below(depth)...)...)
		recorded := tree.recorded(m, cgroups)
		if got := total(matching(recorded[cgroups[2]], setuidZero)); got != 1 || len(recorded) != 1 {
			t.Errorf("%d deep: recorded %d checks of the container, wanted 1: %v", depth, got, recorded)
		}
	}
	lossless(t, snapshot(t, m))
}

// A container that is nested too deeply looks like a cgroup that is not a container. Every monitor on the host counts
// this loss.
func TestTooDeepContainersAreCounted(t *testing.T) {
	testlock.Losses(t)
	m := start(t, Options{})
	tree := newCgroupTree(t)
	cgroups := tree.check(append(below(maxDepth+1), randomID())...)
	if recorded, losses := tree.recorded(m, cgroups), snapshot(t, m).Losses; len(recorded) > 0 || losses.CgroupTooDeep == 0 {
		t.Errorf("recorded %v, losses %+v", recorded, losses)
	}
}
