package e2e

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/capmon/capmon/internal/testutil"
)

// advised returns the commands that an overview prints.
func advised(overview string) (commands []string) {
	_, advice, _ := strings.Cut(overview, "\nStart with ")
	advice, _, _ = strings.Cut(advice, "\nRecord all containers")
	for line := range strings.Lines(advice) {
		if command, ok := strings.CutPrefix(line, "  capmon "); ok {
			commands = append(commands, strings.TrimSpace(command))
		}
	}
	return commands
}

// The report of several containers has one line for each, and commands that print the details.
func TestReportOfSeveralContainersBeginsWithAnOverview(t *testing.T) {
	t.Parallel()
	saved := filepath.Join(t.TempDir(), "a profile.json")
	script := "docker run --rm --name overview-2 bb ping -c1 127.0.0.1 && docker run --rm --name overview-10 bb true && docker run --rm --cap-drop=ALL --name overview-none bb true"
	out := mustExecute(t, binary, "profile", "--save", saved, "--", "sh", "-c", script)
	for _, want := range []string{"3 containers: 2 unused, 1 fits\n", "NET_RAW unused: 1\n", "\nUNUSED  overview-10 ", "\nUNUSED  overview-2 ", "\nFITS    overview-none ", "Start with overview-10: it does not use 14 of its 14 capabilities, NET_RAW among them.\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
	const list = "docker run --cap-drop=ALL"
	if strings.Contains(out, list) {
		t.Errorf("unwanted details:\n%s", out)
	}
	commands := advised(out)
	if len(commands) != 3 { // for the two that are grave, and for all
		t.Fatalf("commands %q in\n%s", commands, out)
	}
	for i, lists := range []int{1, 1, 3} {
		details := testutil.MustExecute(t, "sh", "-c", binary+" "+commands[i])
		if n := strings.Count(details, list); n != lists {
			t.Errorf("%s: %d lists, wanted %d:\n%s", commands[i], n, lists, details)
		}
	}
}

// If the profile is not saved, nobody can print the details later.
func TestUnsavedProfilesHaveDetails(t *testing.T) {
	t.Parallel()
	out := mustExecute(t, binary, "profile", "--", "sh", "-c", "docker run --rm --name unsaved-1 bb ping -c1 127.0.0.1 && docker run --rm --name unsaved-2 bb true")
	if strings.Count(out, "docker run --cap-drop=ALL") != 2 || !strings.Contains(out, "2 containers: 2 unused") {
		t.Error(out)
	}
}

// The audit of a host has an overview, and the details of containers that are named.
func TestAuditOfAHostBeginsWithAnOverview(t *testing.T) {
	t.Parallel()
	startSleeper(t, "overview-privileged", "--privileged")
	startSleeper(t, "overview-default") // for the test alone
	r := execute(t, binary, "audit", "--static")
	if r.code != exitFindings || !strings.Contains(r.stdout, "\nCIS 5.4, ") || !regexp.MustCompile(`\nFAIL .* all \d+ `).MatchString(r.stdout) || strings.Contains(r.stdout, "  granted: ") {
		t.Errorf("exit code %d\n%s", r.code, r.stdout)
	}
	commands := advised(r.stdout)
	if len(commands) < 3 || !strings.HasPrefix(commands[0], "audit --static ") || commands[len(commands)-1] != "audit --static --details" {
		t.Fatalf("commands %q in\n%s", commands, r.stdout)
	}
	if one := execute(t, binary, "audit", "--static", "overview-privileged"); strings.Count(one.stdout, "  granted: ") != 1 {
		t.Error(one.stdout)
	}
	if all := execute(t, binary, "audit", "--static", "--details"); strings.Count(all.stdout, "  granted: ") < 1 || !strings.Contains(all.stdout, "\nSTATUS ") {
		t.Error(all.stdout)
	}
}
