package monitor

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/capmon/capmon/internal/testutil"
	"github.com/capmon/capmon/internal/testutil/testlock"
)

// countInCaches returns how many of a container's checks are counted in the per-CPU caches.
func countInCaches(t *testing.T, m *Monitor, cgroup uint64) (n uint64) {
	t.Helper()
	perCPU, err := m.readCheckCaches()
	if err != nil {
		t.Fatal(err)
	}
	for i := range perCPU {
		for _, cached := range perCPU[i].Checks {
			if cached.Key.Container == cgroup {
				n += cached.Count
			}
		}
	}
	return n
}

// Cached call sites give the same result as stack walks: the same kinds of check, with the same call sites and counts.
func TestCachedCallSitesEqualWalkedOnes(t *testing.T) {
	caching, walking := start(t, Options{Outcomes: true}), start(t, Options{Outcomes: true, NoStackCache: true})
	id := run(t, "bb", "sh", "-c", `
		touch /tmp/f; chown 5 /tmp/f; ping -c1 127.0.0.1; su user -c true
		probe repeat 3000 setuid0 & probe repeat 3000 setgid0 & wait
		probe repeat 500 rawsock; probe grow-stack 300; probe fork 100; probe thread true; probe vfork true
		for i in 1 2 3 4 5 6 7 8 9 10 11 12; do cat /data/secret; chroot / true; done`)
	c := find(t, caching, id)
	counts, walked := rawChecks(t, caching, c.Cgroup), rawChecks(t, walking, c.Cgroup)
	for key, count := range walked {
		if counts[key] != count {
			t.Errorf("counted %d with the cache and %d with walks: %+v", counts[key], count, key)
		}
	}
	for key, count := range counts {
		if walked[key] == 0 {
			t.Errorf("counted %d with the cache only: %+v", count, key)
		}
	}
	// Checks in an exception during a system call, when the stack grows.
	inFault := matching(c, func(check Check) bool {
		return check.Call.Name() == "read" && slices.Contains(check.Stack, "asm_exc_page_fault")
	})
	if n := total(inFault); n != 300 {
		t.Errorf("%d checks were made when the stack grew, wanted 300", n)
	}
	if n := countInCaches(t, caching, c.Cgroup); n < 500 {
		t.Errorf("only %d of %d checks used the cache", n, c.ChecksMade)
	}
	if n := countInCaches(t, walking, c.Cgroup); n != 0 {
		t.Errorf("%d checks used the cache", n)
	}
	lossless(t, snapshot(t, caching))
	lossless(t, snapshot(t, walking))
}

// If there are more kinds of check than cache entries, entries are reused and no count is lost.
func TestCountsSurviveReuseOfCacheEntries(t *testing.T) {
	caching, walking := start(t, Options{}), start(t, Options{NoStackCache: true})
	const rounds = 40
	var script string
	for range rounds {
		script += "probe repeat 20 setuid0; probe repeat 20 setgid0; probe repeat 20 rawsock; touch /tmp/f; chown 5 /tmp/f; cat /data/secret;"
	}
	id := run(t, "bb", "sh", "-c", script)
	c := find(t, caching, id)
	counts, walked := rawChecks(t, caching, c.Cgroup), rawChecks(t, walking, c.Cgroup)
	if len(counts) != len(walked) {
		t.Errorf("%d kinds and %d", len(counts), len(walked))
	}
	for key, count := range walked {
		if counts[key] != count {
			t.Errorf("counted %d with the cache and %d with walks: %+v", counts[key], count, key)
		}
	}
	if n := countInCaches(t, caching, c.Cgroup); n == 0 || n == c.ChecksMade {
		t.Errorf("%d of %d checks are counted in the caches", n, c.ChecksMade)
	}
}

// corruptCaches changes the call sites in the check caches for a container.
func corruptCaches(t *testing.T, m *Monitor, cgroup uint64) {
	t.Helper()
	perCPU, err := m.readCheckCaches()
	if err != nil {
		t.Fatal(err)
	}
	for i := range perCPU {
		for j := range perCPU[i].Checks {
			if cached := &perCPU[i].Checks[j]; cached.Key.Container == cgroup {
				cached.Key.Site[1]++
			}
		}
	}
	if err := m.attached.maps.CheckCaches.Put(uint32(0), perCPU); err != nil {
		t.Fatal(err)
	}
}

// If a cached call site is wrong nevertheless, the programs detect and count that, and stop using cached call sites.
func TestWrongCachedCallSitesAreDetected(t *testing.T) {
	testlock.Losses(t)
	m := start(t, Options{})
	directory, options := within(t)
	command := append(options, "--cpuset-cpus=0", "bb", "sh", "-c", `
		probe repeat 500 setuid0; touch /shared/cached
		until [ -e /shared/spoiled ]; do sleep 0.01; done
		probe repeat 3000 setuid0; touch /shared/done; sleep 1000`)
	id := launch(t, command...)
	await(t, directory, "cached")
	c := find(t, m, id)
	if n := countInCaches(t, m, c.Cgroup); n < 400 {
		t.Fatalf("only %d checks used the cache", n)
	}
	corruptCaches(t, m, c.Cgroup)
	if err := os.WriteFile(filepath.Join(directory, "spoiled"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	await(t, directory, "done")
	s := snapshot(t, m)
	if s.Losses.WrongCachedSites == 0 || !s.Losses.Any() {
		t.Errorf("no wrong call site was detected: %+v", s.Losses)
	}
	before := countInCaches(t, m, c.Cgroup)
	testutil.Docker(t, "exec", id, "probe", "repeat", "500", "setuid0")
	if now := countInCaches(t, m, c.Cgroup); now != before {
		t.Errorf("%d checks used the cache after that", now-before)
	}
}
