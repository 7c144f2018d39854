package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/kernel"
	"github.com/capmon/capmon/internal/testutil"
	"github.com/capmon/capmon/monitor"
)

// A credential registered with io_uring can hold more than the task that uses it still has, and can have other groups
// and another session keyring. Its uses still count for the container.
func TestRegisteredCredentialBelongsToTheContainer(t *testing.T) {
	t.Parallel()
	unconfined := "--security-opt=seccomp=unconfined"
	t.Run("watched from the start", func(t *testing.T) {
		r := execute(t, binary, "profile", "-o", "json", "--", "docker", "run", "--rm", "--name", "personality", unconfined, "bb", "attack-personality")
		if r.code != 0 {
			t.Fatalf("exit code %d: %s", r.code, r.stderr)
		}
		requires(t, only(t, parseReport(t, r), "personality"), "NET_RAW")
	})
	t.Run("attached to while it runs", func(t *testing.T) {
		shared := testutil.OpenDirectory(t)
		mustExecute(t, "docker", "run", "-d", "--name", "personality-late", unconfined, "-v", shared+":/shared", "bb", "attack-personality", "/shared")
		t.Cleanup(func() { execute(t, "docker", "rm", "-f", "personality-late") })
		awaitFile(t, filepath.Join(shared, "ready"))
		observation := watch(t, "personality-late")
		if err := os.WriteFile(filepath.Join(shared, "go"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if code := mustExecute(t, "docker", "wait", "personality-late"); code != "0\n" {
			t.Fatalf("it ended with %s", code)
		}
		got := only(t, parseReport(t, observation.interrupt()), "personality-late")
		requires(t, got, "NET_RAW")
		same(t, "unsure", got.Unsure, nil)
	})
}

// Some files check the credentials that opened them, even if the process has dropped everything since.
func TestCredentialOfAnOpenedFileIsCountedForTheContainer(t *testing.T) {
	t.Parallel()
	for name, grants := range map[string][]string{"some granted": {"--cap-add=SYS_ADMIN"}, "all granted": {"--privileged"}} {
		t.Run(name, func(t *testing.T) {
			const container = "opened"
			command := slices.Concat([]string{binary, "profile", "-o", "json", "--", "docker", "run", "--rm", "--name", container}, grants, []string{"bb", "attack-opened"})
			r := execute(t, command...)
			if r.code != 0 {
				t.Fatalf("exit code %d: %s", r.code, r.stderr)
			}
			got := only(t, parseReport(t, r), container)
			if !slices.Contains(got.Soft, "SYS_ADMIN") {
				t.Errorf("soft %v, unsure %v, %v", got.Soft, got.Unsure, got.Classes)
			}
			all := hasAllOfTheHost(t, got)
			if all && name == "some granted" {
				t.Errorf("it has all that the host has: %v", got.Granted)
			}
			if unsure := slices.Contains(got.Unsure, "SYS_ADMIN"); unsure != all {
				t.Errorf("it has all that the host has: %v, and unsure are %v", all, got.Unsure)
			}
		})
	}
}

// hasAllOfTheHost reports whether a container was granted everything that the host's mounters hold: only then may a
// credential be theirs. Some engines do not know all capabilities, so even a privileged container lacks some.
func hasAllOfTheHost(t *testing.T, got seen) bool {
	t.Helper()
	host, err := kernel.HostCapabilities()
	if err != nil {
		t.Fatal(err)
	}
	return !slices.ContainsFunc(host.Sorted(), func(c capability.Capability) bool { return !slices.Contains(got.Granted, c.String()) })
}

// The first process of a container dropped its bounding set before capmon started. The grant is still what other
// processes of the container are started with, and docker exec --privileged still has more.
func TestDroppedBoundingSetIsNotTheGrant(t *testing.T) {
	t.Parallel()
	const name = "narrowed"
	mustExecute(t, "docker", "run", "-d", "--name", name, "--cap-drop=CHOWN", "bb", "attack-narrow", "sleep", "600")
	t.Cleanup(func() { execute(t, "docker", "rm", "-f", name) })
	awaitNarrowed(t, name)
	observation := watch(t, name)
	mustExecute(t, "docker", "exec", name, "probe", "rawsock")
	mustExecute(t, "docker", "exec", "--privileged", name, "sh", "-c", "touch /tmp/f && chown 5 /tmp/f")
	got := only(t, parseReport(t, observation.interrupt()), name)
	requires(t, got, "NET_RAW")
	same(t, "unsure", got.Unsure, nil)
	if !slices.Contains(got.Granted, "NET_RAW") || slices.Contains(got.Granted, "CHOWN") {
		t.Errorf("granted %v", got.Granted)
	}
	if slices.Contains(got.Required, "CHOWN") || !slices.Contains(got.Classes["other-credential"], "CHOWN") {
		t.Errorf("uses of docker exec --privileged: required %v, classes %v", got.Required, got.Classes)
	}
}

// When serve starts, the remaining processes of a container hold less than the container was granted. The uses of an
// exec and of the mounter of the container's own overlay still count for the container.
func TestServeKnowsTheGrantAfterARestart(t *testing.T) {
	t.Parallel()
	for name, removesPins := range map[string]bool{"granted-kept": false, "granted-read-again": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t)
			mustExecute(t, "docker", "run", "-d", "--name", name, "--cap-add=SYS_ADMIN", "--tmpfs=/t", "bb", "sh", "-c",
				"mkdir /t/a /t/b && mount -t overlay o -o lowerdir=/data,upperdir=/t/a,workdir=/t/b /mnt && exec attack-narrow sleep 100000")
			t.Cleanup(func() { mustExecute(t, "docker", "rm", "-f", name) })
			awaitNarrowed(t, name)
			s.Saved()
			s.Kill()
			if removesPins {
				if err := monitor.RemovePins(s.Pins); err != nil {
					t.Fatal(err)
				}
			}
			s.Start()
			mustExecute(t, "docker", "exec", name, "probe", "rawsock")
			mustExecute(t, "docker", "exec", name, "probe", "bset-only", "1", "sh", "-c", "echo more >> /mnt/secret")
			s.Saved()
			got := only(t, parseReport(t, execute(t, binary, "report", "--db", s.Database, "--container", name, "-o", "json")), name)
			same(t, "required", got.Required, caps("CHOWN", "DAC_OVERRIDE", "NET_RAW", "SETPCAP", "SYS_ADMIN"))
			same(t, "soft", got.Soft, caps("FOWNER"))
			same(t, "unsure", got.Unsure, caps("SETPCAP"))
		})
	}
}

func requires(t *testing.T, got seen, capability string) {
	t.Helper()
	if !slices.Contains(got.Required, capability) {
		t.Errorf("%s is not required: %v, classes %v", capability, got.Required, got.Classes)
	}
}

func awaitFile(t *testing.T, path string) {
	t.Helper()
	eventually(t, path, func() bool {
		_, err := os.Stat(path)
		return err == nil
	})
}

// awaitNarrowed waits until the container's first process has dropped its bounding set.
func awaitNarrowed(t *testing.T, name string) {
	t.Helper()
	eventually(t, "an empty bounding set", func() bool {
		return execute(t, "docker", "exec", name, "grep", "-q", "CapBnd:.*0000000000000000", "/proc/1/status").code == 0
	})
}
