package e2e

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// usedData is a script that creates a directory with access only for its owner at its first start, and reads the
// directory at each start.
const usedData = `find /data || exit 1; [ -e /data/d ] || { mkdir -m 700 /data/d && chown 1000 /data/d; }`

func TestVerifyStartsASecondTime(t *testing.T) {
	t.Parallel()
	file := composeFile(t, `
services:
  job: {image: bb, command: [sh, -c, "`+strings.ReplaceAll(usedData, "$", "$$")+`"], volumes: [data:/data]}
volumes: {data: {}}
`)
	run := func(options ...string) []string {
		return slices.Concat([]string{"--", "docker", "run"}, options, []string{"bb", "sh", "-c", usedData})
	}
	both := map[string]string{"CHOWN": needed, "DAC_OVERRIDE": needed}
	once := map[string]string{"CHOWN": needed}
	for _, test := range []struct {
		name     string
		args     []string
		verdicts map[string]string
		second   bool
	}{
		{"of the same container", run("-v", "/data"), both, true},
		{"of another container with the same volume", run("--rm", "-v", "verify-second:/data"), both, true},
		{"of another container with the same directory", run("--rm", "-v", t.TempDir()+":/data/dir"), map[string]string{"CHOWN": needed}, true},
		{"of a service", []string{"--", "docker", "compose", "-f", file, "up", "job"}, both, true},
		{"none, since nothing outlives the container", run("--rm", "-v", "/data"), once, false},
		{"none, since a flag disables it", append([]string{"--second-start=false"}, run("-v", "/data")...), once, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, r := prove(t, test.args...)
			if got := p.verdicts(); !maps.Equal(got, test.verdicts) || r.code != exitDone {
				t.Errorf("exit code %d: got %v, wanted %v\n%s", r.code, got, test.verdicts, r.stderr)
			}
			if p.SecondStart != test.second || strings.Contains(r.stderr, "under its own flags: exit status 0, on both starts\n") != test.second {
				t.Errorf("second start: %v\n%s", p.SecondStart, r.stderr)
			}
		})
	}
	if volumes := mustExecute(t, "docker", "volume", "ls", "--quiet", "--filter", "name=verify-second"); volumes != "" {
		t.Errorf("volumes are left: %s", volumes)
	}
}

func TestVerifyAddsNeedsOfTheSecondStart(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "first.json")
	command := []string{"--", "docker", "run", "--name", "verify-first", "-v", "/data", "bb", "sh", "-c", usedData}
	t.Cleanup(func() { mustExecute(t, "docker", "rm", "--volumes", "verify-first") })
	mustExecute(t, slices.Concat([]string{binary, "profile", "--save", file}, command)...)
	p, r := prove(t, append([]string{file}, command...)...)
	same(t, "the set", p.Set, caps("CHOWN", "DAC_OVERRIDE"))
	if r.code != exitDone || !strings.Contains(r.stderr, "note: the second start needs DAC_OVERRIDE, which the first does not\n") {
		t.Errorf("exit code %d: %+v\n%s", r.code, p, r.stderr)
	}
}

func TestVerifyDoesNotCompareASecondStartThatFails(t *testing.T) {
	t.Parallel()
	p, r := prove(t, "--", "docker", "run", "bb", "sh", "-c", "mkdir /once && chown 5 /once")
	same(t, "the set", p.Set, caps("CHOWN"))
	if r.code != exitDone || p.SecondStart || !strings.Contains(r.stderr, "note: under its own flags a second start fails: exit status 1 (\"mkdir: can't create directory '/once': File exists\"); verify tries first starts only\n") {
		t.Errorf("exit code %d: %+v\n%s", r.code, p, r.stderr)
	}
}
