package monitor

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/internal/kernel"
	"github.com/capmon/capmon/internal/testutil"
)

// The programs record an announced container from the first check after its cgroup was made. Nothing in user space runs
// in between. The cgroups above the container's need not exist before.
func TestExpectedContainersAreRecordedFromTheFirstCheck(t *testing.T) {
	t.Parallel()
	m := start(t, Options{})
	tree := newCgroupTree(t)
	var want []string
	for i := range 10 {
		id := fmt.Sprintf("default/expected-%d-%s", i, randomID()[:8])
		expect(t, m, path.Join(tree.top, "namespace", path.Base(id)), id)
		want = append(want, id)
	}
	for _, id := range want {
		tree.check("namespace", path.Base(id))
		tree.check("namespace", path.Base(id), "inner")
	}
	all := snapshot(t, m)
	for _, id := range want {
		of := runs(all, id)
		if len(of) != 1 || of[0].Existed || !of[0].CgroupInfo.OnlyRootCanCreate || total(matching(of[0], setuidZero)) != 2 {
			t.Errorf("%s: recorded %+v, wanted 2 checks", id, of)
		}
	}
	if err := m.ForgetExpected(want...); err != nil || len(m.Expected()) > 0 {
		t.Errorf("%v, %v", m.Expected(), err)
	}
}

// A container that is started again gets another cgroup with the same path.
func TestExpectedContainersAreRecordedAtEachStart(t *testing.T) {
	t.Parallel()
	m := start(t, Options{})
	tree := newCgroupTree(t)
	where, id := path.Join(tree.top, "web"), "default/"+randomID()[:8]
	expect(t, m, where, id)
	for range 2 {
		tree.check("web")
		tree.remove(where)
	}
	if err := m.ForgetExpected(id); err != nil {
		t.Fatal(err)
	}
	tree.check("web")
	if all := runs(snapshot(t, m), id); len(all) != 2 || total(matching(all[0], setuidZero)) != 1 || total(matching(all[1], setuidZero)) != 1 {
		t.Errorf("recorded %+v, wanted two runs", all)
	}
}

// A cgroup with the name of an announced container at another place, in another container or in another hierarchy is
// not the container's, nor is one that existed before.
func TestOnlyThePathOfTheEngineIsExpected(t *testing.T) {
	t.Parallel()
	m := start(t, Options{})
	tree := newCgroupTree(t)
	outer, existing, shared := randomID(), "default/"+randomID()[:8], "default/"+randomID()[:8]
	inside, forged := "default/"+randomID()[:8], "default/"+randomID()[:8]
	tree.make(path.Join(tree.top, "existing"))
	expect(t, m, path.Join(tree.top, "existing"), existing)
	expect(t, m, path.Join(tree.top, outer, "inside"), inside)
	expect(t, m, path.Join(tree.top, "web"), forged)
	expect(t, m, path.Join(tree.top, "shared"), shared)
	expect(t, m, path.Join(tree.top, "shared"), shared+"-too")
	tree.check("existing")
	tree.check("other", "web")
	tree.check(outer, "inside")
	tree.check(outer, tree.top, "web")
	tree.makeInOtherHierarchies("web")
	tree.check("shared")
	all := snapshot(t, m)
	for _, id := range []string{existing, inside, forged, shared, shared + "-too"} {
		if of := runs(all, id); len(of) > 0 {
			t.Errorf("recorded %+v", of)
		}
	}
	if of := runs(all, outer); len(of) != 1 || total(matching(of[0], setuidZero)) != 2 {
		t.Errorf("the outer container: recorded %+v, wanted 2 checks", of)
	}
	if err := m.ForgetExpected(shared + "-too"); err != nil {
		t.Fatal(err)
	}
	tree.remove(path.Join(tree.top, "shared"))
	tree.check("shared")
	if of := runs(snapshot(t, m), shared); len(of) != 1 {
		t.Errorf("after the other container with this path is gone: recorded %+v", of)
	}
}

// A user who owns the cgroup above can make the container's cgroup. So it needs a confirmation, like a cgroup with the
// name of a container.
func TestExpectedContainersInDelegatedCgroups(t *testing.T) {
	t.Parallel()
	m := start(t, Options{})
	tree := newCgroupTree(t)
	id := "default/" + randomID()[:8]
	expect(t, m, path.Join(tree.top, "users", "web"), id)
	tree.make(path.Join(tree.top, "users"))
	if err := os.Chown(path.Join(tree.cgroups.Mount, tree.top, "users"), 1000, -1); err != nil {
		t.Fatal(err)
	}
	tree.check("users", "web")
	if of := runs(snapshot(t, m), id); len(of) != 1 || of[0].CgroupInfo.OnlyRootCanCreate {
		t.Errorf("recorded %+v", of)
	}
}

func TestImpossibleExpectations(t *testing.T) {
	t.Parallel()
	m := start(t, Options{})
	for where, id := range map[string]string{
		"/": "default/a", "": "default/b", "a/b": "default/c", "/a/../b": "default/d", "/a/": "default/e",
		"/" + strings.Repeat("x", 300): "default/f", "/a": "default/" + strings.Repeat("x", 200),
	} {
		if err := m.ExpectContainer(where, id); !errors.Is(err, os.ErrInvalid) {
			t.Errorf("%q: %v", where, err)
		}
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(m.ExpectContainer("/a", "default/a")); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if err := m.ForgetExpected("default/a"); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

// The oldest announcement gives way.
func TestMoreExpectedContainersThanFit(t *testing.T) {
	t.Parallel()
	m := start(t, Options{MaxContainers: 4})
	var ids []string
	for i := range 6 {
		ids = append(ids, fmt.Sprintf("default/%d", i))
		expect(t, m, "/capmon-test/"+ids[i], ids[i])
		expect(t, m, "/capmon-test/"+ids[i], ids[i])
	}
	if got := m.Expected(); !slices.Equal(got, ids[2:]) || m.EvictedExpected() != 2 {
		t.Errorf("%v are announced, %d gave way", got, m.EvictedExpected())
	}
}

// The announcements outlive the process, like a pinned recording.
func TestExpectedContainersOfAPinnedRecording(t *testing.T) {
	t.Parallel()
	pins, tree := newPinDirectory(t), newCgroupTree(t)
	id := "default/" + randomID()[:8]
	m := start(t, Options{PinDirectory: pins})
	expect(t, m, path.Join(tree.top, "web"), id)
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	tree.check("web")
	again := start(t, Options{PinDirectory: pins})
	if of := runs(snapshot(t, again), id); len(of) != 1 || !slices.Equal(again.Expected(), []string{id}) {
		t.Errorf("recorded %+v, announced %v", of, again.Expected())
	}
}

func expect(t *testing.T, m *Monitor, where, id string) {
	t.Helper()
	if err := m.ExpectContainer(where, id); err != nil {
		t.Fatal(err)
	}
}

// makeInOtherHierarchies makes a cgroup with the same path in all other hierarchies.
func (tree cgroupTree) makeInOtherHierarchies(name string) {
	tree.t.Helper()
	mounts, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("cgroup", "cgroup2"))
	if err != nil {
		tree.t.Fatal(err)
	}
	for _, mount := range mounts {
		other := cgroupTree{tree.t, kernel.Cgroups{Mount: mount.Mountpoint}, tree.top}
		if mount.Mountpoint != tree.cgroups.Mount && mount.Root == "/" {
			other.make(other.top)
			other.make(path.Join(other.top, name))
		}
	}
}

// remove removes a cgroup as soon as its last process has ended.
func (tree cgroupTree) remove(cgroup string) {
	tree.t.Helper()
	testutil.Eventually(tree.t, "the cgroup is removed", func() bool {
		return !errors.Is(unix.Rmdir(path.Join(tree.cgroups.Mount, cgroup)), unix.EBUSY)
	})
}
