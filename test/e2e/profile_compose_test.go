package e2e

import (
	"path/filepath"
	"strings"
	"testing"
)

// Compose starts all containers at once. capmon profiles each from its first instruction.
func TestServicesOfCompose(t *testing.T) {
	t.Parallel()
	file := composeFile(t, `
services:
  owner:
    image: bb
    command: [sh, -c, "touch /tmp/f && chown 5 /tmp/f && cat /data/secret"]
    cap_add: [SYS_TIME]
  pinger:
    image: bb
    command: [probe, rawsock]
    cap_drop: [ALL]
    cap_add: [NET_RAW, KILL]
    depends_on: {owner: {condition: service_completed_successfully}}
  idle:
    image: bb
    command: ["true"]
`)
	t.Cleanup(func() { mustExecute(t, "docker", "compose", "-f", file, "down") })
	r := execute(t, binary, "profile", "-o", "json", "--", "docker", "compose", "-f", file, "up")
	if r.code != 0 {
		t.Fatalf("exit code %d: %s", r.code, r.stderr)
	}
	got := parseReport(t, r)
	if len(got) != 3 {
		t.Errorf("got %d containers, wanted 3", len(got))
	}
	workload{required: caps("CHOWN", "DAC_OVERRIDE"), tolerated: caps("DAC_READ_SEARCH")}.check(t, only(t, got, composeProject(t)+"-owner-1"))
	workload{required: caps("NET_RAW")}.check(t, only(t, got, composeProject(t)+"-pinger-1"))
	workload{}.check(t, only(t, got, composeProject(t)+"-idle-1"))
	same(t, "granted", only(t, got, composeProject(t)+"-pinger-1").Granted, caps("KILL", "NET_RAW"))
	for _, c := range got {
		if c.Existed {
			t.Errorf("the start of %s was not seen", c.Name)
		}
	}
}

// A one-off run with the settings of a service is not part of what the service does.
func TestOneOffsAreNotTheService(t *testing.T) {
	t.Parallel()
	file := composeFile(t, `
services:
  web:
    image: bb
    network_mode: none
    command: [sh, -c, "touch /tmp/f && chown 5 /tmp/f"]
`)
	t.Cleanup(func() { mustExecute(t, "docker", "compose", "-f", file, "down") })
	directory := t.TempDir()
	once, both := filepath.Join(directory, "once.json"), filepath.Join(directory, "both.json")
	command := "docker compose -f " + file + " run --rm -T --name one-off web probe rawsock"
	mustExecute(t, binary, "profile", "--save", once, "--", "sh", "-c", command)
	mustExecute(t, binary, "profile", "--save", both, "--", "sh", "-c", command+" && docker compose -f "+file+" up")

	for _, options := range [][]string{nil, {"--patch", file, "--dry-run"}, {"--patch", file, "--dry-run", "--service", "web"}} {
		r := execute(t, append([]string{binary, "flags", "--for", "compose", both}, options...)...)
		if r.code != 0 || strings.Contains(r.stdout, "NET_RAW") || !strings.Contains(r.stdout, "cap_add: [CHOWN]") || !strings.Contains(r.stderr, "docker compose run started this container") {
			t.Errorf("%q: %+v", options, r)
		}
	}
	if r := execute(t, binary, "flags", "--for", "compose", "--patch", file, once); r.code != exitUsage || !strings.Contains(r.stderr, "docker compose run started this container") {
		t.Errorf("only a one-off: %+v", r)
	}
	r := execute(t, binary, "flags", "--for", "compose", "--patch", file, "--dry-run", "--service", "web", once)
	if r.code != 0 || !strings.Contains(r.stdout, "cap_add: [NET_RAW]") || !strings.Contains(r.stderr, "docker compose run started this container") {
		t.Errorf("with an explicit --service: %+v", r)
	}
	if r := execute(t, binary, "flags", both); r.code != 0 || !strings.Contains(r.stdout, "one-off: --cap-drop=ALL --cap-add=NET_RAW\n") {
		t.Errorf("the flags of each: %+v", r)
	}
}
