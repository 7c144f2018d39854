package e2e

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/joshdk/go-junit"
	"github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif"
	"github.com/xeipuuv/gojsonschema"
	"golang.org/x/net/html"
	"golang.org/x/sync/errgroup"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/testutil"
)

// audited is a container of an audited host.
type audited struct {
	name    string
	options []string
	// does is the work that the container does before it prints "done" and waits for its end.
	does string
	// ends: the container ends after its work.
	ends bool
	// unseen: the container does not run while capmon observes.
	unseen bool

	// Expected results, found by hand: the status, words that the reasons contain, the needs, and the related rules
	// other than 5.26 that fail.
	status  string
	reasons []string
	needs   []string
	related []string
}

const (
	owns  = "touch /tmp/f && chown 5 /tmp/f"
	pings = "probe rawsock"
)

func hostToAudit(directory, volume string) []audited {
	return []audited{
		{name: "default", does: owns, status: "fail", needs: caps("CHOWN"),
			reasons: []string{"it has all 14 default capabilities of Docker", "NET_RAW is granted and was never used", "AUDIT_WRITE, DAC_OVERRIDE, FOWNER"}},
		{name: "exact", options: grant("CHOWN"), does: owns, status: "pass", needs: caps("CHOWN"), reasons: []string{"saw in use: CHOWN"}},
		{name: "noraw", options: []string{"--cap-drop=NET_RAW"}, does: owns, status: "fail", needs: caps("CHOWN"), reasons: []string{"AUDIT_WRITE, DAC_OVERRIDE"}},
		{name: "rawonly", options: grant("CHOWN", "NET_RAW"), does: owns, status: "fail", needs: caps("CHOWN"), reasons: []string{"NET_RAW is granted and was never used"}},
		{name: "privileged", options: []string{"--privileged"}, does: owns, status: "fail", needs: caps("CHOWN"), reasons: []string{"it is privileged"}, related: []string{"CIS-5.5", "CIS-5.22"}},
		{name: "admin", options: grant("CHOWN", "SYS_ADMIN"), does: owns, status: "fail", needs: caps("CHOWN"), reasons: []string{"SYS_ADMIN (risky) is granted and was never used"}},
		{name: "stopped", options: grant("KILL", "CHOWN"), does: owns, ends: true, status: "fail", needs: caps("CHOWN"), reasons: []string{"KILL is granted and was never used"}},
		{name: "nothing", options: grant(), does: "true", status: "pass", reasons: []string{"no capability"}},
		{name: "unseen", options: grant("CHOWN"), does: owns, unseen: true, status: "manual", reasons: []string{"capmon has never observed it"}},
		{name: "unseendefault", does: owns, unseen: true, status: "fail", reasons: []string{"all 14 default capabilities", "capmon has never observed it"}},
		{name: "hostnetwork", options: append(grant("NET_RAW"), "--network=host"), does: pings, status: "pass", needs: caps("NET_RAW"), related: []string{"CIS-5.10"}},
		{name: "restricted", options: []string{"--security-opt=no-new-privileges"}, does: owns, status: "fail", needs: caps("CHOWN"), reasons: []string{"NET_RAW"}},
		{name: "user", options: []string{"--user=1000"}, does: "touch /tmp/f", status: "fail", reasons: []string{"all 14"}},
		{name: "namespaces", options: append(grant(), "--pid=host", "--ipc=host", "--uts=host", "--security-opt=seccomp=unconfined"), does: "true", status: "pass",
			related: []string{"CIS-5.16", "CIS-5.17", "CIS-5.21", "CIS-5.22"}},
		{name: "options", options: []string{
			"--env=WORDS=it's \"two\"\nlines $HOME", "--volume=" + volume + ":/data", "--volume=" + directory + ":/bound:ro", "--publish=127.0.0.1::80",
			"--label=evil=<script>alert(1)</script>\x1b[31m=cmd|' /C calc'!A0", "--memory=64m", "--workdir=/data", "--hostname=web", "--restart=unless-stopped",
		}, does: `[ "$WORDS" = 'it'"'"'s "two"` + "\n" + `lines $HOME' ] && rm -f copy && cat /bound/file >copy && chown 5 copy && [ "$(hostname)" = web ]`, status: "fail", needs: caps("CHOWN"), reasons: []string{"NET_RAW"}},
	}
}

// grant returns the options that grant exactly these capabilities.
func grant(capabilities ...string) []string {
	options := []string{"--cap-drop=ALL"}
	for _, c := range capabilities {
		options = append(options, "--cap-add="+c)
	}
	return options
}

func (a audited) container() string { return "audit-" + a.name }

func (a audited) command() []string {
	if a.ends {
		return sh(a.does + " && echo done")
	}
	return sh(a.does + " && echo done || exit 1; trap exit TERM; sleep 1000 & wait")
}

func (a audited) create(t *testing.T) {
	t.Helper()
	mustExecute(t, slices.Concat([]string{"docker", "create", "--name", a.container()}, a.options, []string{"bb"}, a.command())...)
	t.Cleanup(func() { mustExecute(t, "docker", "rm", "-f", a.container()) })
}

// works waits until a container has done its work.
func works(container string) error {
	logs := exec.Command("docker", "logs", "--follow", container)
	out, err := logs.StdoutPipe()
	if err != nil {
		return err
	}
	if err := logs.Start(); err != nil {
		return err
	}
	defer func() {
		_ = logs.Process.Kill()
		_ = logs.Wait()
	}()
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if lines.Text() == "done" {
			return nil
		}
	}
	return fmt.Errorf("%s has ended without doing its work", container)
}

// auditReport has the fields of an audit's JSON that the tests read.
type auditReport struct {
	Schema     int
	Containers []struct {
		Name, Status string
		Reasons      []string
		Grants       struct{ Set []string }
		Remedy       struct {
			Certain                          bool
			List, Run, Untranslated, Compose []string
			Observe, Discard                 []string
			Up, Service, Prove               string
		}
		Observation *struct{ Used []string }
		Related     []struct{ Rule, Status string }
	}
}

func (r auditReport) of(t *testing.T, name string) int {
	t.Helper()
	for i, c := range r.Containers {
		if c.Name == name {
			return i
		}
	}
	t.Fatalf("%s was not audited", name)
	return 0
}

func auditAs(t *testing.T, code int, args ...string) auditReport {
	t.Helper()
	r := execute(t, slices.Concat([]string{binary, "audit", "--with-values", "-o", "json"}, args)...)
	if r.code != code {
		t.Fatalf("audit %q: exit code %d, want %d\n%s", args, r.code, code, r.stderr)
	}
	var report auditReport
	if err := json.Unmarshal([]byte(r.stdout), &report); err != nil {
		t.Fatalf("%v\n%s", err, r.stdout)
	}
	return report
}

func TestAuditOfAHost(t *testing.T) {
	t.Parallel()
	directory, volume := testutil.OpenDirectory(t), "audit-volume"
	if err := os.WriteFile(filepath.Join(directory, "file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	mustExecute(t, "docker", "volume", "create", volume)
	t.Cleanup(func() { mustExecute(t, "docker", "volume", "rm", "-f", volume) })
	file := composeFile(t, `
services:
  owner:
    image: ${AUDIT_IMAGE-none}
    command: [sh, -c, "touch /tmp/f && chown 5 /tmp/f && echo done; trap exit TERM; sleep 1000 & wait"]
    cap_add: [SYS_TIME]
`)
	t.Cleanup(func() { mustExecute(t, "docker", "compose", "-f", file, "down") })
	variables := filepath.Join(directory, "variables")
	if err := os.WriteFile(variables, []byte("AUDIT_IMAGE=bb\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	mustExecute(t, "docker", "compose", "-f", file, "--env-file", variables, "create")
	composed := composeProject(t) + "-owner-1"

	host := hostToAudit(directory, volume)
	names, watched := []string{composed}, []string{composed}
	for _, a := range host {
		a.create(t)
		names = append(names, a.container())
		if !a.unseen {
			watched = append(watched, a.container())
		}
	}
	profile := filepath.Join(directory, "profile.json")
	script := "docker start " + strings.Join(watched, " ")
	for _, name := range watched {
		script += "\ngrep --quiet --max-count=1 --line-regexp done < <(exec docker logs --follow " + name + " 2>&1)"
	}
	mustExecute(t, binary, "profile", "--save", profile, "--", "bash", "-ec", script)
	judge := slices.Concat([]string{"--profile", profile, "--min-observed=1ms"}, names)

	before := auditAs(t, 1, judge...)
	if before.Schema != 1 || len(before.Containers) != len(names) {
		t.Fatalf("schema %d, %d containers", before.Schema, len(before.Containers))
	}
	for _, a := range host {
		c := before.Containers[before.of(t, a.container())]
		if c.Status != a.status {
			t.Errorf("%s: %s (%q), want %s", a.name, c.Status, c.Reasons, a.status)
		}
		for _, reason := range a.reasons {
			if !strings.Contains(strings.Join(c.Reasons, "\n"), reason) {
				t.Errorf("%s: reasons %q, want %q", a.name, c.Reasons, reason)
			}
		}
		if !a.unseen {
			same(t, a.name+": used", c.Observation.Used, a.needs)
		}
		var failed []string
		for _, r := range c.Related {
			if r.Status == "fail" {
				failed = append(failed, r.Rule)
			}
		}
		want := slices.Clone(a.related)
		if a.name != "restricted" {
			want = append(want, "CIS-5.26")
		}
		same(t, a.name+": other rules", failed, want)
		known := a.status == "fail" && !a.unseen
		if known != (len(c.Remedy.Run) > 0) || c.Remedy.Certain != (known && a.name != "privileged") || len(c.Remedy.Untranslated) > 0 {
			t.Errorf("%s: %s, and the remedy is %+v", a.name, c.Status, c.Remedy)
		}
	}
	t.Run("grants of a privileged container", func(t *testing.T) {
		status := mustExecute(t, "docker", "exec", "audit-privileged", "sed", "-n", `s/^CapBnd:\t//p`, "/proc/1/status")
		bounding, err := strconv.ParseUint(strings.TrimSpace(status), 16, 64)
		if err != nil {
			t.Fatal(err)
		}
		same(t, "granted", before.Containers[before.of(t, "audit-privileged")].Grants.Set, strings.Split(capability.Set(bounding).String(), ","))
	})
	t.Run("from a database", func(t *testing.T) {
		stored := auditAs(t, 1, slices.Concat([]string{"--db", imported(t, profile), "--min-observed=1ms"}, names)...)
		if diff := cmp.Diff(before, stored); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("formats", func(t *testing.T) { auditFormats(t, judge, len(names)) })
	t.Run("a short observation is not enough", func(t *testing.T) {
		report := auditAs(t, 1, "--profile", profile, "audit-noraw", "audit-default", "audit-exact", "audit-admin", "audit-nothing")
		for name, want := range map[string]string{"noraw": "manual", "default": "fail", "exact": "pass", "admin": "manual", "nothing": "pass"} {
			c := report.Containers[report.of(t, "audit-"+name)]
			if c.Status != want || c.Remedy.Certain || want != "pass" && len(c.Remedy.Observe) == 0 {
				t.Errorf("%s: %s, %q; want %s and commands to run", name, c.Status, c.Reasons, want)
			}
		}
	})
	t.Run("of running containers", func(t *testing.T) {
		args := []string{"--for=1s", "--min-observed=1ms", "audit-noraw", "audit-nothing", "audit-unseen"}
		report := auditAs(t, 0, args...)
		for name, want := range map[string]string{"noraw": "capmon did not see the start of the container", "nothing": "no capability", "unseen": "capmon has never observed it"} {
			if c := report.Containers[report.of(t, "audit-"+name)]; !strings.Contains(strings.Join(c.Reasons, "\n"), want) {
				t.Errorf("%s: %q, want %q", name, c.Reasons, want)
			}
		}
		if c := auditAs(t, 1, append(args, "--even-if-start-unseen")...); c.Containers[0].Name != "audit-noraw" || c.Containers[0].Status != "fail" {
			t.Errorf("%+v", c.Containers)
		}
	})
	t.Run("commands to run find the needs", func(t *testing.T) { auditObserves(t, composed) })
	auditProved(t, directory)

	// Execute every remedy exactly as printed.
	var remedies errgroup.Group
	for _, a := range host {
		c := before.Containers[before.of(t, a.container())]
		if len(c.Remedy.Run) == 0 {
			continue
		}
		remedies.Go(func() error {
			script := strings.Join(append(slices.Clone(c.Remedy.Run), "docker start "+a.container()), "\n")
			if out, err := exec.Command("bash", "-ec", script).CombinedOutput(); err != nil {
				return fmt.Errorf("%s\n%w\n%s", script, err, out)
			}
			if err := works(a.container()); err != nil {
				return err
			}
			script = strings.Join(c.Remedy.Discard, "\n")
			if out, err := exec.Command("bash", "-ec", script).CombinedOutput(); err != nil || script == "" {
				return fmt.Errorf("%q\n%w\n%s", script, err, out)
			}
			return nil
		})
	}
	remedies.Go(func() error { return followCompose(file, before, before.of(t, composed)) })
	if err := remedies.Wait(); err != nil {
		t.Fatal(err)
	}
	after := auditAs(t, 1, judge...)
	for _, a := range append(host, audited{name: "compose"}) {
		name := a.container()
		if a.name == "compose" {
			name = composed
		}
		c := after.Containers[after.of(t, name)]
		want := "pass"
		if a.unseen {
			want = a.status
		}
		if c.Status != want {
			t.Errorf("%s after the remedy: %s (%q), want %s", name, c.Status, c.Reasons, want)
		}
	}
	// With --static, audit needs no capabilities, only access to the engine's socket.
	r := execute(t, "setpriv", "--bounding-set=-all", "--inh-caps=-all", binary, "audit", "--static", "audit-default", "audit-nothing")
	if r.code != 0 || !strings.Contains(r.stdout, "2 containers: 1 manual, 1 pass\n") {
		t.Errorf("exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	if r := execute(t, binary, "audit", "--static", "--strict", "audit-nothing"); r.code != exitFindings {
		t.Errorf("with --strict, 5.26 counts: exit code %d\n%s", r.code, r.stdout)
	}
}

// A container that the engine keeps restarting does not pass, even with few grants.
func TestAuditOfAContainerThatFails(t *testing.T) {
	t.Parallel()
	const name = "audit-failing"
	t.Cleanup(func() { mustExecute(t, "docker", "rm", "-f", name) })
	mustExecute(t, slices.Concat([]string{"docker", "run", "-d", "--name", name, "--restart=always"}, grant(), []string{"bb", "false"})...)
	eventually(t, "the engine starts it again", func() bool {
		return strings.TrimSpace(mustExecute(t, "docker", "inspect", "--format={{.RestartCount}}", name)) != "0"
	})
	c := auditAs(t, 0, "--static", name).Containers[0]
	if c.Status != "manual" || !strings.Contains(strings.Join(c.Reasons, "\n"), "the engine keeps restarting it") {
		t.Errorf("%s: %q", c.Status, c.Reasons)
	}
}

// A container that ended with an error does not pass, although capmon saw it use all its grants: it may have ended
// because it lacks another capability.
func TestAuditOfAContainerThatEndedWithAnError(t *testing.T) {
	t.Parallel()
	const name = "audit-ended"
	t.Cleanup(func() { mustExecute(t, "docker", "rm", "-f", name) })
	saved := filepath.Join(t.TempDir(), "saved.json")
	r := execute(t, slices.Concat([]string{binary, "profile", "--save", saved, "--", "docker", "run", "--name", name}, grant("CHOWN"), []string{"bb"}, sh(owns+" && chroot / true"))...)
	if r.code != 1 {
		t.Fatalf("%+v", r)
	}
	c := auditAs(t, 0, "--profile", saved, name).Containers[0]
	if c.Status != "manual" || !strings.Contains(strings.Join(c.Reasons, "\n"), "it ended with exit code 1") {
		t.Errorf("%s: %q", c.Status, c.Reasons)
	}
}

// A restarted container finds state that its first start left behind. Audit therefore derives no list from a restart.
// The commands that audit prints find the missing needs, and the new container works with the resulting list.
func TestAuditOfARestart(t *testing.T) {
	t.Parallel()
	const name = "audit-restarted"
	directory := withCapmon(t)
	t.Cleanup(func() { mustExecute(t, "docker", "rm", "-f", name, name+"-before", name+"-before-2") })
	start := "trap exit TERM; [ -e /made ] || chown 5 /tmp || exit 1; touch /made && echo done; sleep 1000 & wait"
	mustExecute(t, slices.Concat([]string{"docker", "run", "-d", "--name", name}, grant("CHOWN", "NET_RAW"), []string{"bb"}, sh(start))...)
	if err := works(name); err != nil {
		t.Fatal(err)
	}
	restarted := filepath.Join(directory, "restarted.json")
	mustExecute(t, binary, "profile", "--save", restarted, "--", "docker", "restart", name)
	judge := []string{"--min-observed=1ms", "--min-observed-risky=1ms"}
	c := auditAs(t, 0, append(judge, "--profile", restarted, name)...).Containers[0]
	if c.Status != "manual" || c.Remedy.Certain || !strings.Contains(strings.Join(c.Reasons, "\n"), "capmon did not see the start of the container") && !strings.Contains(strings.Join(c.Reasons, "\n"), "capmon saw only restarts of the container") {
		t.Fatalf("after a restart: %s (%q), %+v", c.Status, c.Reasons, c.Remedy)
	}
	found := filepath.Join(directory, name+".json")
	test := "#!/bin/bash\ngrep --quiet --max-count=1 --line-regexp done < <(exec docker logs --follow $CONTAINER 2>&1)\n"
	if err := os.WriteFile(filepath.Join(directory, "test.sh"), []byte(test), 0o700); err != nil {
		t.Fatal(err)
	}
	inShell(t, directory, []string{strings.Replace(c.Remedy.Prove, "--test=TEST", "--test=./test.sh", 1)})
	proved := auditAs(t, 1, append(judge, "--profile", found, name)...).Containers[0]
	if same(t, "proved list", proved.Remedy.List, caps("CHOWN")); !proved.Remedy.Certain || proved.Remedy.Prove != "" {
		t.Errorf("after a proof: %s (%q), %+v", proved.Status, proved.Reasons, proved.Remedy)
	}
	inShell(t, directory, c.Remedy.Observe)
	c = auditAs(t, 1, append(judge, "--profile", found, name)...).Containers[0]
	if same(t, "list", c.Remedy.List, caps("CHOWN")); !c.Remedy.Certain {
		t.Fatalf("after a start: %s (%q), %+v", c.Status, c.Reasons, c.Remedy)
	}
	inShell(t, directory, c.Remedy.Run)
	if err := works(name); err != nil {
		t.Error(err)
	}
}

// If the needs of several containers are unknown, audit prints one way to find out, instead of commands for each. It
// leads to a decision.
func TestAuditOfManyContainersRecordsAll(t *testing.T) {
	t.Parallel()
	names := []string{"audit-all-one", "audit-all-two"}
	start := func() {
		for _, name := range names {
			mustExecute(t, slices.Concat([]string{"docker", "run", "-d", "--name", name}, grant("CHOWN", "KILL"), []string{"bb", "sleep", "1000"})...)
		}
	}
	remove := func() { mustExecute(t, append([]string{"docker", "rm", "-f"}, names...)...) }
	start()
	t.Cleanup(remove)
	const steps = "Record all containers\n\n2 of these 2 containers have needs that capmon may not know.\n"

	observed := execute(t, append([]string{binary, "audit", "--for=1s"}, names...)...)
	if observed.code != 0 || strings.Count(observed.stdout, steps) != 1 || strings.Contains(observed.stdout, "sleep 600") {
		t.Errorf("%+v", observed)
	}
	alone := execute(t, binary, "audit", "--static", names[0])
	if alone.code != 0 || strings.Contains(alone.stdout, "Record all") || !strings.Contains(alone.stdout, "sleep 600") {
		t.Errorf("%+v", alone)
	}

	s := serve(t, "--save-every=1s")
	judge := slices.Concat([]string{binary, "audit", "--db", s.Database, "--min-observed=1ms"}, names)
	var stored result
	eventually(t, "serve saves the running containers", func() bool {
		stored = execute(t, judge...)
		return strings.Contains(stored.stdout, "capmon did not see the start of the container")
	})
	if stored.code != 0 || !strings.Contains(stored.stdout, steps) || !strings.Contains(stored.stdout, "capmon serve is already recording all containers in the database "+s.Database) {
		t.Errorf("%+v", stored)
	}
	remove()
	start()
	eventually(t, "serve saves the new containers", func() bool {
		stored = execute(t, judge...)
		return strings.Contains(stored.stdout, "CIS 5.4, 2 containers: 2 fail\n")
	})
	if stored.code != exitFindings || strings.Contains(stored.stdout, "Record all containers") {
		t.Errorf("%+v", stored)
	}
	s.interrupt()
	if stored = execute(t, judge...); strings.Contains(stored.stdout, "already recording") {
		t.Errorf("after serve has ended: %+v", stored)
	}
}

// auditCounts verifies that the JUnit output has failures exactly if the exit code reports some, and returns their
// number.
func auditCounts(t *testing.T, options ...string) (failed int) {
	t.Helper()
	r := execute(t, slices.Concat([]string{binary, "audit", "-o", "junit"}, options)...)
	suites, err := junit.Ingest([]byte(r.stdout))
	if err != nil {
		t.Fatal(err)
	}
	for _, suite := range suites {
		failed += suite.Totals.Failed
	}
	if (failed > 0) != (r.code == exitFindings) {
		t.Errorf("%v: %d failures, exit code %d\n%s", options, failed, r.code, r.stdout)
	}
	return failed
}

func TestAuditJUnitAgreesWithExitCode(t *testing.T) {
	t.Parallel()
	for name, options := range map[string][]string{"audit-counts-all": nil, "audit-counts-none": {"--cap-drop=ALL"}} {
		mustExecute(t, slices.Concat([]string{"docker", "create", "--name", name}, options, []string{"bb", "true"})...)
		t.Cleanup(func() { mustExecute(t, "docker", "rm", name) })
	}
	for options, want := range map[string]int{
		"audit-counts-none": 0, "audit-counts-none --strict": 1, "audit-counts-all": 1, "audit-counts-all --strict": 2, // 5.4 and 5.26
	} {
		if got := auditCounts(t, append([]string{"--static"}, strings.Fields(options)...)...); got != want {
			t.Errorf("%s: %d failures, wanted %d", options, got, want)
		}
	}
}

// followCompose writes the proposed lines into the file and applies the file.
func followCompose(file string, report auditReport, at int) error {
	remedy := report.Containers[at].Remedy
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	edited := strings.Replace(string(text), "    cap_add: [SYS_TIME]\n", strings.Join(remedy.Compose[2:], "\n")+"\n", 1)
	if err := os.WriteFile(file, []byte(edited), 0o600); err != nil {
		return err
	}
	if out, err := exec.Command("bash", "-ec", remedy.Up).CombinedOutput(); err != nil {
		return fmt.Errorf("%s\n%w\n%s", remedy.Up, err, out)
	}
	return works(report.Containers[at].Name)
}

// withCapmon returns a directory where shellIn finds the capmon under test.
func withCapmon(t *testing.T) string {
	t.Helper()
	directory := t.TempDir()
	if err := os.Symlink(binary, filepath.Join(directory, "capmon")); err != nil {
		t.Fatal(err)
	}
	return directory
}

func shellIn(directory string, commands []string) ([]byte, error) {
	cmd := exec.Command("bash", "-ec", strings.Join(commands, "\n"))
	cmd.Dir, cmd.Env = directory, append(os.Environ(), "PATH="+directory+":"+os.Getenv("PATH"))
	return cmd.CombinedOutput()
}

func inShell(t *testing.T, directory string, commands []string) {
	t.Helper()
	if out, err := shellIn(directory, commands); err != nil {
		t.Fatalf("%q: %v\n%s", commands, err, out)
	}
}

// auditObserves runs the commands that audit prints for observing what is unknown.
func auditObserves(t *testing.T, composed string) {
	report := auditAs(t, 0, "--static", "--min-observed=1s", "audit-unseen")
	directory := withCapmon(t)
	out, err := shellIn(directory, report.Containers[0].Remedy.Observe)
	if err != nil || !strings.Contains(string(out), "it is granted only capabilities that capmon saw in use: CHOWN") {
		t.Errorf("%v\n%s", err, out)
	}
	discard := strings.Join(report.Containers[0].Remedy.Discard, "\n")
	if out, err := exec.Command("bash", "-ec", discard).CombinedOutput(); err != nil || discard == "" {
		t.Errorf("%q: %v\n%s", discard, err, out)
	}
	report = auditAs(t, exitFindings, "--static", "--min-observed=1s", composed)
	out, err = shellIn(directory, report.Containers[0].Remedy.Observe)
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != exitFindings || !strings.Contains(string(out), " in 2 runs: used CHOWN") {
		t.Errorf("a service: %v\n%s", err, out)
	}
}

// auditProved verifies that audit accepts a proof whatever the container was granted, and however short it ran.
func auditProved(t *testing.T, directory string) {
	t.Helper()
	proof := filepath.Join(directory, "proof.json")
	mustExecute(t, slices.Concat([]string{binary, "verify", "--save", proof, "--", "docker", "run", "--name", "audit-proved"}, grant("CHOWN"), []string{"bb"}, sh(owns))...)
	for _, test := range []struct {
		options []string
		code    int
		status  string
		reason  string
	}{
		{grant("CHOWN"), 0, "pass", "verify has proved that it needs each of its capabilities: CHOWN"},
		{grant("CHOWN", "KILL"), 1, "fail", "KILL is granted and proved unneeded"},
	} {
		mustExecute(t, slices.Concat([]string{"docker", "create", "--name", "audit-proved"}, test.options, []string{"bb", "true"})...)
		report := auditAs(t, test.code, "--profile", proof, "audit-proved")
		if c := report.Containers[0]; c.Status != test.status || !slices.Contains(c.Reasons, "it is "+test.reason) && !slices.Contains(c.Reasons, test.reason) {
			t.Errorf("%v: %s, %q", test.options, c.Status, c.Reasons)
		}
		mustExecute(t, "docker", "rm", "-f", "audit-proved")
	}
}

// auditFormats reads each output format with an independent parser.
func auditFormats(t *testing.T, judge []string, containers int) {
	write := func(format string) []byte {
		r := execute(t, slices.Concat([]string{binary, "audit", "-o", format}, judge)...)
		if r.code != exitFindings || r.stderr != "" {
			t.Fatalf("%s: exit code %d\n%s", format, r.code, r.stderr)
		}
		if strings.Contains(r.stdout, "\x1b") {
			t.Errorf("%s: found an escape sequence", format)
		}
		return []byte(r.stdout)
	}
	const rules = 9

	log, err := sarif.FromBytes(write("sarif"))
	if err != nil {
		t.Fatal(err)
	}
	if err := log.Validate(); err != nil {
		t.Error(err)
	}
	if n := len(log.Runs[0].Results); n != containers*rules || len(log.Runs[0].Tool.Driver.Rules) != rules {
		t.Errorf("SARIF: %d results, %d rules", n, len(log.Runs[0].Tool.Driver.Rules))
	}

	suites, err := junit.Ingest(write("junit"))
	if err != nil {
		t.Fatal(err)
	}
	if totals := suites[0].Totals; len(suites) != rules || totals.Tests != containers || totals.Skipped != 1 || totals.Passed != 4 {
		t.Errorf("JUnit: %d suites, the first of %+v", len(suites), totals)
	}

	rows, err := csv.NewReader(bytes.NewReader(write("csv"))).ReadAll()
	if err != nil || len(rows) != 1+containers*rules {
		t.Errorf("CSV: %d rows, %v", len(rows), err)
	}

	root, err := html.Parse(bytes.NewReader(write("html")))
	if err != nil {
		t.Fatal(err)
	}
	elements := make(map[string]int)
	for node := range root.Descendants() {
		if node.Type == html.ElementNode {
			elements[node.Data]++
		}
		for _, attribute := range node.Attr {
			if strings.HasPrefix(attribute.Key, "on") || attribute.Key == "src" || attribute.Key == "href" && !strings.HasPrefix(attribute.Val, "#") {
				t.Errorf("HTML: attribute %s=%q", attribute.Key, attribute.Val)
			}
		}
	}
	const keyboard = 1 // the details about the keyboard
	if elements["details"] != containers+keyboard || elements["script"] != 2 || elements["link"]+elements["img"]+elements["iframe"] > 0 {
		t.Errorf("HTML: elements %v", elements)
	}

	table := string(write("table"))
	if strings.Count(table, "\n  granted: ") != containers {
		t.Errorf("table:\n%s", table)
	}
	validOSCAL(t, write("oscal"))

	document := string(write("markdown"))
	for _, text := range []string{
		"\n| STATUS | CONTAINER | IMAGE | GRANTED | USED | UNUSED | OBSERVED |\n", "\n| FAIL | `audit-privileged` | `bb:latest` | all ",
		"\n<summary><code>audit-exact</code> of <code>bb:latest</code>: PASS, ", "\n**List: CHOWN**\n", "\n```sh\n# ", " --cap-drop=ALL --cap-add=CHOWN ",
	} {
		if !strings.Contains(document, text) {
			t.Errorf("Markdown: %q is not in\n%s", text, document)
		}
	}
	if !strings.HasPrefix(document, "**Failed: ") || strings.Count(document, "\n<details") != containers || strings.Count(document, "\n</details>\n") != containers {
		t.Errorf("Markdown:\n%s", document)
	}
}

// validOSCAL validates the results against NIST's schema.
func validOSCAL(t *testing.T, document []byte) {
	t.Helper()
	schema, err := os.ReadFile("../../internal/audit/testdata/oscal-ar-schema-1.0.6.json")
	if err != nil {
		t.Fatal(err)
	}
	result, err := gojsonschema.Validate(gojsonschema.NewBytesLoader(schema), gojsonschema.NewBytesLoader(document))
	if err != nil {
		t.Fatal(err)
	}
	for _, fault := range result.Errors() {
		t.Errorf("OSCAL: %s", fault)
	}
}
