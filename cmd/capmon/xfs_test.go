package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// xfsVolume creates a volume with a new XFS file system, and returns its name.
func xfsVolume(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("mkfs.xfs"); err != nil {
		t.Skip("mkfs.xfs is missing: scripts/setup.sh installs it")
	}
	types, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(types), "\txfs\n") && exec.Command("modprobe", "xfs").Run() != nil {
		t.Skip("this kernel has no XFS")
	}
	image := filepath.Join(t.TempDir(), "xfs")
	mustExecute(t, "truncate", "--size=320M", image)
	mustExecute(t, "mkfs.xfs", "-q", image)
	device := strings.TrimSpace(mustExecute(t, "losetup", "--find", "--show", image))
	t.Cleanup(func() { mustExecute(t, "losetup", "--detach", device) })
	mustExecute(t, "docker", "volume", "create", "--opt=type=xfs", "--opt=device="+device, "capmon-xfs")
	t.Cleanup(func() { mustExecute(t, "docker", "volume", "rm", "capmon-xfs") })
	return "capmon-xfs"
}

// XFS checks FOWNER at each change of an inode, in case a quota is exceeded.
func TestXFSAddsNoNeeds(t *testing.T) {
	t.Parallel()
	volume := "--volume=" + xfsVolume(t) + ":/x"
	for _, w := range []workload{
		{
			name: "xfs-own-file", command: sh("rm -f /x/a && touch /x/a && chmod 600 /x/a && touch -d @0 /x/a && chown 5 /x/a && cp -p /bin/true /x/b"),
			required: caps("CHOWN"), classes: map[string][]string{"irrelevant": caps("FOWNER")},
		},
		{name: "xfs-file-of-another-user", command: sh("chmod 644 /x/a"), required: caps("FOWNER")},
	} {
		w.options = []string{volume}
		t.Run(w.name, func(t *testing.T) {
			r := execute(t, append([]string{binary, "profile", "-o", "json", "--"}, w.dockerRun(w.name)...)...)
			got := only(t, parseReport(t, r), w.name)
			w.check(t, got)
			mustExecute(t, w.dockerRun(w.name, got.Flags...)...)
		})
	}
}
