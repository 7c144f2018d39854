package monitor

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sync/errgroup"

	"github.com/capmon/capmon/internal/containerid"
	"github.com/capmon/capmon/internal/testutil"
)

// checkInShortCgroups makes cgroups in a directory, one after the other. It enters each, makes howOften checks of each
// kind, leaves and removes the cgroup, and prints its name.
func checkInShortCgroups(directory, foreign, howMany, howOften string) error {
	cgroups, err := strconv.Atoi(howMany)
	if err != nil {
		return err
	}
	times, err := strconv.Atoi(howOften)
	if err != nil {
		return err
	}
	for range cgroups {
		cgroup := filepath.Join(directory, "docker-"+randomID()+".scope")
		if err := os.Mkdir(cgroup, 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(cgroup, "cgroup.procs"), []byte("0"), 0); err != nil {
			return err
		}
		for range times {
			for _, call := range checkingCalls {
				if err := call.once(foreign); err != nil {
					return err
				}
			}
		}
		if err := os.WriteFile(filepath.Join(directory, "cgroup.procs"), []byte("0"), 0); err != nil {
			return err
		}
		if err := os.Remove(cgroup); err != nil {
			return err
		}
		fmt.Println(filepath.Base(cgroup))
	}
	return nil
}

// collectWhenDue reads events and collects ended containers, like an observer, until the monitor is closed. times
// returns how often it collected.
func collectWhenDue(t *testing.T, m *Monitor) (times func() int) {
	var mu sync.Mutex
	var collections int
	closed := make(chan struct{})
	var working sync.WaitGroup
	working.Go(func() {
		defer close(closed)
		for {
			if _, err := m.Next(); errors.Is(err, ErrClosed) {
				return
			} else if err != nil {
				t.Errorf("reading an event: %v", err)
			}
		}
	})
	working.Go(func() {
		for {
			select {
			case <-closed:
				return
			case <-m.CollectionDue():
			}
			if err := m.CollectEnded(); err != nil {
				t.Errorf("collecting ended containers: %v", err)
			}
			mu.Lock()
			collections++
			mu.Unlock()
		}
	})
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
		working.Wait()
	})
	return func() int {
		mu.Lock()
		defer mu.Unlock()
		return collections
	}
}

// Many more containers come and go than fit in the maps, while another container makes checks. capmon counts each
// check, also during the test.
func TestCollectEndedMakesRoom(t *testing.T) {
	const (
		rounds, perRound = 20, 50
		times            = 60
		often            = 100_000
	)
	workers := 2 * runtime.NumCPU()
	m := start(t, Options{Outcomes: true, MaxChecks: 16384, MaxContainers: 1024})
	collections := collectWhenDue(t, m)
	tree, stays := newCgroupTree(t), newCgroupTree(t)
	foreign := foreignFile(t)
	bystander := path.Join(stays.top, "docker-"+randomID()+".scope")
	stays.make(bystander)

	var staying errgroup.Group
	staying.Go(func() error {
		return output(helper(t, "check-in-cgroups", path.Join(stays.cgroups.Mount, stays.top), foreign, "0", strconv.Itoa(often)), nil)
	})
	ended := make(map[string]bool)
	for range rounds {
		var mu sync.Mutex
		var passing errgroup.Group
		for range workers {
			passing.Go(func() error {
				return output(helper(t, "check-in-short-cgroups", path.Join(tree.cgroups.Mount, tree.top), foreign, strconv.Itoa(perRound), strconv.Itoa(times)), func(name string) {
					mu.Lock()
					defer mu.Unlock()
					id, _ := containerid.FromCgroup(name)
					ended[id] = true
				})
			})
		}
		if err := passing.Wait(); err != nil {
			t.Fatal(err)
		}
		testutil.Eventually(t, "the map has room again", func() bool { return m.CollectEnded() == nil && containersInMap(t, m) < 512 })
	}
	if err := staying.Wait(); err != nil {
		t.Fatal(err)
	}

	s := snapshot(t, m)
	lossless(t, s)
	seen := 0
	for _, c := range s.Containers {
		if !ended[c.ID] {
			continue
		}
		seen++
		if !c.Ended || c.Lost != 0 {
			t.Errorf("%s: ended %t, lost %d checks", c.ID, c.Ended, c.Lost)
		}
		for _, call := range checkingCalls {
			if n := heldChecks(c, call.capability); n != times {
				t.Errorf("%s: counted %d checks of %s, wanted %d", c.ID, n, call.capability, times)
			}
		}
	}
	if want := rounds * perRound * workers; seen != want || len(ended) != want {
		t.Errorf("%d of %d containers are there", seen, want)
	}
	for _, call := range checkingCalls {
		if n := heldChecks(stays.recorded(m, []string{bystander})[bystander], call.capability); n != often {
			t.Errorf("counted %d checks of %s of the container that kept running, wanted %d", n, call.capability, often)
		}
	}
	if collections() == 0 {
		t.Error("the monitor never sent a high water value")
	}
}

// output calls each for every line that a command prints.
func output(cmd interface{ CombinedOutput() ([]byte, error) }, each func(line string)) error {
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	for text := range strings.Lines(string(out)) {
		each(strings.TrimSpace(text))
	}
	return nil
}

// containersInMap returns the number of containers in the kernel's map.
func containersInMap(t *testing.T, m *Monitor) (n int) {
	t.Helper()
	var next uint64
	for err := m.attached.maps.Containers.NextKey(nil, &next); err == nil; err = m.attached.maps.Containers.NextKey(next, &next) {
		n++
	}
	return n
}

// CollectEnded does not change the data of a container. A late event still has the ID of its container.
func TestCollectEndedDoesNotChangeSnapshots(t *testing.T) {
	m := start(t, Options{Outcomes: true})
	other := start(t, Options{Outcomes: true})
	id := run(t, "bb", "sh", "-c", `
		touch /tmp/f; chown 5 /tmp/f; ping -c1 127.0.0.1; su user -c 'ping -c1 127.0.0.1'
		probe repeat 3000 setuid0; cat /data/secret; chroot / true`)
	running := launch(t, "bb", "sleep", "1000")
	cgroup := find(t, m, id).Cgroup
	testutil.Eventually(t, "its cgroup is gone", func() bool {
		if err := m.CollectEnded(); err != nil {
			t.Fatal(err)
		}
		return m.collected[cgroup] != nil
	})
	filesLeft, err := m.readFiles(nil)
	if err != nil || len(filesLeft[cgroup]) > 0 {
		t.Errorf("%d files are left in the map: %v", len(filesLeft[cgroup]), err)
	}
	left, err := m.checksInMap(func(id uint64) bool { return id == cgroup })
	if err != nil || len(left) > 0 {
		t.Errorf("%d kinds are left in the map: %v", len(left), err)
	}
	equalExceptTimes(t, find(t, m, id), find(t, other, id))
	if len(find(t, m, id).Files) == 0 {
		t.Error("no file is there")
	}
	if c := find(t, m, running); c.Ended || len(c.Checks) == 0 {
		t.Errorf("the one that runs: ended %t, %d kinds of check", c.Ended, len(c.Checks))
	}
	for {
		event, err := m.Next()
		if err != nil {
			t.Fatal(err)
		}
		if event.Cgroup != cgroup {
			continue
		}
		if event.ID != id {
			t.Errorf("an event of %q, wanted %s", event.ID, id)
		}
		if event.Execution != nil {
			if event.Execution.Path == "" {
				t.Errorf("an execution without a path: %+v", event.Execution)
			}
			return
		}
	}
}

// equalExceptTimes fails if two monitors have different data about a container, except for times.
func equalExceptTimes(t *testing.T, one, other ContainerRecord) {
	t.Helper()
	timeless := func(c ContainerRecord) ContainerRecord {
		c.FirstSeen, c.Started, c.LastActivity, c.CgroupInfo.FirstSeen = time.Time{}, time.Time{}, time.Time{}, time.Time{}
		for i := range c.Checks {
			c.Checks[i].First, c.Checks[i].Last = time.Time{}, time.Time{}
		}
		for i := range c.Executions {
			c.Executions[i].First, c.Executions[i].Last = time.Time{}, time.Time{}
		}
		for i := range c.Files {
			c.Files[i].First, c.Files[i].Last = time.Time{}, time.Time{}
		}
		slices.SortFunc(c.Files, func(a, b FileUse) int { return cmp.Compare(fmt.Sprintf("%+v", a), fmt.Sprintf("%+v", b)) })
		slices.SortFunc(c.Checks, func(a, b Check) int { return cmp.Compare(fmt.Sprintf("%+v", a), fmt.Sprintf("%+v", b)) })
		slices.SortFunc(c.Executions, func(a, b Execution) int { return cmp.Compare(fmt.Sprintf("%+v", a), fmt.Sprintf("%+v", b)) })
		return c
	}
	one, other = timeless(one), timeless(other)
	if a, b := fmt.Sprintf("%+v", one), fmt.Sprintf("%+v", other); a != b {
		t.Errorf("the data differs:\n%s\n%s", a, b)
	}
}

// collectInNamespace runs in a process that sees only the cgroups of a cgroup namespace.
func collectInNamespace() error {
	m, err := Start(Options{})
	if err != nil {
		return err
	}
	if err := setuidCall(); err != nil {
		return err
	}
	collectErr := m.CollectEnded()
	s, err := m.Snapshot()
	if err := errors.Join(err, m.Close()); err != nil {
		return err
	}
	if !errors.Is(collectErr, ErrNotAllCgroups) {
		return fmt.Errorf("the error is %w", collectErr)
	}
	if !slices.ContainsFunc(s.Containers, func(c ContainerRecord) bool { return len(matching(c, setuidZero)) > 0 }) {
		return errors.New("the container that runs is not there")
	}
	return nil
}

// A process that cannot see a container's cgroup cannot know whether it is gone.
func TestCollectEndedFailsInACgroupNamespace(t *testing.T) {
	tree := newCgroupTree(t)
	mounts, err := mountinfo.GetMounts(func(info *mountinfo.Info) (skip, stop bool) {
		return info.Mountpoint != tree.cgroups.Mount, false
	})
	if err != nil || len(mounts) != 1 {
		t.Fatalf("%d mounts at %s: %v", len(mounts), tree.cgroups.Mount, err)
	}
	tree.make(path.Join(tree.top, "docker-"+randomID()+".scope"))
	containers, err := filepath.Glob(path.Join(tree.cgroups.Mount, tree.top, "docker-*"))
	if err != nil || len(containers) != 1 {
		t.Fatal(containers, err)
	}
	cmd := helper(t, "collect-in-namespace")
	script := `echo 0 >"$1/cgroup.procs" && exec unshare --mount --cgroup sh -c 'umount -l "$1" && mount -t "$2" -o "$3" none "$1" && exec "$4"' sh "$2" "$3" "$4" "$5"`
	options := "rw"
	if tree.cgroups.Controller != "" {
		options = mounts[0].VFSOptions
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Path, cmd.Args = "/bin/sh", []string{"sh", "-c", script, "sh", containers[0], tree.cgroups.Mount, mounts[0].FSType, options, self}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
