package main

import "testing"

// Compose starts all containers at once; each is profiled from its first instruction.
func TestServicesOfCompose(t *testing.T) {
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
	workload{required: caps("CHOWN", "DAC_OVERRIDE"), tolerated: caps("DAC_READ_SEARCH")}.check(t, only(t, got, "verify-compose-owner-1"))
	workload{required: caps("NET_RAW")}.check(t, only(t, got, "verify-compose-pinger-1"))
	workload{}.check(t, only(t, got, "verify-compose-idle-1"))
	same(t, "granted", only(t, got, "verify-compose-pinger-1").Granted, caps("KILL", "NET_RAW"))
	for _, c := range got {
		if c.Existed {
			t.Errorf("the start of %s was not seen", c.Name)
		}
	}
}
