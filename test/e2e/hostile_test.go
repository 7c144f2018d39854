package e2e

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/capmon/capmon/internal/testutil"
	"github.com/capmon/capmon/internal/testutil/capmontest"
	"github.com/capmon/capmon/internal/testutil/testlock"
)

// make soak attacks for ten minutes.
var (
	hostileFor  = flag.Duration("hostile", time.Minute, "how long TestHonestRecordsBesideAHostileContainer attacks")
	hostileSeed = flag.Int64("hostile-seed", 1, "the sequence of attacks")
	hostileOnly = flag.String("hostile-only", "", "the ingredients of attack-mix, separated by commas; all if empty")
	hostileLess = flag.String("hostile-attackers", "plain,armed", "the attackers, separated by commas")
)

// Limits for capmon next to an attacker.
const (
	hostileMemory   = 128 << 20        // in bytes: resident memory of serve, and of watch
	hostileCPU      = 0.10             // average part of a core
	hostileDatabase = 64 << 20         // in bytes: whatever the attackers did
	hostileEnd      = 30 * time.Second // from SIGTERM to the end of serve
	hostileRings    = 60               // alerts of the bell in one run.
	// Alerts must arrive within a second. The test overloads the machine on purpose, with more threads than cores, and
	// other tests may run. So this limit holds for the median. The limit for each alert is longer than any scheduling
	// delay, but shorter than the delay of a queue that the attacker fills.
	hostileMedian, hostileLatest = time.Second, 10 * time.Second
)

// attackers has the options of docker run for each attacker. Their limits protect the machine, not capmon.
var attackers = map[string][]string{
	"plain": nil,
	"armed": {"--cap-add=SYS_ADMIN", "--security-opt=seccomp=unconfined", "--security-opt=apparmor=unconfined", "--device=/dev/fuse", "--cgroupns=private"},
}

// honest is a kind of container that repeats the same work.
type honest struct {
	kind string
	// round is the work that the container repeats, and made has the uses that one round makes.
	round string
	made  capmontest.Counts
	// required is the container's list.
	required []string
	// rounds is the number of rounds after which the container ends and is started again. 0: it runs until the end of
	// the test.
	rounds int
}

var honestKinds = []honest{
	{kind: "raw", round: "probe repeat 3 rawsock; probe setuid0", made: capmontest.Counts{"NET_RAW": 3, "SETUID": 1}, required: caps("NET_RAW")},
	{kind: "owner", round: "probe repeat 5 chown-open /own/file 5", made: capmontest.Counts{"CHOWN": 5}, required: caps("CHOWN")},
	{kind: "ids", round: "probe repeat 4 setgid0; probe repeat 2 setuid0", made: capmontest.Counts{"SETGID": 4, "SETUID": 2}},
	{
		kind: "odd", round: "probe memfd-exec rawsock; probe vfork rawsock; probe thread rawsock",
		made: capmontest.Counts{"NET_RAW": 3}, required: caps("NET_RAW"),
	},
	{
		kind: "again", round: "probe setuid0; probe repeat 2 chown-open /own/file 5", made: capmontest.Counts{"SETUID": 1, "CHOWN": 2},
		required: caps("CHOWN"), rounds: 5,
	},
}

// script runs rounds with pauses until the file over exists, and prints their number.
func (h honest) script() string {
	until := "[ -e /shared/over ]"
	if h.rounds > 0 {
		until += fmt.Sprintf(" || [ $n = %d ]", h.rounds)
	}
	return "touch /own/file; n=0; until " + until + "; do { " + strings.ReplaceAll(h.round, ";", " &&") + "; } || exit 1; n=$((n+1)); sleep 0.3; done; echo $n"
}

// neighbour is an honest container and the number of its rounds.
type neighbour struct {
	honest
	name, id string
	rounds   uint64
}

// live runs the container until the end of the test.
func (n *neighbour) live(over string) error {
	for {
		out, err := exec.Command("docker", "start", "--attach", n.id).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s: %w: %s", n.name, err, out)
		}
		rounds, err := strconv.ParseUint(strings.TrimSpace(string(out)), 10, 64)
		if err != nil {
			return fmt.Errorf("%s: %w", n.name, err)
		}
		n.rounds += rounds
		if _, err := os.Stat(over); err == nil || n.honest.rounds == 0 {
			return nil
		}
	}
}

// createNeighbours creates two honest containers of each kind, but only one of the kind odd, so that there are ten
// containers with the bell.
func createNeighbours(t *testing.T, shared string) (all []*neighbour) {
	t.Helper()
	for _, kind := range honestKinds {
		for i := range 2 {
			if kind.kind == "odd" && i > 0 {
				continue
			}
			n := &neighbour{honest: kind, name: fmt.Sprintf("honest-%s-%d", kind.kind, i)}
			n.id = strings.TrimSpace(mustExecute(t, "docker", "create", "--name", n.name, capmontest.OwnFileSystem, "--volume="+shared+":/shared", "bb", "sh", "-c", kind.script()))
			t.Cleanup(func() { _ = exec.Command("docker", "rm", "-f", n.name).Run() })
			all = append(all, n)
		}
	}
	return all
}

// startAttacker starts an attacker, and removes everything that it made when the test ends.
func startAttacker(t *testing.T, kind string, ids []string) (name string) {
	t.Helper()
	name = "hostile-" + kind
	command := slices.Concat([]string{
		"docker", "run", "-d", "--name", name, "--memory=512m", "--pids-limit=4000", "--tmpfs=/tmp:exec,size=128m",
		fmt.Sprintf("--cpus=%.2f", 0.35*float64(runtime.NumCPU())), "--env=ATTACK_IDS=" + strings.Join(ids, " "),
	}, attackers[kind], []string{"bb", "attack-mix", fmt.Sprint(int(hostileFor.Seconds())), fmt.Sprint(*hostileSeed)})
	if *hostileOnly != "" {
		command = append(command, *hostileOnly)
	}
	t.Cleanup(func() { removeAttacker(t, name) })
	mustExecute(t, command...)
	return name
}

// removeAttacker removes the container and the cgroups that it made, and verifies that no process of it is left.
func removeAttacker(t *testing.T, name string) {
	t.Helper()
	id := strings.TrimSpace(execute(t, "docker", "inspect", "--format={{.Id}}", name).stdout)
	if id == "" {
		return
	}
	if r := execute(t, "docker", "rm", "-f", name); r.code != 0 {
		t.Errorf("removing %s: %s", name, r.stderr)
	}
	abortFUSE(t)
	var left string
	eventually(t, "nothing is left of "+name, func() bool {
		// find works with file descriptors here: the paths are longer than the kernel accepts.
		left = execute(t, "sh", "-c", "find /sys/fs/cgroup -type d -name '*"+id+"*' -prune -exec find {} -depth -type d -delete ';' 2>/dev/null; "+
			"find /sys/fs/cgroup -type d -name '*"+id+"*' -prune; grep -ls "+id+" /proc/[0-9]*/cgroup; grep -s "+id+" /proc/self/mountinfo").stdout
		return left == ""
	})
}

// abortFUSE ends the file systems of attack-mix whose servers are stuck, so that no process waits for them. The kernel
// has already ended them unless a server outlived its container.
func abortFUSE(t *testing.T) {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		fields := strings.Fields(line)
		i := slices.Index(fields, "-")
		if fields[i+1] != "fuse" || fields[i+2] != "attack" {
			continue
		}
		t.Errorf("a file system of the attacker is left: %s", line)
		_, minor, _ := strings.Cut(fields[2], ":")
		_ = os.WriteFile("/sys/fs/fuse/connections/"+minor+"/abort", []byte("1"), 0)
		_ = syscall.Unmount(fields[4], syscall.MNT_DETACH)
	}
}

// receiveAlerts starts a webhook.
func receiveAlerts(t *testing.T) *receiver {
	t.Helper()
	r := newReceiver(t)
	r.start(t)
	return r
}

// rulesTo returns the path of a file with the built-in rules and a webhook.
func rulesTo(t *testing.T, a *receiver) string {
	t.Helper()
	return written(t, "rules.yaml", `
rules:
  - builtin: raw-socket
  - builtin: raw-socket-denied
  - builtin: raw-socket-nested-userns
  - builtin: sys-admin
  - builtin: sys-ptrace
  - builtin: sys-module
  - builtin: bpf
  - builtin: denials
sinks: [{type: webhook, url: "http://`+a.Address+`", headers: {Authorization: Bearer t0ken}}]
`)
}

// ring is one use by the bell, which happened between two times.
type ring struct {
	name        string
	from, until time.Time
}

// ringBell makes a container open a raw socket with a new pattern of use, repeatedly while the attack lasts.
func ringBell(p capmontest.Performer, stop <-chan struct{}) (rings []ring) {
	for pace := time.NewTicker(max(time.Second, *hostileFor/hostileRings)); ; {
		r := ring{name: fmt.Sprintf("bell-%d", len(rings)), from: time.Now()}
		p.Do("probe named " + r.name + " rawsock")
		r.until = time.Now()
		rings = append(rings, r)
		select {
		case <-pace.C:
		case <-stop:
			pace.Stop()
			return rings
		}
	}
}

// judgeAlerts verifies that each ring raised one alert, in order and soon.
func judgeAlerts(t *testing.T, what string, a *receiver, rings []ring) {
	t.Helper()
	var got []arrival
	for deadline := time.Now().Add(hostileLatest); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if got = a.of("raw-socket", "honest-bell"); len(got) >= len(rings) {
			break
		}
	}
	var names, want []string
	var took []time.Duration
	for _, one := range got {
		names = append(names, one.Use.Process.Program)
		i := slices.IndexFunc(rings, func(r ring) bool { return r.name == one.Use.Process.Program })
		if i < 0 {
			t.Errorf("%s: alert of a ring that did not happen: %+v", what, one.Alert)
			continue
		}
		// The kernel and the test read the same clock, a few microseconds apart.
		const slack = 50 * time.Millisecond
		if one.Time.Before(rings[i].from.Add(-slack)) || one.Time.After(rings[i].until.Add(slack)) {
			t.Errorf("%s: %s was between %v and %v, its alert says %v", what, rings[i].name, rings[i].from, rings[i].until, one.Time)
		}
		took = append(took, one.at.Sub(one.Time))
	}
	for _, r := range rings {
		want = append(want, r.name)
	}
	if !slices.Equal(names, want) {
		t.Errorf("%s: %d of %d alerts of the bell, or not in order: %v", what, len(got), len(rings), names)
	}
	if len(took) == 0 {
		return
	}
	slices.Sort(took)
	median, worst := took[len(took)/2], took[len(took)-1]
	t.Logf("%s: %d alerts, from the kernel's check to the webhook: median %v, 9 of 10 %v, worst %v", what, len(took), median, took[len(took)*9/10], worst)
	if median >= hostileMedian || worst >= hostileLatest {
		t.Errorf("%s: alerts arrive late: median %v, wanted less than %v; worst %v, wanted less than %v", what, median, hostileMedian, worst, hostileLatest)
	}
}

// cpuTime returns the time that a process has run, in kernel and user mode.
func cpuTime(t *testing.T, pid int) time.Duration {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	var ticks int // of 10 ms
	for _, field := range fields[11:13] {
		n, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// mostResident returns the peak memory of a process, in bytes (VmHWM).
func mostResident(t *testing.T, pid int) (bytes int64) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			if _, err := fmt.Sscanf(value, "%d kB", &bytes); err != nil {
				t.Fatal(err)
			}
		}
	}
	return bytes << 10
}

// cost measures a capmon process from a point in time on.
type cost struct {
	what  string
	o     *observation
	began time.Time
	cpu   time.Duration
}

func costOf(t *testing.T, what string, o *observation) cost {
	return cost{what, o, time.Now(), cpuTime(t, o.Child.Pid)}
}

// judge verifies that the process stayed within capmon's limits. The process must still run.
func (c cost) judge(t *testing.T) {
	t.Helper()
	share := float64(cpuTime(t, c.o.Child.Pid)-c.cpu) / float64(time.Since(c.began))
	memory := mostResident(t, c.o.Child.Pid)
	t.Logf("%s took %.1f %% of a core, and %.1f MiB at most", c.what, 100*share, float64(memory)/(1<<20))
	if share > hostileCPU {
		t.Errorf("%s took %.1f %% of a core, wanted %.0f at most", c.what, 100*share, 100*hostileCPU)
	}
	if memory > hostileMemory {
		t.Errorf("%s took %.1f MiB, wanted %d at most", c.what, float64(memory)/(1<<20), hostileMemory>>20)
	}
}

// endsSoon ends a capmon process and verifies that it does not hang.
func endsSoon(t *testing.T, what string, o *observation) {
	t.Helper()
	began := time.Now()
	if err := o.Child.Signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	select {
	case <-o.Ended:
		t.Logf("%s ended after %v", what, time.Since(began))
	case <-time.After(hostileEnd):
		t.Errorf("%s has not ended %v after SIGTERM", what, hostileEnd)
		_ = o.Child.Kill()
		<-o.Ended
	}
}

// judged has the fields of a container in a report that the tests read.
type judged struct {
	seen
	Incomplete []string
	Uses       []struct {
		Capability, Class, Call string
		Program                 string
		Count                   uint64
	}
}

// judgedIn returns the containers of a database by their IDs.
func judgedIn(t *testing.T, database string) map[string]judged {
	t.Helper()
	began := time.Now()
	out := mustExecute(t, binary, "report", "--db", database, "-o", "json")
	t.Logf("the report took %v and has %d bytes", time.Since(began), len(out))
	var report struct{ Containers []judged }
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		t.Fatal(err)
	}
	all := make(map[string]judged)
	for _, c := range report.Containers {
		all[c.ID] = c
	}
	return all
}

// judge verifies that the record is exactly what the container did.
func (n *neighbour) judge(t *testing.T, got judged) {
	t.Helper()
	want := make(capmontest.Counts)
	for capability, count := range n.made {
		want[capability] = count * n.rounds
	}
	exact := capmontest.Kept{}
	for _, use := range got.Uses {
		exact.Uses = append(exact.Uses, struct {
			Capability, Class, Call string
			Count                   uint64
		}{use.Capability, use.Class, use.Call, use.Count})
	}
	if fmt.Sprint(exact.Counts()) != fmt.Sprint(want) {
		t.Errorf("%s: recorded %v, but it made %v", n.name, exact.Counts(), want)
	}
	if !got.Complete || got.Lost > 0 || len(got.Incomplete) > 0 {
		t.Errorf("%s: complete: %v, %d lost, %q", n.name, got.Complete, got.Lost, got.Incomplete)
	}
	if got.Name != n.name {
		t.Errorf("%s has the name %q: %s", n.name, got.Name, got.EngineError)
	}
	n.judgeLists(t, got)
}

// judgeLists verifies that the container's lists have nothing from other containers.
func (n *neighbour) judgeLists(t *testing.T, got judged) {
	t.Helper()
	same(t, n.name+" required", got.Required, n.required)
	same(t, n.name+" implicit", got.Implicit, nil)
	same(t, n.name+" soft", got.Soft, nil)
	same(t, n.name+" denied", got.Denied, nil)
	same(t, n.name+" unsure", got.Unsure, nil)
	same(t, n.name+" unwatched", got.Unwatched, nil)
	same(t, n.name+" nested user namespace", got.Classes["nested-userns"], nil)
	same(t, n.name+" granted", got.Granted, defaultGrants)
}

var defaultGrants = caps("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "NET_RAW",
	"SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT")

// Whatever a container does, the records of its neighbours are exact, and their alerts arrive in order and soon. capmon
// uses few resources and ends in time.
func TestHonestRecordsBesideAHostileContainer(t *testing.T) {
	testlock.Losses(t)
	t.Logf("-hostile-seed=%d -hostile=%v", *hostileSeed, *hostileFor)
	shared := testutil.OpenDirectory(t)
	over := filepath.Join(shared, "over")
	served, watched := receiveAlerts(t), receiveAlerts(t)
	s := serve(t, "--rules", rulesTo(t, served), "--save-every", "30s") // the default
	l := watchLive(t, "--rules", rulesTo(t, watched))

	neighbours := createNeighbours(t, shared)
	bell := capmontest.StartPerformer(t, os.Getenv("DOCKER_HOST"), "honest-bell")
	ids := []string{idOf(t, "honest-bell")}
	honestly := make(chan error)
	for _, n := range neighbours {
		ids = append(ids, n.id)
		go func() { honestly <- n.live(over) }()
	}
	costs := []cost{costOf(t, "serve", s.observation()), costOf(t, "watch", l.observation)}
	var hostile []string
	for kind := range strings.SplitSeq(*hostileLess, ",") {
		hostile = append(hostile, startAttacker(t, kind, ids))
	}
	stop, ringing := make(chan struct{}), make(chan []ring)
	go func() { ringing <- ringBell(bell, stop) }()
	hostileIDs := make(map[string]string)
	for _, name := range hostile {
		if status := mustExecute(t, "docker", "wait", name); status != "0\n" {
			t.Errorf("%s ended with %s: %+v", name, status, execute(t, "docker", "logs", name))
		}
		hostileIDs[name] = idOf(t, name)
		t.Logf("%s: %s", name, strings.ReplaceAll(mustExecute(t, "docker", "logs", name), "\n", ", "))
	}
	close(stop)
	rings := <-ringing
	err := os.WriteFile(over, nil, 0o644)
	for range neighbours {
		err = errors.Join(err, <-honestly)
	}
	if err != nil {
		t.Fatal(err)
	}
	judgeAlerts(t, "serve", served, rings)
	judgeAlerts(t, "watch", watched, rings)
	for _, c := range costs {
		c.judge(t)
	}
	endsSoon(t, "watch", l.observation)
	endsSoon(t, "serve", s.observation())
	judgeDatabase(t, s.Database)
	all := judgedIn(t, s.Database)
	for _, n := range neighbours {
		n.judge(t, all[n.id])
	}
	(&neighbour{honest: honest{made: capmontest.Counts{"NET_RAW": 1}, required: caps("NET_RAW")}, name: "honest-bell", rounds: uint64(len(rings))}).judge(t, all[ids[0]])
	for name, id := range hostileIDs {
		judgeAttacker(t, name, all[id])
	}
}

// judgeAttacker verifies that capmon attributes the attacker's uses to the attacker.
func judgeAttacker(t *testing.T, name string, got judged) {
	t.Helper()
	if *hostileOnly != "" {
		return // it did not run all attacks
	}
	if got.Name != name || !slices.Contains(got.Required, "NET_RAW") {
		t.Errorf("%s, with the name %q: its raw sockets are not in %v", name, got.Name, got.Required)
	}
	if name == "hostile-armed" && !slices.Contains(got.Required, "SYS_ADMIN") {
		t.Errorf("%s: its mounts are not in %v", name, got.Required)
	}
}

// judgeDatabase verifies that the attackers did not fill the disk.
func judgeDatabase(t *testing.T, database string) {
	t.Helper()
	files, err := filepath.Glob(database + "*")
	var size int64
	for _, file := range files {
		info, statErr := os.Stat(file)
		err = errors.Join(err, statErr)
		if statErr == nil {
			size += info.Size()
		}
	}
	if err != nil {
		t.Error(err)
	}
	t.Logf("the size of the database is %.1f MiB", float64(size)/(1<<20))
	if size > hostileDatabase {
		t.Errorf("the database has %d bytes, wanted %d at most", size, int64(hostileDatabase))
	}
}
