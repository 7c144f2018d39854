package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/doctor"
	"github.com/capmon/capmon/internal/testutil"
)

// The tests read the shipped files, so that the files match the code.
const (
	unitFile      = "../../packaging/systemd/capmon-profile@.service"
	privilegesDoc = "../../docs/privileges.md"
)

// unit returns the settings of the shipped unit that profiles a container.
func unit(t *testing.T) map[string]string {
	t.Helper()
	return unitOf(t, unitFile)
}

// unitOf returns the settings of a unit by their names.
func unitOf(t *testing.T, file string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	settings := make(map[string]string)
	for line := range strings.Lines(string(text)) {
		name, value, found := strings.Cut(strings.TrimSpace(line), "=")
		if found && !strings.HasPrefix(name, "#") {
			settings[name] = value
		}
	}
	return settings
}

// The state directory has the names and paths of all containers, and alerts.
func TestUnitsProtectTheirStateDirectory(t *testing.T) {
	t.Parallel()
	units, err := filepath.Glob("../../packaging/systemd/*.service")
	if err != nil || len(units) < 2 {
		t.Fatalf("units %q, %v", units, err)
	}
	for _, file := range units {
		if settings := unitOf(t, file); settings["StateDirectory"] == "" || settings["StateDirectoryMode"] != "0700" {
			t.Errorf("%s: StateDirectory=%s, StateDirectoryMode=%s", file, settings["StateDirectory"], settings["StateDirectoryMode"])
		}
	}
}

func parseCapabilities(t *testing.T, names ...string) (set capability.Set) {
	t.Helper()
	for _, name := range names {
		c, err := capability.Parse(name)
		if err != nil {
			t.Fatal(err)
		}
		set = set.With(c)
	}
	return set
}

// Run the command of the unit with the unit's capabilities, as the unit's user and as root, and stop it as systemd
// does.
func TestUnitProfilesWithItsCapabilities(t *testing.T) {
	t.Parallel()
	settings := unit(t)
	set := parseCapabilities(t, strings.Fields(settings["AmbientCapabilities"])...)
	if bounding := parseCapabilities(t, strings.Fields(settings["CapabilityBoundingSet"])...); set != least || bounding != least {
		t.Errorf("ambient %v, bounding %v, wanted %v", set, bounding, least)
	}
	for name, uid := range map[string]uint32{"unit-root": 0, "unit-nobody": nobody} {
		t.Run(name, func(t *testing.T) {
			state := testutil.OpenDirectory(t)
			command := strings.Fields(strings.NewReplacer("/usr/local/bin/capmon", binary, "${STATE_DIRECTORY}", state,
				"${INVOCATION_ID}", "0123", "%i", name).Replace(settings["ExecStart"]))
			exercised(t, name)
			few := watchBy(t, restricted(set, uid), append(command, "-o", "json")...)
			all := watch(t, name)
			exercise(t, name, few, all)
			wanted := all.interrupt()
			alike(t, name, few.end(syscall.SIGTERM), wanted)
			saved := execute(t, binary, "report", "-o", "json", filepath.Join(state, name+"-0123.json"))
			alike(t, name, saved, wanted)
		})
	}
}

func TestUnitIsValid(t *testing.T) {
	t.Parallel()
	testutil.NeedCommand(t, "systemd-analyze", "--version")
	text, err := os.ReadFile(unitFile)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), filepath.Base(unitFile))
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(string(text), "/usr/local/bin/capmon", binary)), 0o644); err != nil {
		t.Fatal(err)
	}
	if r := execute(t, "systemd-analyze", "verify", strings.Replace(file, "@", "@web", 1)); r.code != 0 || r.stdout+r.stderr != "" {
		t.Errorf("%+v", r)
	}
}

// documented returns the documented command for this engine as words, with the socket that the tests use, a name and
// additional options of docker run.
func documented(t *testing.T, name string, options ...string) []string {
	t.Helper()
	text, err := os.ReadFile(privilegesDoc)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "docker run ") && strings.Contains(line, "--cap-add=BPF ") == knowsBPF(t) {
			found = append(found, line)
		}
	}
	if len(found) != 1 {
		t.Fatalf("wanted one command: %q", found)
	}
	socket := strings.TrimPrefix(os.Getenv("DOCKER_HOST"), "unix://")
	words := strings.Fields(strings.Replace(found[0], "/var/run/docker.sock", socket, 1))
	end := slices.Index(words, "capmon")
	if !slices.Equal(words[end:], []string{"capmon", "profile", "web"}) {
		t.Fatalf("the command does not end with capmon profile web: %q", words)
	}
	return slices.Concat(words[:2], []string{"--name=" + name}, options, words[2:end+1])
}

// knowsBPF reports whether the engine knows CAP_BPF and CAP_PERFMON.
func knowsBPF(t *testing.T) bool {
	t.Helper()
	major, _, _ := strings.Cut(mustExecute(t, "docker", "version", "--format={{.Server.Version}}"), ".")
	n, err := strconv.Atoi(major)
	if err != nil {
		t.Fatal(err)
	}
	return n >= 23
}

func TestDocumentedContainersHaveTheLeastCapabilities(t *testing.T) {
	t.Parallel()
	instead := least.Without(capability.BPF).Without(capability.Perfmon).With(capability.SysAdmin)
	text := strings.ReplaceAll(contents(t, privilegesDoc), "\\\n", "")
	for engine, wanted := range map[string][]capability.Set{"docker": {least, instead}, "podman": {least}, "ctr": {least}} {
		var sets []capability.Set
		for line := range strings.Lines(text) {
			if !strings.HasPrefix(line, engine+" run ") {
				continue
			}
			set, dropped := valuesOf(t, line, "--cap-add="), valuesOf(t, line, "--cap-drop=")
			if engine == "ctr" && dropped != parseCapabilities(t, containerdDefault()...) {
				t.Errorf("ctr drops %v", dropped)
			}
			sets = append(sets, set)
		}
		if !slices.Equal(sets, wanted) {
			t.Errorf("%s: %v, wanted %v", engine, sets, wanted)
		}
	}
}

// valuesOf returns the capabilities in the options of a command that begin with a prefix, without ALL.
func valuesOf(t *testing.T, command, prefix string) capability.Set {
	t.Helper()
	var names []string
	for word := range strings.FieldsSeq(command) {
		if name, found := strings.CutPrefix(word, prefix); found && name != "ALL" {
			names = append(names, name)
		}
	}
	return parseCapabilities(t, names...)
}

var makeImage = sync.OnceValues(func() ([]byte, error) {
	if guest() != "" { // a guest has the program, but not make
		return exec.Command("docker", "build", "--tag=capmon", "--file=../../packaging/container/Dockerfile", filepath.Dir(binary)).CombinedOutput()
	}
	return exec.Command("make", "-C", "../..", "image").CombinedOutput()
})

func TestDocumentedContainerProfiles(t *testing.T) {
	t.Parallel()
	if out, err := makeImage(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, finding := range diagnose(t, (*exec.Cmd).Start, append(documented(t, "doctor"), "doctor", "-o", "json")...) {
		if finding.Status != doctor.OK {
			t.Errorf("%+v", finding)
		}
	}
	optionsOf := map[string][]string{"recipe": nil}
	if guest() == "" { // systemd here can list its sets of system calls
		optionsOf["recipe-of-unit-calls"] = []string{"--security-opt=seccomp=" + seccompOf(t, unit(t)["SystemCallFilter"])}
	}
	for name, options := range optionsOf {
		t.Run(name, func(t *testing.T) {
			exercised(t, name)
			own := filepath.Dir(t.TempDir()) // of this test alone, as is the ready file in it
			options = append(options, "--volume="+own+":"+own)
			few := watchBy(t, (*exec.Cmd).Start, append(documented(t, "capmon-"+name, options...), "profile", "-o", "json", name)...)
			pid, err := strconv.Atoi(strings.TrimSpace(mustExecute(t, "docker", "inspect", "--format={{.State.Pid}}", "capmon-"+name)))
			if err != nil {
				t.Fatal(err)
			}
			few.Child, _ = os.FindProcess(pid)
			all := watch(t, name)
			exercise(t, name, few, all)
			alike(t, name, few.interrupt(), all.interrupt())
		})
	}
}

// Without the host's cgroups capmon cannot see all containers from inside a container, and says so.
func TestMissingCgroupsInAContainerAreReported(t *testing.T) {
	t.Parallel()
	if out, err := makeImage(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	command := documented(t, "capmon-part")
	i := slices.Index(command, "/sys/fs/cgroup:/sys/fs/cgroup:ro")
	command = slices.Delete(command, i-1, i+1)
	if r := execute(t, slices.Concat(command, []string{"profile", "--for", "1ms"})...); r.code != exitDone || !strings.Contains(r.stderr, "capmon cannot see containers that are already running") {
		t.Errorf("%+v", r)
	}
}

// seccompOf writes a seccomp profile for Docker that allows the calls of a SystemCallFilter=, without those that Docker
// 23.0.0 to 23.0.6 and 24.0.0 to 24.0.2 deny processes that lack SYS_ADMIN.
func seccompOf(t *testing.T, filter string) string {
	t.Helper()
	type rule struct {
		Names  []string `json:"names"`
		Action string   `json:"action"`
	}
	calls := systemCalls(t, append(strings.Fields(filter), "@default"))
	calls = slices.DeleteFunc(calls, func(call string) bool { return call == "name_to_handle_at" })
	profile, err := json.Marshal(map[string]any{
		"defaultAction": "SCMP_ACT_ERRNO",
		"syscalls":      []rule{{calls, "SCMP_ACT_ALLOW"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "seccomp.json")
	if err := os.WriteFile(file, profile, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// systemCalls expands the names of systemd's sets.
func systemCalls(t *testing.T, words []string) (calls []string) {
	t.Helper()
	for _, word := range words {
		if !strings.HasPrefix(word, "@") {
			calls = append(calls, word)
			continue
		}
		var members []string
		for line := range strings.Lines(mustExecute(t, "systemd-analyze", "syscall-filter", word)) {
			if member := strings.TrimSpace(line); member != "" && member != word && !strings.HasPrefix(member, "#") {
				members = append(members, member)
			}
		}
		calls = append(calls, systemCalls(t, members)...)
	}
	return calls
}
