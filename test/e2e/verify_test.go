package e2e

import (
	"encoding/json"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/capmon/capmon/internal/verify"
)

// proved has the fields of a proof that the tests read.
type proved struct {
	Enough, Works, Minimal bool
	SecondStart            bool
	Observed, Set, Flags   []string
	Reasons                []string
	Members                []struct {
		Capability, Class, Verdict, InsteadOf string
		Trial                                 int
	}
	Trials []struct {
		Number         int
		Original, Same bool
		Set, Denied    []string
		Outcomes       []string
		Stderr         string
		Without, With  []string
		DeniedChecks   []struct{ Capability, Call, Site, Reason string }
	}
}

// verdicts returns the verdicts by capability.
func (p proved) verdicts() map[string]string {
	all := make(map[string]string)
	for _, m := range p.Members {
		all[m.Capability] = m.Verdict
	}
	return all
}

const (
	needed    = "proved needed"
	unneeded  = "proved unneeded"
	undecided = "unsure"
)

// prove runs capmon verify, which must leave nothing behind.
func prove(t *testing.T, args ...string) (proved, result) {
	t.Helper()
	r := execute(t, slices.Concat([]string{binary, "verify", "-o", "json"}, args)...)
	nothingLeft(t)
	var p proved
	if err := json.Unmarshal([]byte(r.stdout), &p); err != nil {
		t.Fatalf("%v\nexit code %d\n%s%s", err, r.code, r.stdout, r.stderr)
	}
	return p, r
}

// rejectsProof runs capmon verify and verifies that it exits with code 2 and the reason, and leaves nothing behind.
func rejectsProof(t *testing.T, reason string, args ...string) {
	t.Helper()
	r := execute(t, slices.Concat([]string{binary, "verify"}, args)...)
	nothingLeft(t)
	lines := strings.Split(strings.TrimSpace(r.stderr), "\n")
	last := lines[len(lines)-1]
	if r.code != exitUsage || r.stdout != "" || !strings.Contains(last, reason) || !strings.HasPrefix(last, "capmon: ") {
		t.Errorf("wanted %q, got %+v", reason, r)
	}
}

// left returns the containers, networks and volumes of verify processes, running or not, each with its owner.
func left(t *testing.T) map[string]string {
	t.Helper()
	const label = "com.github.capmon.verify"
	owners := make(map[string]string)
	for _, list := range [][]string{{"ps", "-a", "--format={{.ID}}"}, {"network", "ls", "--format={{.ID}}"}, {"volume", "ls", "--format={{.Name}}"}} {
		list[len(list)-1] += ` {{.Label "` + label + `"}}`
		for line := range strings.Lines(mustExecute(t, slices.Concat([]string{"docker"}, list, []string{"--filter", "label=" + label})...)) {
			id, owner, _ := strings.Cut(strings.TrimSpace(line), " ")
			owners[id] = owner
		}
	}
	return owners
}

// nothingLeft verifies that verify processes that have ended left nothing behind. Other verify processes may run.
func nothingLeft(t *testing.T) {
	t.Helper()
	ended := left(t)
	maps.DeleteFunc(ended, func(_, owner string) bool { return isAlive(t, owner) })
	if len(ended) == 0 {
		return
	}
	for id, owner := range left(t) { // its verify may have removed it and ended after the first listing
		if _, is := ended[id]; is {
			t.Errorf("left behind: %s of %s", id, owner)
		}
	}
}

// isAlive reports whether the process in the label of a verify exists. The label has the boot, the PID namespace, the
// PID and the start time.
func isAlive(t *testing.T, owner string) bool {
	t.Helper()
	parts := strings.Split(owner, "/")
	if len(parts) < 4 {
		t.Fatalf("invalid owner: %q", owner)
	}
	pid, err := strconv.Atoi(parts[2])
	if err != nil {
		t.Fatal(err)
	}
	start, err := verify.StartTime(pid)
	return err == nil && start == parts[3]
}

// proof is a container to verify, and the expected result.
type proof struct {
	name     string
	flags    []string // of verify
	options  []string // of docker run
	command  []string
	set      []string
	verdicts map[string]string
	code     int
}

var proofs = []proof{
	{name: "nothing", command: sh("true"), verdicts: map[string]string{}},
	{name: "ping", command: []string{"ping", "-c1", "127.0.0.1"}, set: caps("NET_RAW"), verdicts: map[string]string{"NET_RAW": needed}},
	{name: "chown", command: sh("touch /tmp/f && chown 5 /tmp/f"), set: caps("CHOWN"), verdicts: map[string]string{"CHOWN": needed}},
	{
		name: "su", flags: []string{"--jobs=2"}, command: []string{"su", "user", "-c", "true"},
		set: caps("SETGID", "SETUID"), verdicts: map[string]string{"SETGID": needed, "SETUID": needed},
	},
	{
		// DAC_READ_SEARCH would be sufficient, but Docker does not grant DAC_READ_SEARCH by default: a process with it
		// may open files of the host.
		name: "the narrower one is dangerous", command: []string{"cat", "/data/secret"},
		set: caps("DAC_OVERRIDE"), verdicts: map[string]string{"DAC_OVERRIDE": needed},
	},
	{
		name: "entrypoint of another user", command: []string{"/bin/private-true"},
		set: caps("DAC_OVERRIDE"), verdicts: map[string]string{"DAC_OVERRIDE": needed},
	},
	{
		name: "used but not needed", command: sh("touch /tmp/f && { chown 5 /tmp/f || true; } && chroot / true"),
		set: caps("SYS_CHROOT"), verdicts: map[string]string{"CHOWN": unneeded, "SYS_CHROOT": needed},
	},
	{
		name: "either of two", command: sh("r=1; chroot / true && r=0; ping -c1 127.0.0.1 && r=0; exit $r"),
		set: caps("SYS_CHROOT"), verdicts: map[string]string{"NET_RAW": unneeded, "SYS_CHROOT": needed},
	},
	{
		name: "none of two, after the other was removed", command: sh("! chroot / true || ping -c1 127.0.0.1"),
		verdicts: map[string]string{"NET_RAW": unneeded, "SYS_CHROOT": unneeded},
	},
	{
		name: "implied by a file", command: []string{"probe-bind", "rawsock"},
		set: caps("NET_BIND_SERVICE", "NET_RAW"), verdicts: map[string]string{"NET_BIND_SERVICE": needed, "NET_RAW": needed},
	},
	{
		name: "soft, and nothing reads the result", command: []string{"probe", "write-sgid", "/tmp/f"},
		set: caps("FSETID"), verdicts: map[string]string{"FSETID": undecided}, code: exitFindings,
	},
	{
		name: "soft, and the exit status differs", command: sh("probe write-sgid /tmp/f | grep kept"),
		set: caps("FSETID"), verdicts: map[string]string{"FSETID": needed},
	},
	{
		name: "soft, and the test ignores the result", flags: []string{"--test", "docker exec $CONTAINER probe write-sgid /tmp/f"},
		options: []string{"--stop-timeout=0"}, command: sh("sleep 1000"), verdicts: map[string]string{"FSETID": unneeded},
	},
	{
		name: "soft, and the test reads the result", flags: []string{"--test", "docker exec $CONTAINER probe write-sgid /tmp/f | grep kept"},
		options: []string{"-d", "--stop-timeout=0"}, command: sh("sleep 1000"), set: caps("FSETID"), verdicts: map[string]string{"FSETID": needed},
	},
	{
		name: "other grants than the default", options: []string{"--cap-drop=ALL", "--cap-add=SYS_ADMIN", "--cap-add=NET_RAW"},
		command: sh("mount -t tmpfs none /mnt; ping -c1 127.0.0.1 && ! chroot / true"),
		set:     caps("NET_RAW"), verdicts: map[string]string{"SYS_ADMIN": unneeded, "NET_RAW": needed},
	},
	{
		name: "empty input", options: []string{"-i"}, command: sh("cat && chroot / true"),
		set: caps("SYS_CHROOT"), verdicts: map[string]string{"SYS_CHROOT": needed},
	},
	{
		name: "terminal", options: []string{"-t"}, command: sh("tty && chroot / true"),
		set: caps("SYS_CHROOT"), verdicts: map[string]string{"SYS_CHROOT": needed},
	},
	{
		name: "restarting", options: []string{"--restart=always"}, command: sh("chroot / true"),
		set: caps("SYS_CHROOT"), verdicts: map[string]string{"SYS_CHROOT": needed},
	},
	{
		name: "succeeds with another status", flags: []string{"--expect-exit=3"}, command: sh("chroot / true && exit 3"),
		set: caps("SYS_CHROOT"), verdicts: map[string]string{"SYS_CHROOT": needed},
	},
	{
		name: "healthy only with it", flags: []string{"--test=true"},
		options: []string{"--health-cmd=test -e /tmp/ready", "--health-interval=100ms", "--health-retries=2", "--stop-timeout=0"},
		command: sh("chroot / touch /tmp/ready; exec sleep 1000"),
		set:     caps("SYS_CHROOT"), verdicts: map[string]string{"SYS_CHROOT": needed},
	},
	{
		name: "ends before it is healthy", flags: []string{"--test=true"},
		options: []string{"--health-cmd=test -e /tmp/ready", "--health-interval=100ms", "--stop-timeout=0"},
		command: sh("chroot / touch /tmp/ready && exec sleep 1000"),
		set:     caps("SYS_CHROOT"), verdicts: map[string]string{"SYS_CHROOT": needed},
	},
}

// ready is a test command for services that create /tmp/ready when they are ready. It also passes if they have ended.
const ready = `--test=until [ "$(docker inspect -f {{.State.Running}} $CONTAINER)" = false ] || docker exec $CONTAINER test -e /tmp/ready; do :; done`

// supervisor waits for a child of another user when it is stopped.
const supervisor = `trap 'kill $child; wait $child; exit 0' TERM
	su user -c 'touch /tmp/ready; exec sleep 1000' & child=$!
	wait`

// endings are proofs in which the test command passes and only the end of the container differs.
var endings = []proof{
	{
		name: "does not stop without it", flags: []string{ready}, options: []string{"--stop-timeout=10"}, command: sh(supervisor),
		set: caps("KILL", "SETGID", "SETUID"), verdicts: map[string]string{"KILL": needed, "SETGID": needed, "SETUID": needed},
	},
	{
		name: "stops with another status", flags: []string{ready}, options: []string{"--stop-signal=USR1"},
		command: sh("trap 'chroot / true && exit 3; exit 0' USR1; touch /tmp/ready; while :; do sleep 0.1; done"),
		set:     caps("SYS_CHROOT"), verdicts: map[string]string{"SYS_CHROOT": needed},
	},
	{
		name: "ends after its test", flags: []string{ready}, command: sh("chroot / true || exit 7; trap 'exit 0' TERM; touch /tmp/ready; while :; do sleep 0.1; done"),
		set: caps("SYS_CHROOT"), verdicts: map[string]string{"SYS_CHROOT": needed},
	},
	{
		name: "ends by itself with another status", flags: []string{"--test=docker wait $CONTAINER"}, command: sh("chroot / true"),
		set: caps("SYS_CHROOT"), verdicts: map[string]string{"SYS_CHROOT": needed},
	},
	{
		name: "must be killed in any case", flags: []string{ready}, options: []string{"--stop-timeout=1"},
		command:  sh("chroot / true || trap 'exit 0' TERM; touch /tmp/ready; while :; do sleep 0.1; done"),
		verdicts: map[string]string{"SYS_CHROOT": unneeded},
	},
}

func TestVerify(t *testing.T) {
	t.Parallel()
	for _, test := range slices.Concat(proofs, endings) {
		t.Run(test.name, func(t *testing.T) {
			command := slices.Concat(test.flags, []string{"--", "docker", "run", "--rm"}, test.options, []string{"bb"}, test.command)
			p, r := prove(t, command...)
			same(t, "the set", p.Set, test.set)
			if got := p.verdicts(); !maps.Equal(got, test.verdicts) {
				t.Errorf("got %v, wanted %v", got, test.verdicts)
			}
			if r.code != test.code || p.Minimal != (test.code == exitDone) || !p.Enough || !p.Works {
				t.Errorf("exit code %d, wanted %d: %+v", r.code, test.code, p)
			}
		})
	}
}

// The kernel checks the narrow capability first, but the list has only the wide one: another program also uses the wide
// one, but works without it.
func TestVerifyTriesTheNarrowerOfTwoCapabilities(t *testing.T) {
	t.Parallel()
	p, r := prove(t, "--", "docker", "run", "--rm", "--cap-add=NET_ADMIN", "bb", "sh", "-c", "probe setsockopt 1 36 1 && { ip link set lo mtu 1400 || true; }")
	same(t, "the observed list", p.Observed, caps("NET_ADMIN"))
	same(t, "the set", p.Set, caps("NET_RAW"))
	if want := map[string]string{"NET_ADMIN": unneeded, "NET_RAW": needed}; !maps.Equal(p.verdicts(), want) || r.code != exitDone {
		t.Errorf("exit code %d: %v\n%s", r.code, p.verdicts(), r.stderr)
	}
}

func TestVerifyShowsItsEvidence(t *testing.T) {
	t.Parallel()
	p, r := prove(t, "--", "docker", "run", "--rm", "bb", "chown", "5", "/tmp")
	without := p.Trials[p.Members[0].Trial-1]
	if without.Same || without.Outcomes[0] != "exit status 1" || without.Stderr != "chown: /tmp: Operation not permitted" ||
		len(without.DeniedChecks) != 1 || without.DeniedChecks[0].Capability != "CHOWN" || !strings.Contains(without.DeniedChecks[0].Call, "chown") {
		t.Errorf("%+v", without)
	}
	for _, line := range []string{
		" 1  under its own flags: exit status 0\n", " 2  with CHOWN: exit status 0, as before\n",
		" 3  without CHOWN: exit status 1\n", " 4  again, with CHOWN: exit status 0, as before\n",
	} {
		if !strings.Contains(r.stderr, "capmon: "+line) {
			t.Errorf("%q is not in\n%s", line, r.stderr)
		}
	}
	table := mustExecute(t, binary, "verify", "--", "docker", "run", "--rm", "--name", "evident", "bb", "chown", "5", "/tmp")
	for _, text := range []string{
		"evident  bb:latest  4 runs  proved minimal\n", "CHOWN       required  proved needed  without it: exit status 1\n",
		"denied: chown  ", "wrote: chown: /tmp: Operation not permitted\n", "\n  docker run --cap-drop=ALL --cap-add=CHOWN …\n",
	} {
		if !strings.Contains(table, text) {
			t.Errorf("%q is not in\n%s", text, table)
		}
	}
}

func TestVerifyReportsHowTheContainerEnds(t *testing.T) {
	t.Parallel()
	r := execute(t, binary, "verify", ready, "--", "docker", "run", "--rm", "--stop-timeout=10", "bb", "sh", "-c", supervisor)
	for _, line := range []string{
		"under its own flags: test: exit status 0; stopped on SIGTERM: exit status 0\n",
		"without KILL: test: exit status 0; did not stop on SIGTERM, was killed after 10 s\n",
	} {
		if !strings.Contains(r.stderr, line) {
			t.Errorf("%q is not in\n%s", line, r.stderr)
		}
	}
	for _, line := range []string{
		"KILL        required  proved needed  without it: test: exit status 0; did not stop on SIGTERM, was killed after 10 s\n",
		"wrote: sh: can't kill pid ",
	} {
		if !strings.Contains(r.stdout, line) {
			t.Errorf("%q is not in\n%s", line, r.stdout)
		}
	}
	r = execute(t, binary, "verify", "--test=true", "--", "docker", "run", "--rm", "--stop-timeout=0", "bb", "sleep", "1000")
	if r.code != exitDone || !strings.Contains(r.stderr, "note: under its own flags it did not stop on SIGTERM, was killed after 0 s: verify does not compare how it ends\n") ||
		!strings.Contains(r.stderr, "without any capability: test: exit status 0, as before\n") {
		t.Errorf("%+v", r)
	}
}

// A profile that lacks a part of the workload simulates needs that cannot be observed.
func TestVerifyFindsMissingCapabilities(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "less.json")
	mustExecute(t, binary, "profile", "--save", file, "--", "docker", "run", "--rm", "bb", "ping", "-c1", "127.0.0.1")
	command := []string{file, "--", "docker", "run", "--rm", "bb", "sh", "-c", "ping -c1 127.0.0.1 && chroot / true"}
	p, r := prove(t, command...)
	if r.code != exitFindings || p.Enough || p.Works || !strings.Contains(strings.Join(p.Reasons, ""), "--keep-going") {
		t.Errorf("exit code %d: %+v", r.code, p)
	}
	p, r = prove(t, slices.Concat([]string{"--keep-going", "--jobs=2"}, command)...)
	if r.code != exitFindings || p.Enough || !p.Minimal {
		t.Errorf("exit code %d: %+v", r.code, p)
	}
	same(t, "the set", p.Set, caps("NET_RAW", "SYS_CHROOT"))
}

// The directory distinguishes the second run from the first.
func TestVerifyKeepsCapabilitiesWithFlakyTrials(t *testing.T) {
	t.Parallel()
	script := "chroot / true || { [ ! -e /state/seen ] && touch /state/seen; }"
	p, r := prove(t, "--second-start=false", "--repeat=2", "--", "docker", "run", "-v", t.TempDir()+":/state", "bb", "sh", "-c", script)
	same(t, "the set", p.Set, caps("SYS_CHROOT"))
	if r.code != exitFindings || p.verdicts()["SYS_CHROOT"] != undecided || p.Minimal || !p.Works {
		t.Errorf("exit code %d: %+v", r.code, p)
	}
	if !strings.Contains(strings.Join(p.Reasons, ""), "not the same each time: exit status 0, exit status 1") || !strings.Contains(r.stderr, "the runs share") {
		t.Errorf("%v\n%s", p.Reasons, r.stderr)
	}
	p, r = prove(t, "--second-start=false", "--repeat=2", "--", "docker", "run", "-v", t.TempDir()+":/state", "bb", "sh", "-c", "chroot / true && [ ! -e /state/seen ] && touch /state/seen")
	if r.code != exitFindings || p.Works || p.verdicts()["SYS_CHROOT"] != undecided || !strings.Contains(strings.Join(p.Reasons, ""), "under its own flags the outcome is not the same each time") {
		t.Errorf("exit code %d: %+v", r.code, p)
	}
}

// A container that ends differently once, although its test passed, may do so by chance.
func TestVerifyRepeatsTrialsThatEndDifferently(t *testing.T) {
	t.Parallel()
	script := "odd=0; chroot / true || { [ ! -e /state/seen ] && touch /state/seen && odd=5; }; trap 'exit '$odd TERM; touch /tmp/ready; while :; do sleep 0.1; done"
	p, r := prove(t, "--second-start=false", ready, "--", "docker", "run", "-v", t.TempDir()+":/state", "bb", "sh", "-c", script)
	if r.code != exitFindings || p.verdicts()["SYS_CHROOT"] != undecided ||
		!strings.Contains(strings.Join(p.Reasons, ""), "stopped on SIGTERM: exit status 5, test: exit status 0; stopped on SIGTERM: exit status 0") {
		t.Errorf("exit code %d: %+v", r.code, p)
	}
}

// A run must not see traces of other runs.
func TestVerifyCreatesANewVolumeForEachRun(t *testing.T) {
	t.Parallel()
	p, _ := prove(t, "--", "docker", "run", "-v", "verify-fresh:/v", "bb", "sh", "-c", "[ ! -e /v/f ] && touch /v/f && chown 5 /v/f")
	same(t, "the set", p.Set, caps("CHOWN"))
	if r := execute(t, "docker", "volume", "inspect", "verify-fresh"); r.code == 0 {
		t.Error("the volume is left")
	}
}

func TestVerifyAProfile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	observed, verified := filepath.Join(dir, "observed.json"), filepath.Join(dir, "verified.json")
	run := func(script string) []string {
		return []string{"--", "docker", "run", "--rm", "--name", "profiled", "bb", "sh", "-c", script}
	}
	const either = "r=1; chroot / true && r=0; ping -c1 127.0.0.1 && r=0; exit $r"
	mustExecute(t, slices.Concat([]string{binary, "profile", "--save", observed}, run(either))...)
	p, r := prove(t, slices.Concat([]string{"--save", verified, observed}, run(either))...)
	same(t, "the set", p.Set, caps("SYS_CHROOT"))
	if r.code != exitDone {
		t.Errorf("exit code %d", r.code)
	}
	if flags := mustExecute(t, binary, "report", "-o", "flags", observed, verified); flags != "--cap-drop=ALL --cap-add=SYS_CHROOT\n" {
		t.Errorf("got %s", flags)
	}
	if table := mustExecute(t, binary, "report", verified); !strings.Contains(table, "proved minimal; needed: SYS_CHROOT; unneeded: NET_RAW\n") {
		t.Errorf("got %s", table)
	}

	// The list lacks a capability, although the outcome is the same.
	p, r = prove(t, slices.Concat([]string{"--keep-going", observed}, run("touch /f; chown 5 /f || true; "+either))...)
	if r.code != exitFindings || p.Enough || !strings.Contains(strings.Join(p.Reasons, ""), "newly denied: CHOWN") {
		t.Errorf("exit code %d: %+v", r.code, p)
	}
	other := filepath.Join(dir, "other.json")
	mustExecute(t, "docker", "tag", "bb", "bb-other")
	t.Cleanup(func() { mustExecute(t, "docker", "rmi", "bb-other") })
	mustExecute(t, binary, "profile", "--save", other, "--", "docker", "run", "--rm", "--name", "profiled", "bb-other", "true")
	rejectsProof(t, "the profile has no workload of image bb:latest, but it has profiled of bb-other:latest", slices.Concat([]string{other}, run("true"))...)
}
