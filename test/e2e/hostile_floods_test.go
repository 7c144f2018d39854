package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/capmon/capmon/internal/alert"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/testutil/testlock"
)

// names is the number of process names that attack-rename uses: more than fit in the map of checks.
const names = "140000"

// A container that renames itself for every check does not use up the room of others. capmon alerts on and reports what
// they do, and neither serve nor its database grows with the number of names.
//
// Not parallel: it limits the memory that serve needs for all containers of the machine.
func TestFloodOfNamesHidesNothing(t *testing.T) {
	s := serve(t, "--rules", "builtin")
	startSleeper(t, "quota-calm", "--cap-add=SYS_ADMIN")
	mustExecute(t, "docker", "run", "-d", "--name", "quota-flood", "bb", "attack-rename", names)
	t.Cleanup(func() { mustExecute(t, "docker", "rm", "-f", "quota-flood") })
	if status := mustExecute(t, "docker", "wait", "quota-flood"); status != "0\n" {
		t.Fatalf("the flood ended with %s", status)
	}
	mustExecute(t, "docker", "exec", "quota-calm", "probe", "rawsock")
	execute(t, "docker", "exec", "quota-calm", "mount", "-t", "tmpfs", "none", "/mnt")
	eventually(t, "the raw socket and the mount are alerted", func() bool {
		return s.alertsOf("quota-calm", "NET_RAW") > 0 && s.alertsOf("quota-calm", "SYS_ADMIN") > 0
	})
	s.Saved()
	s.ready()
	_, body := s.Get("/api/v1/report?container=quota-*")
	containers := parseReport(t, result{stdout: body})
	calm, flood := only(t, containers, "quota-calm"), only(t, containers, "quota-flood")
	if !calm.Complete || calm.Lost != 0 || !slices.Equal(calm.Required, caps("NET_RAW", "SYS_ADMIN")) {
		t.Errorf("the report of the calm container: %+v", calm)
	}
	if !flood.Complete || flood.Lost != 0 || !slices.Equal(flood.Required, caps("CHOWN")) || !strings.Contains(strings.Join(flood.Cautions, "\n"), "too many kinds of check") {
		t.Errorf("the report of the flood: complete %v, lost %d, %v, %v", flood.Complete, flood.Lost, flood.Required, flood.Cautions)
	}
	if len(body) > 4<<20 {
		t.Errorf("the report has %d bytes", len(body))
	}
	if size := fileSize(t, s.Database) + fileSize(t, s.Database+"-wal"); size > 16<<20 {
		t.Errorf("the database and its log have %d bytes", size)
	}
	if kB := peakMemory(t, s.Child.Pid); kB > 128<<10 {
		t.Errorf("serve took up to %d MiB of memory", kB>>10)
	}
}

// alertsOf counts the alerts of a container for a capability.
func (s *server) alertsOf(container, capability string) (n int) {
	s.T.Helper()
	_, body := s.Get("/api/v1/alerts?container=" + container)
	var alerts []alert.Alert
	if err := json.Unmarshal([]byte(body), &alerts); err != nil {
		s.T.Fatalf("%v: %s", err, body)
	}
	for _, one := range alerts {
		if one.Use.Capability.String() == capability {
			n++
		}
	}
	return n
}

func fileSize(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if os.IsNotExist(err) {
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// peakMemory returns the peak memory of a process, in KiB.
func peakMemory(t *testing.T, pid int) (kB int) {
	t.Helper()
	kB, err := readPeakMemory(pid)
	if err != nil {
		t.Fatal(err)
	}
	return kB
}

// readPeakMemory returns the peak memory of a process, in KiB, or an error if the process has ended.
func readPeakMemory(pid int) (kB int, err error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	_, err = fmt.Sscan(rest, &kB)
	return kB, err
}

// A flooding neighbour makes the profile of the requested container neither less exact nor incomplete.
func TestProfileNextToAFloodIsExact(t *testing.T) {
	t.Parallel()
	mustExecute(t, "docker", "run", "-d", "--name", "quota-neighbour", "bb", "attack-rename", names)
	t.Cleanup(func() { mustExecute(t, "docker", "rm", "-f", "quota-neighbour") })
	r := execute(t, binary, "profile", "-o", "json", "--", "docker", "run", "--rm", "--name", "quota-victim", "bb",
		"sh", "-c", "for i in 1 2 3 4 5 6 7 8 9 10; do probe rawsock; sleep 0.5; done; probe repeat 7 setuid0")
	victim := only(t, parseReport(t, r), "quota-victim")
	if r.code != 0 || !victim.Complete || victim.Lost != 0 || !slices.Equal(victim.Required, caps("NET_RAW")) {
		t.Errorf("exit code %d, %+v\n%s", r.code, victim, r.stderr)
	}
}

// capmon reports the uses of a container that varies arguments or executes constantly changing files. Only the
// container's own report has a caution. It is incomplete if file capabilities are unknown.
func TestFloodsOfArgumentsAndFilesAffectNoOthers(t *testing.T) {
	testlock.Losses(t)
	saved := t.TempDir() + "/profile.json"
	r := execute(t, binary, "profile", "-o", "json", "--save", saved, "--", "sh", "-ec",
		"docker run --rm --name quota-args bb attack-args 5000; docker run --rm --name quota-files bb attack-exec 20000; docker run --rm --name quota-honest bb probe rawsock; "+
			"docker run --rm --name quota-memory bb sh -c 'n=0; while [ $n -lt 600 ]; do probe memfd-exec chown-open /tmp 5; n=$((n+1)); done'")
	containers := parseReport(t, r)
	args, files, honest := only(t, containers, "quota-args"), only(t, containers, "quota-files"), only(t, containers, "quota-honest")
	if !slices.Equal(args.Required, caps("NET_RAW")) || !args.Complete || args.Lost != 0 {
		t.Errorf("the container that varies arguments: %v, complete %v, lost %d", args.Required, args.Complete, args.Lost)
	}
	if files.Complete || !strings.Contains(strings.Join(files.Cautions, "\n"), "executed more different programs than capmon records") {
		t.Errorf("the container that executes many files: complete %v, %v", files.Complete, files.Cautions)
	}
	// Memory files cannot carry capabilities, however many there are.
	if memory := only(t, containers, "quota-memory"); !memory.Complete || !slices.Equal(memory.Required, caps("CHOWN")) {
		t.Errorf("the container that executes memory files: %+v", memory)
	}
	if !honest.Complete || len(honest.Unexamined) > 0 || !slices.Equal(honest.Required, caps("NET_RAW")) {
		t.Errorf("the honest container: %+v", honest)
	}
	text, err := os.ReadFile(saved)
	if err != nil {
		t.Fatal(err)
	}
	var p profile.Profile
	if err := json.Unmarshal(text, &p); err != nil {
		t.Fatal(err)
	}
	for _, run := range p.Runs {
		if len(run.Uses) > profile.MaxUses {
			t.Errorf("%s: %d uses", run.Container.Name, len(run.Uses))
		}
	}
}
