package e2e

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	runtime "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/internal/alert"
	"github.com/capmon/capmon/internal/testutil"
)

// bundle is a container that an OCI runtime runs without an engine.
type bundle struct {
	t              *testing.T
	runc, id, path string
}

// newBundle creates a bundle that runs a script with busybox. Its ID has the form of an engine's IDs.
func newBundle(t *testing.T, runc, script string, change func(*runtime.Spec)) bundle {
	t.Helper()
	id := make([]byte, 32)
	_, _ = rand.Read(id) // it never fails
	b := bundle{t: t, runc: runc, id: hex.EncodeToString(id), path: t.TempDir()}
	t.Cleanup(func() {
		_ = exec.Command(runc, "--root", filepath.Join(b.path, "state"), "delete", "--force", b.id).Run()
	})
	root := filepath.Join(b.path, "rootfs")
	mustExecute(t, "install", "-D", busyboxOfTheHost(t), filepath.Join(root, "bin/busybox"))
	mustExecute(t, runc, "spec", "--bundle", b.path)
	config := filepath.Join(b.path, "config.json")
	var spec runtime.Spec
	readJSON(t, config, &spec)
	none, some := []string{}, []string{"CAP_NET_RAW", "CAP_DAC_READ_SEARCH"}
	spec.Process.Capabilities = &runtime.LinuxCapabilities{Bounding: some, Permitted: some, Effective: some, Inheritable: none, Ambient: none}
	spec.Process.Terminal, spec.Process.Args = false, []string{"/bin/busybox", "sh", "-c", script}
	spec.Linux.CgroupsPath = "/" + b.id
	if change != nil {
		change(&spec)
	}
	data, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, config, string(data))
	return b
}

// useRootOfHost uses the host's root directory as that of the container.
func (b bundle) useRootOfHost() {
	b.t.Helper()
	root := filepath.Join(b.path, "rootfs")
	if err := unix.Mount("/", root, "", unix.MS_BIND, ""); err != nil {
		b.t.Fatalf("mounting the host's root directory: %v", err)
	}
	b.t.Cleanup(func() {
		if err := unix.Unmount(root, unix.MNT_DETACH); err != nil {
			b.t.Error(err)
		}
	})
}

func busyboxOfTheHost(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// do runs a command of the runtime on the container. The runtime keeps no pipe of the test open.
func (b bundle) do(arguments ...string) {
	b.t.Helper()
	log := filepath.Join(b.path, "log")
	command := slices.Concat([]string{"--root", filepath.Join(b.path, "state"), "--log", log}, arguments, []string{b.id})
	if err := exec.Command(b.runc, command...).Run(); err != nil {
		text, _ := os.ReadFile(log)
		b.t.Fatalf("%s %v: %v\n%s", b.runc, command, err, text)
	}
}

// end deletes the container once its program has ended.
func (b bundle) end() {
	b.t.Helper()
	eventually(b.t, "the program has ended", func() bool {
		state := mustExecute(b.t, b.runc, "--root", filepath.Join(b.path, "state"), "state", b.id)
		return strings.Contains(state, `"status": "stopped"`)
	})
	b.do("delete")
}

// awaitLongSetup waits for the alert of the built-in rule about a container.
func (l *livewatch) awaitLongSetup(id string) (found alert.Alert) {
	l.T.Helper()
	eventually(l.T, "an alert about a long setup", func() bool {
		all := l.longSetups(id)
		if len(all) > 0 {
			found = all[0]
		}
		return len(all) > 0
	})
	return found
}

// longSetups returns the alerts about the long setup of a container so far.
func (l *livewatch) longSetups(id string) (all []alert.Alert) {
	l.T.Helper()
	text := l.lines.String()
	for line := range strings.Lines(text[:strings.LastIndex(text, "\n")+1]) {
		var one alert.Alert
		if err := json.Unmarshal([]byte(line), &one); err != nil {
			l.T.Fatalf("not JSON: %v\n%s", err, line)
		}
		if one.Use.Container.ID == id && one.Rule == "long-setup" {
			all = append(all, one)
		}
	}
	return all
}

// hidden has functions that create a container which uses the returned capability after 31 seconds of runtime setup.
var hidden = map[string]func(t *testing.T, runc string) (b bundle, capability string){
	// capmon cannot distinguish a workload whose root directory is the host's from the runtime.
	"the root of the host": func(t *testing.T, runc string) (bundle, string) {
		t.Helper()
		busybox := busyboxOfTheHost(t)
		return onRootOfHost(t, runc, busybox+" ping -c 1 127.0.0.1; true"), "NET_RAW"
	},
	// capmon counts the checks of an execve as runtime setup until the call ends.
	"an execve": func(t *testing.T, runc string) (bundle, string) {
		t.Helper()
		private := testutil.OpenDirectory(t)
		program := filepath.Join(private, "busybox")
		mustExecute(t, "cp", busyboxOfTheHost(t), program)
		if err := errors.Join(os.Chmod(private, 0o700), os.Chown(private, 5, 5)); err != nil {
			t.Fatal(err)
		}
		return onRootOfHost(t, runc, program+" true"), "DAC_READ_SEARCH"
	},
	// A hook is part of the runtime setup.
	"a hook": func(t *testing.T, runc string) (bundle, string) {
		t.Helper()
		file := filepath.Join(t.TempDir(), "file")
		writeFile(t, file, "")
		busybox := busyboxOfTheHost(t)
		script := []string{busybox, "sh", "-c", "sleep 31; " + busybox + " chown 5 " + file}
		return newBundle(t, runc, "true", func(spec *runtime.Spec) {
			spec.Hooks = &runtime.Hooks{CreateContainer: []runtime.Hook{{Path: busybox, Args: script}}}
		}), "CHOWN"
	},
}

// onRootOfHost creates a container with the host's root directory that runs a script after 31 seconds.
func onRootOfHost(t *testing.T, runc, script string) bundle {
	t.Helper()
	b := newBundle(t, runc, "sleep 31; "+script, func(spec *runtime.Spec) {
		spec.Process.Args[0] = busyboxOfTheHost(t)
	})
	b.useRootOfHost()
	return b
}

// Uses of capabilities late in the runtime setup always raise an alert. A container that was created long before it is
// started raises none.
func TestLongSetupRaisesAlertAndFailsChecks(t *testing.T) {
	t.Parallel()
	for runc, path := range map[string]string{"runc": "runc", "newest-runc": "../../.cache/bin/runc"} {
		path, err := exec.LookPath(path)
		if err == nil {
			path, err = filepath.Abs(path)
		}
		if err != nil {
			t.Fatal(err)
		}
		for name, hide := range hidden {
			t.Run(runc+"/"+name, func(t *testing.T) {
				t.Parallel()
				hiding, capability := hide(t, path)
				waiting := newBundle(t, path, "true", nil)
				save := filepath.Join(t.TempDir(), "profile.json")
				selection := []string{"--container", hiding.id[:12], "--container", waiting.id[:12]}
				observation := watch(t, append([]string{"--save", save}, selection...)...)
				l := watchLive(t, append([]string{"--rules", "builtin"}, selection...)...)
				waiting.do("create", "--bundle", waiting.path)
				hiding.do("run", "--bundle", hiding.path)
				waiting.do("start")

				got := l.awaitLongSetup(hiding.id)
				if got.Severity != alert.Critical || got.Use.Capability.String() != capability || got.Use.Unsure == "" {
					t.Errorf("got %+v", got)
				}
				waiting.end()
				l.interrupt()
				if all := l.longSetups(waiting.id); len(all) != 0 {
					t.Errorf("the container that waited: %+v", all)
				}
				report := parseReport(t, observation.interrupt())
				i := slices.IndexFunc(report, func(s seen) bool { return s.ID == hiding.id })
				if i < 0 || !slices.Contains(report[i].Classes["long-setup"], capability) || !slices.Contains(report[i].Required, capability) {
					t.Fatalf("reported %+v", report)
				}
				checkLongSetup(t, save, hiding.id, waiting.id)
			})
		}
	}
}

// checkLongSetup verifies that every check fails because of one container, whatever the rules allow, and passes the
// other.
func checkLongSetup(t *testing.T, save, hiding, waiting string) {
	t.Helper()
	r := execute(t, binary, "check", "-o", "json", "--allow", "ALL", "--ignore-denied", save)
	valid(t, "check", r.stdout)
	var result struct {
		Containers []struct {
			ID         string
			Violations []struct{ Kind string }
		}
	}
	if err := json.Unmarshal([]byte(r.stdout), &result); err != nil || r.code != exitFindings {
		t.Fatalf("exit code %d, %v\n%s%s", r.code, err, r.stdout, r.stderr)
	}
	for _, c := range result.Containers {
		var kinds []string
		for _, v := range c.Violations {
			kinds = append(kinds, v.Kind)
		}
		if c.ID == hiding && !slices.Contains(kinds, "long-setup") || c.ID == waiting && len(kinds) != 0 {
			t.Errorf("container %s: %q", c.ID, kinds)
		}
	}
}
