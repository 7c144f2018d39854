package e2e

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
)

// A container uses DAC_OVERRIDE to access files that do not exist, replaces the directories with links to a directory
// of the host, and ends. capmon must not find the host's file afterwards, or the report would reveal its owner and
// mode.
func TestLinksOfEndedContainersAreNotFollowed(t *testing.T) {
	t.Parallel()
	const (
		name      = "links-ended"
		hostOwner = 47110 // owner and group of the host's files
		script    = `
			for d in /tmp/place /tmp/last /vol/place /inner; do
				mkdir -p $d && chown 1000 $d && chmod 700 $d
				cat $d/secret 2>/dev/null || true
			done
			rmdir /tmp/place /vol/place
			ln -s $HOST /tmp/place && ln -s $HOST /vol/place && ln -s $HOST/secret /tmp/last/secret
			mv /vol/inner /vol/old && ln -s $HOST /vol/inner`
	)
	volume, host := t.TempDir(), filepath.Join(t.TempDir(), "host")
	secret := filepath.Join(host, "secret")
	if err := errors.Join(
		os.Mkdir(filepath.Join(volume, "inner"), 0o755), os.Mkdir(host, 0o711), os.Chown(host, hostOwner, hostOwner),
		os.WriteFile(secret, nil, 0o604), os.Chown(secret, hostOwner, hostOwner),
	); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = exec.Command("docker", "rm", "-f", name).Run() })
	out := mustExecute(t, binary, "profile", "-o", "json", "--", "docker", "run", "--name", name, "-e", "HOST="+host,
		"-v", volume+":/vol", "-v", filepath.Join(volume, "inner")+":/inner", "bb", "sh", "-ec", script)
	files, unlisted := filesIn(t, out, name)
	if unlisted != 0 {
		t.Errorf("%d files are unlisted", unlisted)
	}
	for _, path := range []string{"/tmp/place/secret", "/tmp/last/secret", "/vol/place/secret", "/inner/secret"} {
		i := slices.IndexFunc(files, func(f accessed) bool { return f.Path == path && f.Program == "cat" && f.Capability == "DAC_OVERRIDE" })
		if i < 0 {
			t.Errorf("%s is not in the report", path)
			continue
		}
		if files[i].Found != nil {
			t.Errorf("%s: found %s", path, files[i].Found)
		}
	}
	for _, file := range files {
		for _, at := range []*place{file.Found, file.Directory} {
			if at != nil && (at.Owner == hostOwner || at.Group == hostOwner) {
				t.Errorf("%s led to a file of the host: %s", file.Path, at)
			}
		}
	}
	// Each of the links leads to the host's file.
	for _, path := range []string{"place/secret", "inner/secret"} {
		if info, err := os.Stat(filepath.Join(volume, path)); err != nil || info.Mode() != 0o604 {
			t.Errorf("%s does not lead to the file: %v", path, err)
		}
	}
}
