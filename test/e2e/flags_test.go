package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	runtime "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/profile"
)

// ownerProfile returns the path of a profile of a container that needs CHOWN and NET_RAW.
func ownerProfile(t *testing.T, name string) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "profile.json")
	mustExecute(t, slices.Concat([]string{binary, "profile", "--save", file, "--", "docker", "run", "--rm", "--name", name, "bb"},
		sh("touch /tmp/f && chown 5 /tmp/f && probe rawsock"))...)
	return file
}

func ownerNeeds() capability.Set { return capability.Of(capability.Chown, capability.NetRaw) }

// showSets is a command that prints the capability sets of a container.
var showSets = []string{"grep", "Cap", "/proc/self/status"}

var setLine = regexp.MustCompile(`Cap(Inh|Prm|Eff|Bnd|Amb):\s*([0-9a-f]{16})`)

// sets reads the output of showSets, by the kernel's names of the sets.
func sets(t *testing.T, output string) map[string]capability.Set {
	t.Helper()
	all := make(map[string]capability.Set)
	for _, match := range setLine.FindAllStringSubmatch(output, -1) {
		bits, err := strconv.ParseUint(match[2], 16, 64)
		if err != nil {
			t.Fatal(err)
		}
		all[match[1]] = capability.Set(bits)
	}
	if len(all) != 5 {
		t.Fatalf("no sets in %q", output)
	}
	return all
}

// grants verifies the capability sets in the output of a container that ran showSets.
func grants(t *testing.T, output string, want capability.Set) {
	t.Helper()
	if got := sets(t, output); got["Bnd"] != want || got["Eff"] != want || got["Prm"] != want {
		t.Errorf("granted is %v, wanted %v", got, want)
	}
}

func flagsOf(t *testing.T, args ...string) string {
	t.Helper()
	return mustExecute(t, append([]string{binary, "flags"}, args...)...)
}

func TestFlagsGrantInContainersOfDocker(t *testing.T) {
	t.Parallel()
	file := ownerProfile(t, "flags-docker")
	for _, style := range []string{"absolute", "delta"} {
		options := strings.Fields(flagsOf(t, "--style", style, file))
		grants(t, mustExecute(t, slices.Concat([]string{"docker", "run", "--rm"}, options, []string{"bb"}, showSets)...), ownerNeeds())
	}
	if got := flagsOf(t, "--for", "service", file); got != "--cap-drop=ALL --cap-add=CHOWN --cap-add=NET_RAW\n" {
		t.Errorf("options of a service: %s", got)
	}
}

// startPodman returns a function that runs podman with the image bb. podman keeps its images and state in a directory
// of the test.
func startPodman(t *testing.T) (podman func(args ...string) result) {
	t.Helper()
	directory, err := os.MkdirTemp("", "podman-") // podman accepts only paths up to 50 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(directory) })
	podman = func(args ...string) result {
		t.Helper()
		return execute(t, append([]string{
			"podman", "--root", filepath.Join(directory, "root"), "--runroot", filepath.Join(directory, "run"), "--tmpdir", filepath.Join(directory, "tmp"),
			"--storage-driver=vfs", "--cgroup-manager=cgroupfs", "--events-backend=none", "--runtime=runc",
		}, args...)...)
	}
	if r := podman("load", "-i", imageArchive(t, "bb")); r.code != 0 {
		t.Fatal(r.stderr)
	}
	return podman
}

// podmanRun returns the arguments of podman run that the tests need. podman's default limits are higher than some hosts
// allow.
func podmanRun(options ...string) []string {
	return append([]string{"run", "--rm", "--network=none", "--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"}, options...)
}

func TestFlagsGrantInContainersOfPodman(t *testing.T) {
	t.Parallel()
	podman := startPodman(t)
	file := ownerProfile(t, "flags-podman")
	for _, style := range []string{"absolute", "delta"} {
		options := strings.Fields(flagsOf(t, "--for", "podman", "--style", style, file))
		r := podman(append(podmanRun(append(options, "bb")...), showSets...)...)
		grants(t, r.stdout, ownerNeeds())
	}
}

// Docker lets every process in a container bind low ports. capmon sees such ports with every kernel.
func TestLowPortsAreSeen(t *testing.T) {
	t.Parallel()
	out := mustExecute(t, binary, "profile", "-o", "json", "--", "docker", "run", "--rm", "--name", "low-port-seen", "bb", "sh", "-c",
		"probe bind 81; probe bind 53 10 2; probe socket 2 2 1; probe bind 8080")
	var report struct {
		Containers []struct {
			LimitsSeen bool
			Lifted     []profile.Lifted
		}
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil || len(report.Containers) != 1 || !report.Containers[0].LimitsSeen {
		t.Fatalf("%v\n%s", err, out)
	}
	var got []string
	for _, l := range report.Containers[0].Lifted {
		got = append(got, fmt.Sprint(l.Capability, " ", l.Transport, l.Port, " ", l.Program, " ", l.Count))
	}
	if want := []string{"NET_BIND_SERVICE UDP53 probe 1", "NET_BIND_SERVICE TCP81 probe 1", "NET_RAW 0 probe 1"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Docker lets every process in a container bind low ports, podman does not. The list for podman grants the capability
// that this needs there.
func TestLowPortsWorkInPodman(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "profile.json")
	server := []string{"bb", "probe", "bind", "81"}
	mustExecute(t, slices.Concat([]string{binary, "profile", "--save", file, "--", "docker", "run", "--rm", "--name", "low-port"}, server)...)
	docker := strings.Fields(flagsOf(t, file))
	if !slices.Equal(docker, []string{"--cap-drop=ALL"}) {
		t.Errorf("in Docker it needs %v", docker)
	}
	mustExecute(t, slices.Concat([]string{"docker", "run", "--rm"}, docker, server)...)

	podman := startPodman(t)
	if r := podman(podmanRun(append(docker, server...)...)...); r.code == 0 {
		t.Error("podman lets it bind without a capability: this test proves nothing")
	}
	r := execute(t, binary, "flags", "--for", "podman", file)
	options := strings.Fields(r.stdout)
	if !slices.Equal(options, []string{"--cap-drop=ALL", "--cap-add=NET_BIND_SERVICE"}) || !strings.Contains(r.stderr, "probe bound TCP port 81") {
		t.Errorf("for podman: %v\n%s", options, r.stderr)
	}
	if r := podman(podmanRun(append(options, server...)...)...); r.code != 0 {
		t.Errorf("under the list for podman: %d, %s", r.code, r.stderr)
	}
	if r := podman(podmanRun(append([]string{"--cap-drop=ALL", "--sysctl=net.ipv4.ip_unprivileged_port_start=81"}, server...)...)...); r.code != 0 {
		t.Errorf("with the sysctl of the note: %d, %s", r.code, r.stderr)
	}
}

// Docker lets all users open sockets for ICMP echo, podman only root's group.
func TestEchoSocketsWorkInPodman(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "profile.json")
	ping := []string{"--user=1000", "bb", "probe", "socket", "2", "2", "1"}
	mustExecute(t, slices.Concat([]string{binary, "profile", "--save", file, "--", "docker", "run", "--rm", "--name", "echo"}, ping)...)
	r := execute(t, binary, "flags", "--for", "podman", file)
	note := regexp.MustCompile(`probe opened a socket for ICMP echo .* the sysctl (net.ipv4.ping_group_range=\d+ \d+)`).FindStringSubmatch(r.stderr)
	if note == nil || r.stdout != "--cap-drop=ALL\n" {
		t.Fatalf("%+v", r)
	}
	podman, options := startPodman(t), strings.Fields(r.stdout)
	if r := podman(podmanRun(append(options, ping...)...)...); r.code == 0 {
		t.Error("it works without the sysctl of the note")
	}
	if r := podman(podmanRun(slices.Concat(options, []string{"--sysctl=" + note[1]}, ping)...)...); r.code != 0 {
		t.Errorf("with the sysctl of the note: %d, %s", r.code, r.stderr)
	}
}

// The seccomp profile of this podman allows bpf only with SYS_ADMIN.
func TestPodmanHasAnotherSeccompProfile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "profile.json")
	load := []string{"bb", "probe", "bpf-array"}
	const unconfined = "--security-opt=seccomp=unconfined"
	// Docker before 23.0 does not know the name BPF: the saved profile has SYS_ADMIN, which the test replaces.
	mustExecute(t, slices.Concat([]string{binary, "profile", "--save", file, "--", "docker", "run", "--rm", "--name", "narrow-bpf", unconfined, "--cap-add=SYS_ADMIN"}, load)...)
	saved, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, file, strings.NewReplacer(`"SYS_ADMIN"`, `"BPF"`, `"BPF"`, `"SYS_ADMIN"`).Replace(string(saved)))
	r := execute(t, binary, "flags", "--for", "podman", file)
	if r.stdout != "--cap-drop=ALL --cap-add=BPF\n" || !strings.Contains(r.stderr, "podman's seccomp profile may require SYS_ADMIN for bpf. If bpf fails, do not add SYS_ADMIN: choose a seccomp profile that allows bpf") {
		t.Fatalf("%+v", r)
	}
	podman, options := startPodman(t), strings.Fields(r.stdout)
	if r := podman(podmanRun(append(options, load...)...)...); r.code == 0 {
		t.Error("this podman needs no note")
	}
	if r := podman(podmanRun(slices.Concat(options, []string{unconfined}, load)...)...); r.code != 0 {
		t.Errorf("with another profile, as the note says: %d, %s", r.code, r.stderr)
	}
}

func TestFlagsGrantInABundleOfRunc(t *testing.T) {
	t.Parallel()
	bundle := t.TempDir()
	root, archive := filepath.Join(bundle, "rootfs"), filepath.Join(bundle, "rootfs.tar")
	created := strings.TrimSpace(mustExecute(t, "docker", "create", "bb"))
	t.Cleanup(func() { mustExecute(t, "docker", "rm", created) })
	mustExecute(t, "docker", "export", "-o", archive, created)
	mustExecute(t, "mkdir", root)
	mustExecute(t, "tar", "-xf", archive, "-C", root)
	mustExecute(t, "runc", "spec", "--bundle", bundle)

	var spec, settings runtime.Spec
	path := filepath.Join(bundle, "config.json")
	readJSON(t, path, &spec)
	if err := json.Unmarshal([]byte(flagsOf(t, "--for", "oci", ownerProfile(t, "flags-oci"))), &settings); err != nil {
		t.Fatal(err)
	}
	spec.Process.Terminal, spec.Process.Args, spec.Process.Capabilities = false, showSets, settings.Process.Capabilities
	data, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, path, string(data))
	grants(t, mustExecute(t, "runc", "--root", filepath.Join(bundle, "state"), "run", "--bundle", bundle, "capmon-flags-oci"), ownerNeeds())
}

func readJSON(t *testing.T, path string, into any) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(data, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Compose applies the settings correctly, both from a separate file that is combined with the main file, and when they
// are written into the main file.
func TestFlagsGrantInServicesOfCompose(t *testing.T) {
	t.Parallel()
	const text = `name: flags-compose
services:
  owner: # changes owners
    image: bb
    network_mode: none
    command: [sh, -c, "touch /tmp/f && chown 5 /tmp/f && probe rawsock"]
  idle:
    image: bb
    network_mode: none
    command: ["true"]
`
	directory := t.TempDir()
	file, saved, override := filepath.Join(directory, "compose.yml"), filepath.Join(directory, "profile.json"), filepath.Join(directory, "flags.yml")
	writeFile(t, file, text)
	t.Cleanup(func() { mustExecute(t, "docker", "compose", "-f", file, "down") })
	mustExecute(t, binary, "profile", "--save", saved, "--", "docker", "compose", "-f", file, "up")

	for _, style := range []string{"absolute", "delta"} {
		writeFile(t, override, flagsOf(t, "--for", "compose", "--style", style, saved))
		var config struct {
			Services map[string]struct {
				Add  []string `json:"cap_add"`
				Drop []string `json:"cap_drop"`
			}
		}
		out := mustExecute(t, "docker", "compose", "-f", file, "-f", override, "config", "--format=json")
		if err := json.Unmarshal([]byte(out), &config); err != nil {
			t.Fatal(err)
		}
		for service, want := range map[string]capability.Set{"owner": ownerNeeds(), "idle": 0} {
			lists := config.Services[service]
			if got, err := capability.Granted(lists.Add, lists.Drop, false, capability.CheckpointRestore); err != nil || got != want {
				t.Errorf("%s %s: granted is %v, %v; wanted %v", style, service, got, err, want)
			}
		}
	}

	if err := os.Chmod(file, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(file, 1234, 4321); err != nil {
		t.Fatal(err)
	}
	patch := []string{binary, "flags", "--for", "compose", "--patch", file, saved}
	shown := execute(t, append(patch, "--dry-run")...)
	if shown.code != 0 || readText(t, file) != text {
		t.Fatalf("a dry run: %+v\n%s", shown, readText(t, file))
	}
	made := execute(t, patch...)
	if made.code != 0 || made.stdout != shown.stdout {
		t.Errorf("%+v, but the dry run printed\n%s", made, shown.stdout)
	}
	again := execute(t, patch...)
	if again.code != 0 || again.stdout != "" || !strings.Contains(again.stderr, "already has these settings") {
		t.Errorf("a second time: %+v", again)
	}
	if got := strings.TrimSpace(mustExecute(t, "stat", "-c", "%a %u %g", file)); got != "640 1234 4321" {
		t.Errorf("mode and owner are %s", got)
	}
	if entries, err := os.ReadDir(directory); err != nil || len(entries) != 3 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
	grants(t, mustExecute(t, slices.Concat([]string{"docker", "compose", "-f", file, "run", "--rm", "-T", "owner"}, showSets)...), ownerNeeds())
	grants(t, mustExecute(t, slices.Concat([]string{"docker", "compose", "-f", file, "run", "--rm", "-T", "idle"}, showSets)...), 0)

	// git apply accepts the diff.
	copied := filepath.Join(t.TempDir(), "compose.yml")
	writeFile(t, copied, text)
	cmd := exec.Command("git", "apply", "--unsafe-paths", "-p0", "-")
	cmd.Dir, cmd.Stdin = filepath.Dir(copied), strings.NewReader(strings.ReplaceAll(made.stdout, file, "compose.yml"))
	if out, err := cmd.CombinedOutput(); err != nil || readText(t, copied) != readText(t, file) {
		t.Errorf("applied, the diff gives another file: %v %s\n%s", err, out, made.stdout)
	}
}

func readText(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
