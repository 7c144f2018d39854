package e2e

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// reasonUse has the fields of a use that the tests read.
type reasonUse struct{ Capability, Class, Program, Reason string }

// usesOf returns the uses of the only container of a JSON report.
func usesOf(t *testing.T, r result) []reasonUse {
	t.Helper()
	var report struct{ Containers []struct{ Uses []reasonUse } }
	if err := json.Unmarshal([]byte(r.stdout), &report); err != nil || len(report.Containers) != 1 {
		t.Fatalf("%v: not a report of one container: %s%s", err, r.stdout, r.stderr)
	}
	return report.Containers[0].Uses
}

// denied verifies that the only denied need in a report is an execve that failed without NET_BIND_SERVICE.
func denied(t *testing.T, r result, name, by, what, whose string) {
	t.Helper()
	same(t, "denied", only(t, parseReport(t, r), name).Denied, caps("NET_BIND_SERVICE"))
	want := reasonUse{"NET_BIND_SERVICE", "denied", by, "execve of " + what + " failed with EPERM: " + whose + " require NET_BIND_SERVICE"}
	got := slices.DeleteFunc(usesOf(t, r), func(use reasonUse) bool { return use.Class != "denied" })
	if !slices.Equal(got, []reasonUse{want}) {
		t.Errorf("denied %+v, wanted %+v", got, want)
	}
}

// The kernel does not execute a file whose capabilities the container does not have. It fails the call without a check.
func TestFailedExecutionsOfFilesWithCapabilitiesAreDenied(t *testing.T) {
	t.Parallel()
	w := workload{options: []string{"--cap-drop=ALL"}, command: sh("/bin/probe-bind bind 8080; true")}
	r := execute(t, append([]string{binary, "profile", "-o", "json", "--"}, w.dockerRun("execve-denied")...)...)
	denied(t, r, "execve-denied", "sh", "/bin/probe-bind", "its file capabilities")
}

// Without the capabilities of its first program a container never starts.
func TestFirstProgramsThatCannotBeExecutedAreDenied(t *testing.T) {
	t.Parallel()
	const name = "execve-denied-first"
	w := workload{options: []string{"--cap-drop=ALL"}, command: []string{"/bin/probe-bind", "bind", "8080"}}
	r := execute(t, append([]string{binary, "profile", "-o", "json", "--"}, w.dockerRun(name)...)...)
	denied(t, r, name, "runc:[2:INIT]", "/bin/probe-bind", "its file capabilities")
	why := "capmon saw only the runtime setup of the container, not its workload. The file capabilities of its program require NET_BIND_SERVICE. Its other needs are unknown"
	if got := only(t, parseReport(t, r), name).Cautions; !slices.Contains(got, why) {
		t.Errorf("cautions %q", got)
	}
}

// If a container never started, capmon reads from its image where a link leads and which interpreter a script has.
func TestFirstProgramsBehindLinksAndScriptsAreDenied(t *testing.T) {
	t.Parallel()
	const image = "execve-denied-image"
	mustExecute(t, slices.Concat([]string{"docker", "run", "--name", image, "bb"}, sh("ln -s ../bin/probe-bind /tmp/link && echo '#! /tmp/link' >/tmp/script && chmod +x /tmp/script"))...)
	mustExecute(t, "docker", "commit", image, image)
	mustExecute(t, "docker", "rm", image)
	t.Cleanup(func() { mustExecute(t, "docker", "rmi", image) })
	for _, program := range []string{"/tmp/link", "/tmp/script"} {
		name := image + "-" + filepath.Base(program)
		r := execute(t, binary, "profile", "-o", "json", "--", "docker", "run", "--rm", "--name", name, "--cap-drop=ALL", image, program)
		denied(t, r, name, "runc:[2:INIT]", program, "the file capabilities of /bin/probe-bind")
	}
}

// The kernel uses the capabilities of the file that a link leads to, and of the interpreter of a script.
func TestProgramsBehindLinksAndScriptsAreDenied(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]string{
		"link":   "ln -s ../bin/probe-bind /tmp/program",
		"script": "echo '#! /bin/probe-bind' >/tmp/program; chmod +x /tmp/program",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			name := "execve-denied-" + name
			startSleeper(t, name, "--cap-drop=ALL")
			observation := watch(t, name)
			mustExecute(t, "docker", "exec", name, "sh", "-c", test+"; /tmp/program; true")
			denied(t, observation.interrupt(), name, "sh", "/tmp/program", "the file capabilities of /bin/probe-bind")
		})
	}
}

// A program that the container could not execute for another reason is not a need.
func TestOtherFailedExecutionsAddNoNeeds(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]workload{
		"not-effective": {options: []string{"--cap-drop=ALL"}, command: sh("/bin/probe-raw true; true")},
		"no-file":       {options: []string{"--cap-drop=ALL"}, command: sh("/bin/none; true")},
		"no-program":    {options: []string{"--cap-drop=ALL"}, command: sh("/etc/passwd; true")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			id := "execve-fails-" + name
			r := execute(t, append([]string{binary, "profile", "-o", "json", "--"}, test.dockerRun(id)...)...)
			got := only(t, parseReport(t, r), id)
			same(t, "denied", got.Denied, nil)
			same(t, "unexamined", got.Unexamined, nil)
		})
	}
}

// The report of a trial without a file capability says why the trial failed, although the container did not even start.
func TestVerifyReportsWhyAProgramCannotBeExecuted(t *testing.T) {
	t.Parallel()
	p, r := prove(t, "--", "docker", "run", "--rm", "bb", "/bin/probe-bind", "bind", "8080")
	same(t, "the set", p.Set, caps("NET_BIND_SERVICE"))
	without := p.Trials[p.Members[0].Trial-1]
	if without.Same || len(without.DeniedChecks) == 0 || !strings.HasPrefix(without.DeniedChecks[0].Reason, "execve of /bin/probe-bind failed with EPERM") {
		t.Errorf("%+v\n%s", without, r.stderr)
	}
}

// capset also fails without a check when it requests capabilities that the process may not have. The kernel checks
// SETPCAP in each call. Only the arguments tell whether SETPCAP would have helped, and capmon does not trust the
// arguments of a call that failed.
func TestFailedCapsetsAreDenied(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		options []string
		command string
		denied  []string
	}{
		"permitted":   {caps("--cap-drop=ALL"), "probe capset-add 13", caps("NET_RAW", "SETPCAP")},
		"effective":   {caps("--cap-drop=ALL"), "probe capset-effective 13", caps("NET_RAW", "SETPCAP")},
		"inheritable": {caps("--cap-drop=ALL", "--cap-add=SETPCAP"), "probe capset-inheritable 13", caps("NET_RAW")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			id := "capset-denied-" + name
			w := workload{options: test.options, command: sh(test.command + "; true")}
			r := execute(t, append([]string{binary, "profile", "-o", "json", "--"}, w.dockerRun(id)...)...)
			same(t, "denied", only(t, parseReport(t, r), id).Denied, test.denied)
			for _, use := range usesOf(t, r) {
				if use.Class == "denied" && use.Capability == "SETPCAP" && !strings.Contains(use.Reason, "according to its arguments, the call failed for another reason") {
					t.Errorf("SETPCAP: %s", use.Reason)
				}
			}
		})
	}
}
