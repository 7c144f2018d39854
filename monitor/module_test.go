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

	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/kernel"
)

// moduleChainEpochs returns the epochs of a container's cached call chains that contain code of modules.
func moduleChainEpochs(t *testing.T, m *Monitor, cgroup uint64) (epochs []uint32) {
	t.Helper()
	perCPU, err := m.readCheckCaches()
	if err != nil {
		t.Fatal(err)
	}
	for i := range perCPU {
		for _, memo := range perCPU[i].Memo {
			if memo.Key.Container == cgroup && memo.Chain.Modular != 0 && memo.Chain.Address[0] != 0 {
				epochs = append(epochs, memo.Chain.Epoch)
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
	remembering, walking := start(t, Options{}), start(t, Options{NoStackCache: true})
	directory, options := within(t)
	const each = 400
	id := launch(t, append(options, "bb", "sh", "-c", `
		look() { i=0; while [ $i -lt $1 ]; do read x </data/secret; i=$((i+1)); done; }
		look 400; touch /shared/looked
		until [ -e /shared/removed ]; do sleep 0.01; done
		look 400; touch /shared/done; sleep 1000`)...)
	await(t, directory, "looked")
	c := find(t, remembering, id)
	remembered := overlayIsModule(t) && runtime.GOARCH == "amd64" && remembering.Hook() != Kprobe
	var before uint32
	if remembered {
		epochs := moduleChainEpochs(t, remembering, c.Cgroup)
		if len(epochs) == 0 || countInCaches(t, remembering, c.Cgroup) < each {
			t.Fatalf("%d chains through modules, and %d checks told from memory", len(epochs), countInCaches(t, remembering, c.Cgroup))
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
	if remembered {
		if epochs := moduleChainEpochs(t, remembering, c.Cgroup); len(epochs) == 0 || slices.Max(epochs) == before {
			t.Errorf("nothing was learned anew when a module had been removed")
		}
	}
	docker(t, "kill", id)
	counts, walked := rawChecks(t, remembering, c.Cgroup), rawChecks(t, walking, c.Cgroup)
	skipped := allowedSkips(t, remembering) + allowedSkips(t, walking)
	begin, end, ok := remembering.symbols.Text()
	if !ok {
		t.Fatal("the kernel does not show where its code is")
	}
	for key, count := range walked {
		if from := key.Site[0]; from <= begin || from > end {
			t.Errorf("no function of the kernel asked for %s: %v", capability.Capability(key.Capability), remembering.symbols.Frames(key.Site[:]))
		}
		if max(counts[key], count)-min(counts[key], count) > skipped {
			t.Errorf("counted %d from memory and %d by walks: %+v", counts[key], count, key)
		}
	}
	for key, count := range counts {
		if _, ok := walked[key]; !ok && count > skipped {
			t.Errorf("counted %d from memory and none by walks: %+v", count, key)
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
