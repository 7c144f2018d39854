package monitor

import (
	"os"
	"path"
	"testing"

	"github.com/capmon/capmon/internal/testutil"
)

// giveToUser makes a cgroup and gives it to a user.
func (tree cgroupTree) giveToUser(cgroup string) {
	tree.t.Helper()
	tree.make(cgroup)
	if err := os.Chown(path.Join(tree.cgroups.Mount, cgroup), 4711, 4711); err != nil {
		tree.t.Fatal(err)
	}
}

// container returns the container that the monitor recorded for a cgroup. The test fails unless it has this number of
// checks.
func (tree cgroupTree) container(m *Monitor, cgroup string, checks uint64) ContainerRecord {
	tree.t.Helper()
	c, found := tree.recorded(m, []string{cgroup})[cgroup]
	if got := total(matching(c, setuidZero)); !found || got != checks {
		tree.t.Errorf("recorded %d checks in %s, wanted %d", got, cgroup, checks)
	}
	return c
}

func TestCgroupInfoSaysWhetherOnlyRootCanMakeTheCgroup(t *testing.T) {
	m := start(t, Options{})
	tree := newCgroupTree(t)
	rooted := tree.check(randomID())[1]
	tree.giveToUser(path.Join(tree.top, "user"))
	delegated := tree.check("user", "slice", randomID())[3]
	tree.make(path.Join(tree.top, "shared"))
	if err := os.Chmod(path.Join(tree.cgroups.Mount, tree.top, "shared"), 0o775); err != nil {
		t.Fatal(err)
	}
	shared := tree.check("shared", randomID())[2]
	tree.make(path.Join(tree.top, "given"))
	given := tree.check("given", randomID())[2]
	tree.giveToUser(given) // like Delegate= of systemd, or userns-remap
	tree.check("given", path.Base(given), "below")
	for cgroup, want := range map[string]struct {
		rooted bool
		checks uint64
	}{rooted: {true, 1}, delegated: {false, 1}, shared: {false, 1}, given: {true, 2}} {
		if c := tree.container(m, cgroup, want.checks); c.CgroupInfo.OnlyRootCanCreate != want.rooted || c.CgroupInfo.Folded || c.CgroupInfo.Name != path.Base(cgroup) {
			t.Errorf("%s: %+v", cgroup, c.CgroupInfo)
		}
		inUserSpace, err := tree.cgroups.Delegated(path.Dir(cgroup))
		if err != nil || (inUserSpace == 0) != want.rooted {
			t.Errorf("user space found %d above %s, %v", inUserSpace, cgroup, err)
		}
	}
}

// A user who can make cgroups gets a limited number of slots, and more only if an engine makes its containers there.
// Checks in the other cgroups are not lost.
func TestSlotsOfOneUserAreLimited(t *testing.T) {
	const more = 6
	m := start(t, Options{})
	tree := newCgroupTree(t)
	user := path.Join(tree.top, "user")
	tree.giveToUser(user)
	candidate := func(slice string) string { return tree.check("user", slice, randomID())[3] }
	var first string
	for i := range int(slotsEach) {
		first = candidate([]string{"one", "two"}[i%2]) // another cgroup in between does not give the user more slots
		tree.container(m, first, 1)
	}
	for range more {
		if recorded := tree.recorded(m, []string{candidate("one")}); len(recorded) > 0 {
			t.Errorf("recorded one by one: %v", recorded)
		}
	}
	if c := tree.container(m, user, more); !c.CgroupInfo.Folded || c.CgroupInfo.OnlyRootCanCreate || c.ID != "" || c.CgroupInfo.Name != "user" {
		t.Errorf("%+v", c.CgroupInfo)
	}
	// A cgroup without a container's name is not recorded.
	tree.check("user", "session")
	tree.container(m, user, more)

	// Other users still have slots.
	tree.container(m, tree.check(randomID())[1], 1)
	tree.giveToUser(path.Join(tree.top, "other"))
	tree.container(m, tree.check("other", randomID())[2], 1)

	if err := m.TrustSiblings(first); err != nil {
		t.Fatal(err)
	}
	for range more {
		tree.container(m, candidate("one"), 1)
	}
	lossless(t, snapshot(t, m))
}

// The slots of a user are free again after the cgroups are removed.
func TestSlotsAreFreed(t *testing.T) {
	const rounds = 3
	const each = slotsEach/rounds + 2 // more in total than there are slots
	m := start(t, Options{})
	tree := newCgroupTree(t)
	tree.giveToUser(path.Join(tree.top, "user"))
	for range rounds {
		pending := make(map[uint64]bool)
		for range each {
			cgroup := tree.check("user", randomID())[2]
			pending[tree.container(m, cgroup, 1).Cgroup] = true
			testutil.Eventually(t, "the cgroup can be removed", func() bool { return os.Remove(path.Join(tree.cgroups.Mount, cgroup)) == nil })
		}
		testutil.Eventually(t, "their data is saved", func() bool {
			if err := m.SaveEnded(func(cgroup uint64, _ string) bool { return pending[cgroup] }, func(ended Snapshot) error {
				for _, c := range ended.Containers {
					delete(pending, c.Cgroup)
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			return len(pending) == 0
		})
	}
}

// Cgroups of a user that are nested too deeply, and may be containers, are folded into one entry.
func TestTooDeepContainersOfAUserAreFolded(t *testing.T) {
	m := start(t, Options{})
	tree := newCgroupTree(t)
	user := path.Join(tree.top, "user")
	tree.giveToUser(user)
	tree.check(append(append([]string{"user"}, below(maxDepth)...), randomID())...)
	if c := tree.container(m, user, 1); !c.CgroupInfo.Folded {
		t.Errorf("%+v", c.CgroupInfo)
	}
	lossless(t, snapshot(t, m))
}
