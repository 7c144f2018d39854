package monitor

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/kernel"
	"github.com/capmon/capmon/internal/testutil"
)

// moduleChainEpochs returns the epochs of a container's cached call chains that contain code of modules.
func moduleChainEpochs(t *testing.T, m *Monitor, cgroup uint64) (epochs []uint32) {
	t.Helper()
	perCPU, err := m.readCheckCaches()
	if err != nil {
		t.Fatal(err)
	}
	for i := range perCPU {
		for _, cached := range perCPU[i].Checks {
			if cached.Key.Container == cgroup && cached.Chain.HasModuleCode != 0 && cached.Chain.Address[0] != 0 {
				epochs = append(epochs, cached.Chain.Epoch)
			}
		}
	}
	return epochs
}

// overlayIsModule reports whether overlayfs is a module. Some kernels have it built in.
func overlayIsModule(t *testing.T) bool {
	t.Helper()
	modules, err := os.ReadFile("/proc/modules")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return slices.ContainsFunc(strings.Split(string(modules), "\n"), func(line string) bool { return strings.HasPrefix(line, "overlay ") })
}

// A container's files are on overlayfs, which is a module in most kernels. Cached call sites in modules are right.
// After a module is removed, another one may use its addresses, so the programs learn all chains with modules again.
func TestCallSitesInModulesAreCached(t *testing.T) {
	caching, walking := start(t, Options{}), start(t, Options{NoStackCache: true})
	directory, options := within(t)
	const each = 400
	id := launch(t, append(options, "bb", "sh", "-c", `
		read_often() { i=0; while [ $i -lt $1 ]; do read x </data/secret; i=$((i+1)); done; }
		read_often 400; touch /shared/read
		until [ -e /shared/removed ]; do sleep 0.01; done
		read_often 400; touch /shared/done; sleep 1000`)...)
	await(t, directory, "read")
	c := find(t, caching, id)
	cachesModules := overlayIsModule(t) && runtime.GOARCH == "amd64" && caching.Hook() != Kprobe
	var before uint32
	if cachesModules {
		epochs := moduleChainEpochs(t, caching, c.Cgroup)
		if len(epochs) == 0 || countInCaches(t, caching, c.Cgroup) < each {
			t.Fatalf("%d chains through modules, and %d checks with the cache", len(epochs), countInCaches(t, caching, c.Cgroup))
		}
		before = epochs[0]
		// A module that nothing needs.
		for _, command := range [][]string{{"modprobe", "dummy"}, {"modprobe", "--remove", "dummy"}} {
			if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
				t.Fatalf("%s: %v\n%s", strings.Join(command, " "), err, out)
			}
		}
	}
	if err := os.WriteFile(filepath.Join(directory, "removed"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	await(t, directory, "done")
	if cachesModules {
		if epochs := moduleChainEpochs(t, caching, c.Cgroup); len(epochs) == 0 || slices.Max(epochs) == before {
			t.Errorf("no chain was learned again after a module was removed")
		}
	}
	testutil.Docker(t, "kill", id)
	counts, walked := rawChecks(t, caching, c.Cgroup), rawChecks(t, walking, c.Cgroup)
	skipped := allowedSkips(t, caching) + allowedSkips(t, walking)
	begin, end, ok := caching.symbols.Text()
	if !ok {
		t.Fatal("the kernel does not show where its code is")
	}
	for key, count := range walked {
		if from := key.Site[0]; from <= begin || from > end {
			t.Errorf("no kernel function checked %s: %v", capability.Capability(key.Capability), caching.symbols.Frames(key.Site[:]))
		}
		if max(counts[key], count)-min(counts[key], count) > skipped {
			t.Errorf("counted %d with the cache and %d with walks: %+v", counts[key], count, key)
		}
	}
	for key, count := range counts {
		if _, ok := walked[key]; !ok && count > skipped {
			t.Errorf("counted %d with the cache and none with walks: %+v", count, key)
		}
	}
}

// allowedSkips returns how many checks a monitor may lack. The test fails if the monitor lost anything else. On an
// emulated CPU, which is slow, a kernel that preempts programs can skip both copies of a program.
func allowedSkips(t *testing.T, m *Monitor) uint64 {
	t.Helper()
	preemption, err := kernel.PreemptionOfPrograms()
	if err != nil {
		t.Fatal(err)
	}
	s := snapshot(t, m)
	var skipped uint64
	if os.Getenv("CAPMON_GUEST") != "" && preemption.Trampolines {
		skipped, s.Losses.Skipped = s.Losses.Skipped, 0
	}
	lossless(t, s)
	return skipped
}
