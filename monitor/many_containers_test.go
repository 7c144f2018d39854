package monitor

import (
	"flag"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/capability"
)

// make soak sets a larger number.
var manyChecks = flag.Int("checks", 2_000_000, "how many checks TestManyChecksInManyContainersAreCountedExactly has made")

const manyContainers = 1000

// checkingCalls are system calls that check one capability once.
var checkingCalls = []struct {
	capability capability.Capability
	once       func(foreign string) error
}{
	{capability.Setuid, func(string) error { return setuidCall() }},
	{capability.Setgid, func(string) error {
		if _, _, errno := unix.RawSyscall(unix.SYS_SETGID, 0, 0, 0); errno != 0 {
			return fmt.Errorf("setgid: %w", errno)
		}
		return nil
	}},
	{capability.NetRaw, func(string) error {
		raw, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP)
		if err != nil {
			return fmt.Errorf("socket: %w", err)
		}
		return unix.Close(raw)
	}},
	{capability.DACReadSearch, func(foreign string) error {
		file, err := unix.Open(foreign, unix.O_RDONLY, 0)
		if err != nil {
			return fmt.Errorf("open: %w", err)
		}
		return unix.Close(file)
	}},
}

// checkInCgroups enters the cgroups in a directory one after the other, beginning with a given one. In each it makes
// howOften checks of each kind: first alternating, and then one kind after the other.
func checkInCgroups(directory, foreign, firstOne, howOften string) error {
	first, err := strconv.Atoi(firstOne)
	if err != nil {
		return err
	}
	times, err := strconv.Atoi(howOften)
	if err != nil {
		return err
	}
	cgroups, err := filepath.Glob(filepath.Join(directory, "*", "cgroup.procs"))
	if err != nil {
		return err
	}
	for i := range cgroups {
		if err := os.WriteFile(cgroups[(first+i)%len(cgroups)], []byte("0"), 0); err != nil {
			return err
		}
		inTurn := times / 4
		for range inTurn {
			for _, call := range checkingCalls {
				if err := call.once(foreign); err != nil {
					return err
				}
			}
		}
		for _, call := range checkingCalls {
			for range times - inTurn {
				if err := call.once(foreign); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// foreignFile creates a file that nobody may read and that belongs to another user.
func foreignFile(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "foreign")
	if err := os.WriteFile(file, nil, 0); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(file, 4321, 4321); err != nil {
		t.Fatal(err)
	}
	return file
}

// Processes on all CPUs make checks in more containers than the caches have entries, while another process reads.
// capmon counts each check once, with the right kind.
func TestManyChecksInManyContainersAreCountedExactly(t *testing.T) {
	tree := newCgroupTree(t)
	var cgroups []string
	for range manyContainers {
		cgroups = append(cgroups, path.Join(tree.top, "docker-"+randomID()+".scope"))
		tree.make(cgroups[len(cgroups)-1])
	}
	workers := 2 * runtime.NumCPU()
	times := max(1, *manyChecks/manyContainers/workers/len(checkingCalls))
	want := uint64(workers * times)
	m := start(t, Options{Outcomes: true})

	ended := make(chan error, workers)
	foreign := foreignFile(t)
	for worker := range workers {
		cmd := helper(t, "check-in-cgroups", path.Join(tree.cgroups.Mount, tree.top), foreign,
			strconv.Itoa(worker*manyContainers/workers), strconv.Itoa(times))
		go func() {
			out, err := cmd.CombinedOutput()
			if err != nil {
				err = fmt.Errorf("%w\n%s", err, out)
			}
			ended <- err
		}()
	}
	reading := time.NewTicker(time.Second)
	defer reading.Stop()
	for left := workers; left > 0; {
		select {
		case err := <-ended:
			if err != nil {
				t.Fatal(err)
			}
			left--
		case <-reading.C:
			for cgroup, c := range tree.recorded(m, cgroups) {
				for _, call := range checkingCalls {
					if n := heldChecks(c, call.capability); n > want {
						t.Fatalf("%s: counted %d checks of %s during the test, but only %d are made", cgroup, n, call.capability, want)
					}
				}
			}
		}
	}

	recorded := tree.recorded(m, cgroups)
	if len(recorded) != manyContainers {
		t.Errorf("%d containers were seen, wanted %d", len(recorded), manyContainers)
	}
	for cgroup, c := range recorded {
		for _, call := range checkingCalls {
			if n := heldChecks(c, call.capability); n != want {
				t.Errorf("%s: counted %d checks of %s, wanted %d", cgroup, n, call.capability, want)
			}
		}
		if c.Lost != 0 {
			t.Errorf("%s: lost %d checks", cgroup, c.Lost)
		}
	}
	lossless(t, snapshot(t, m))
	t.Logf("%d checks in %d containers by %d processes", want*uint64(len(checkingCalls)*manyContainers), manyContainers, workers)
}

// heldChecks returns how often a container held a checked capability.
func heldChecks(c ContainerRecord, wanted capability.Capability) uint64 {
	return total(matching(c, func(check Check) bool {
		return check.Capability == wanted && check.Answer == Held
	}))
}
