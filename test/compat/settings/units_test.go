package settings_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/capmon/capmon/capability"
)

// quadletGenerator is podman's generator, which scripts/setup.sh builds.
const quadletGenerator = "../../../.cache/bin/quadlet"

// readQuadlets runs podman's generator on the units, and reads the options of the podman run command that it makes.
func readQuadlets(t *testing.T, text string) map[string]capability.Set {
	all := make(map[string]capability.Set)
	for label, document := range documents(t, text, "\n\n") {
		directory := t.TempDir()
		write(t, filepath.Join(directory, "app.container"), document+"\nImage=example.com/app:1\n")
		generator, err := filepath.Abs(quadletGenerator)
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(generator, "-dryrun")
		cmd.Env = append(os.Environ(), "QUADLET_UNIT_DIRS="+directory)
		out, err := cmd.CombinedOutput()
		_, command, ok := strings.Cut(string(out), "\nExecStart=/usr/bin/podman run ")
		command, _, _ = strings.Cut(command, "\n")
		if err != nil || !ok || strings.Contains(string(out), "nsupported") {
			t.Fatalf("%v\n%s\n%s", err, out, document)
		}
		var add, drop []string
		words := strings.Fields(command)
		for i, word := range words {
			switch word {
			case "--cap-add":
				add = append(add, strings.ToUpper(words[i+1]))
			case "--cap-drop":
				drop = append(drop, strings.ToUpper(words[i+1]))
			}
		}
		all[label] = granted(t, add, drop)
	}
	return all
}

// readUnits reads the units with systemd.
func readUnits(t *testing.T, text string) map[string]capability.Set {
	all := make(map[string]capability.Set)
	for label, document := range documents(t, text, "\n\n") {
		unit := filepath.Join(t.TempDir(), "app.service")
		write(t, unit, document+"\nExecStart=/bin/true\n")
		out, err := exec.Command("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", unit).CombinedOutput()
		if err != nil || len(out) > 0 {
			t.Fatalf("%v %s\n%s", err, out, document)
		}
		_, line, _ := strings.Cut(document, "\nCapabilityBoundingSet=")
		line, rest, _ := strings.Cut(line, "\n")
		all[label] = setOf(t, "CAP_", strings.Fields(line))
		if line != "" && !strings.Contains(rest, "\n# AmbientCapabilities="+line) {
			t.Errorf("no hint of the ambient set: %s", rest)
		}
	}
	return all
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
