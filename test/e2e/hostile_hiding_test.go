package e2e

import (
	"debug/elf"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/internal/testutil"
)

// These tests try to make capmon count the workload as runtime setup: see docs/threats.md.

// attackProgram copies a program of the image to the host and returns its path.
func attackProgram(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(testutil.OpenDirectory(t), name)
	id := strings.TrimSpace(mustExecute(t, "docker", "create", "bb"))
	t.Cleanup(func() { mustExecute(t, "docker", "rm", id) })
	mustExecute(t, "docker", "cp", id+":/bin/attack-"+name, path)
	return path
}

// mustReport verifies that capmon reports a container's use of a raw socket, and that a rule that denies it is
// violated. The exit code of the profile is the container's, or 0.
func mustReport(t *testing.T, name string, profileOf func(save string) result) {
	t.Helper()
	save := filepath.Join(t.TempDir(), "profile.json")
	r := profileOf(save)
	if r.code != 0 {
		t.Fatalf("exit code %d: %s%s", r.code, r.stdout, r.stderr)
	}
	workload{required: caps("NET_RAW")}.check(t, only(t, parseReport(t, r), name))
	if r := execute(t, binary, "check", "--deny=NET_RAW", save); r.code != exitFindings {
		t.Errorf("check --deny=NET_RAW: exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
}

// The image's own dynamic linker runs as the interpreter of the runtime's program.
func TestHiddenAsInterpreterOfTheRuntime(t *testing.T) {
	t.Parallel()
	for _, runtime := range runtimes(t) {
		t.Run(runtime, func(t *testing.T) {
			linker := linkerOf(t, runtime)
			name := "interpreter-of-" + runtime
			tree := t.TempDir()
			if err := os.MkdirAll(filepath.Join(tree, filepath.Dir(linker)), 0o755); err != nil {
				t.Fatal(err)
			}
			mustExecute(t, "cp", attackProgram(t, "interpreter"), filepath.Join(tree, linker))
			mustExecute(t, "docker", "create", "--name", name, "bb", "true")
			t.Cleanup(func() { _ = exec.Command("docker", "rm", "-f", name).Run() })
			mustExecute(t, "docker", "cp", tree+"/.", name+":/")
			mustExecute(t, "docker", "commit", name, name)
			t.Cleanup(func() { _ = exec.Command("docker", "rmi", "-f", name).Run() })
			mustExecute(t, "docker", "rm", name)
			mustReport(t, name, func(save string) result {
				return execute(t, binary, "profile", "-o", "json", "--save", save, "--",
					"docker", "run", "--rm", "--runtime="+runtime, "--name", name, "--entrypoint=/proc/self/exe", name)
			})
		})
	}
}

// runtimes returns the runtimes that this host can run and whose programs need a dynamic linker.
func runtimes(t *testing.T) []string {
	t.Helper()
	all := []string{"runc"}
	if strings.TrimSpace(mustExecute(t, "docker", "info", "--format={{.CgroupVersion}}")) == "2" {
		all = append(all, "crun") // crun does not support cgroups v1
	}
	return all
}

// linkerOf returns the path of the dynamic linker that a runtime's program needs.
func linkerOf(t *testing.T, runtime string) string {
	t.Helper()
	path, err := exec.LookPath(runtime)
	if err != nil {
		t.Fatal(err)
	}
	file, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, header := range file.Progs {
		if header.Type == elf.PT_INTERP {
			linker, err := io.ReadAll(header.Open())
			if err != nil {
				t.Fatal(err)
			}
			return strings.TrimRight(string(linker), "\x00")
		}
	}
	t.Fatalf("%s is linked statically: the attack needs a runtime as distributions build it", path)
	return ""
}

// binfmtMisc is the directory for registering formats of programs.
const binfmtMisc = "/proc/sys/fs/binfmt_misc"

// registerFormat makes the kernel execute files that begin with magic with an interpreter
// (Documentation/admin-guide/binfmt-misc.rst).
func registerFormat(t *testing.T, format, magic, interpreter, flags string) {
	t.Helper()
	if _, err := os.Stat(binfmtMisc + "/register"); err != nil {
		if err := unix.Mount("none", binfmtMisc, "binfmt_misc", 0, ""); err != nil {
			t.Fatalf("mounting binfmt_misc: %v", err)
		}
		t.Cleanup(func() {
			if err := unix.Unmount(binfmtMisc, unix.MNT_DETACH); err != nil {
				t.Error(err)
			}
		})
	}
	rule := fmt.Sprintf(":%s:M::%s::%s:%s", format, magic, interpreter, flags)
	if err := os.WriteFile(binfmtMisc+"/register", []byte(rule), 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.WriteFile(filepath.Join(binfmtMisc, format), []byte("-1"), 0); err != nil {
			t.Error(err)
		}
	})
}

// An interpreter of the host executes a program of a foreign architecture (binfmt_misc with the flag F), as with
// qemu-user-static.
func TestHiddenByForeignInterpreter(t *testing.T) {
	t.Parallel()
	const name, magic = "foreign", "capmon-foreign"
	registerFormat(t, "capmon-test", magic, attackProgram(t, "interpreter"), "F")
	program := filepath.Join(testutil.OpenDirectory(t), "program")
	if err := os.WriteFile(program, []byte(magic), 0o755); err != nil {
		t.Fatal(err)
	}
	mustReport(t, name, func(save string) result {
		return execute(t, binary, "profile", "-o", "json", "--save", save, "--",
			"docker", "run", "--rm", "--name", name, "-v", program+":/program", "bb", "/program")
	})
}

// Only its root directory and its age identify a process that existed before capmon.
func TestHiddenBeforeCapmon(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		options, command []string
	}{
		"memory-file": {command: []string{"memfd-exec", "descend", "0", "rawsock"}},
		"memory-file-and-mounts": {
			options: []string{"--cap-add=SYS_ADMIN", "--security-opt=seccomp=unconfined"},
			command: []string{"memfd-exec", "unshare-mounts", "descend", "0", "rawsock"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			name := "before-" + name
			c := converse(t, name, append(append(test.options, "bb", "probe"), test.command...)...)
			c.ready(t)
			mustReport(t, name, func(save string) result {
				observation := watch(t, "--save", save, name)
				if _, err := io.WriteString(c.input, "go\n"); err != nil {
					t.Fatal(err)
				}
				if _, err := io.ReadAll(c.output); err != nil { // until it has ended
					t.Fatal(err)
				}
				return observation.interrupt()
			})
		})
	}
}

// The kernel creates threads for io_uring without any event. They are workload, whatever file their process executes
// and whenever it started.
func TestThreadsOfTheKernelAreWorkload(t *testing.T) {
	t.Parallel()
	want := workload{
		required: caps("DAC_OVERRIDE"), denied: caps("IPC_LOCK"), tolerated: caps("DAC_READ_SEARCH"),
	}
	for name, command := range map[string][]string{
		"worker": {"memfd-exec", "descend", "0", "io-uring-open", "/data/secret"},
		"poller": {"memfd-exec", "io-uring-poll", "/data/secret"},
	} {
		for _, before := range []bool{false, true} {
			name := fmt.Sprintf("%s-before-%v", name, before)
			t.Run(name, func(t *testing.T) {
				var observation *observation
				if !before {
					observation = watch(t, "--container", name)
				}
				c := converse(t, name, append([]string{"--security-opt=seccomp=unconfined", "bb", "probe"}, command...)...)
				c.ready(t)
				want := want
				if before {
					observation = watch(t, name)
					if strings.HasPrefix(name, "poller") {
						want.denied = nil // the kernel made the check when the ring was created
					}
				}
				if _, err := io.WriteString(c.input, "go\n"); err != nil {
					t.Fatal(err)
				}
				if _, err := io.ReadAll(c.output); err != nil {
					t.Fatal(err)
				}
				want.check(t, only(t, parseReport(t, observation.interrupt()), name))
			})
		}
	}
}
