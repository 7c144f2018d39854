package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// composeProject returns the name of the test's compose project.
func composeProject(t *testing.T) string { return "capmon-" + strings.ToLower(t.Name()) }

// composeFile writes a compose file of the test's project and returns its path. It replaces FREE_ADDRESS with an
// address of the host without a listener.
func composeFile(t *testing.T, text string) string {
	t.Helper()
	text = strings.ReplaceAll(text, "FREE_ADDRESS", freeAddress(t))
	path := filepath.Join(t.TempDir(), "compose.yml")
	if err := os.WriteFile(path, []byte("name: "+composeProject(t)+"\n"+text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// composeUp starts a project as its user does.
func composeUp(t *testing.T, file string, services ...string) {
	t.Helper()
	compose := func(args ...string) { mustExecute(t, append([]string{"docker", "compose", "-f", file}, args...)...) }
	t.Cleanup(func() { compose("down", "--volumes", "--timeout=0") })
	compose(append([]string{"up", "--detach"}, services...)...)
}

// shop has a service that depends on another one. The service has a name, an address, a port and a volume that can
// exist only once, and an environment with text that compose itself would replace.
const shop = `
services:
  web:
    image: bb
    container_name: verify-compose-shop
    command:
      - sh
      - -c
      - |
        trap 'exit 0' TERM
        httpd -p 80
        [ "$$COSTS" = '5$$' ] && [ ! -e /data/seen ] && touch /data/seen && chown 5 /data/seen &&
          [ "$$(nc -w1 stock 80 </dev/null)" = "full" ] && touch /tmp/ready
        while :; do sleep 0.1; done
    environment: {COSTS: '5$$'}
    depends_on: {stock: {condition: service_healthy}}
    networks: {default: {}, front: {ipv4_address: 10.99.99.9}}
    ports: ["FREE_ADDRESS:80"]
    volumes: [data:/data]
    restart: always
    cap_add: [SYS_CHROOT, NET_ADMIN]
  stock:
    image: bb
    init: false
    command: [sh, -c, "while :; do echo full | nc -l -p 80; done"]
    healthcheck: {test: ["CMD", "true"], interval: 1s}
    stop_grace_period: 0s
  unused: {image: no-such-image}
networks: {front: {ipam: {config: [{subnet: 10.99.99.0/24}]}}}
volumes: {data: {}}
`

func TestVerifyAServiceOfCompose(t *testing.T) {
	t.Parallel()
	file := composeFile(t, shop)
	composeUp(t, file, "web")
	mustExecute(t, "docker", "exec", "verify-compose-shop", "sh", "-c", "until [ -e /tmp/ready ]; do sleep 0.1; done")
	theirs := func() string {
		return mustExecute(t, "docker", "inspect", "--format={{.Id}} {{.State.StartedAt}} {{json .NetworkSettings.Networks}} {{json .Mounts}}",
			"verify-compose-shop", composeProject(t)+"-stock-1") +
			mustExecute(t, "docker", "volume", "inspect", composeProject(t)+"_data") +
			mustExecute(t, "docker", "network", "ls", "--filter", "label=com.docker.compose.project="+composeProject(t))
	}
	before := theirs()

	test := `docker exec $CONTAINER test -e /data/seen && docker port $CONTAINER 80/tcp | grep -qx "127.0.0.1:$PORT_80" &&
		for i in 1 2 3 4 5 6 7 8 9; do docker exec $CONTAINER test -e /tmp/ready && exit; sleep 0.2; done; exit 1`
	p, r := prove(t, "--jobs=2", "--test", "sleep 0.5; "+test, "--", "docker", "compose", "-f", file, "up", "-d", "web")
	same(t, "the set", p.Set, caps("CHOWN"))
	if r.code != exitDone || !p.Enough || !p.Minimal || p.verdicts()["CHOWN"] != needed {
		t.Errorf("exit code %d: %+v\n%s", r.code, p, r.stderr)
	}
	if !strings.Contains(r.stderr, "test: exit status 0; stopped on SIGTERM: exit status 0") {
		t.Error(r.stderr)
	}
	if after := theirs(); after != before {
		t.Errorf("the user's project has changed:\n%s\n%s", before, after)
	}
}

func TestVerifyAServiceThatEnds(t *testing.T) {
	t.Parallel()
	file := composeFile(t, `
services:
  job: {image: bb, command: [chroot, /, sh, -c, 'exit 3'], cap_drop: [ALL], cap_add: [SYS_CHROOT, CHOWN]}
`)
	r := execute(t, binary, "verify", "--expect-exit=3", "--", "docker", "compose", "--file", file, "up", "job")
	nothingLeft(t)
	for _, text := range []string{
		composeProject(t) + "-job-1  bb:latest  4 runs with a second start  proved minimal\n", "SYS_CHROOT  required",
		"\n  cap_drop: [ALL]\n  cap_add: [SYS_CHROOT]\n",
	} {
		if r.code != exitDone || !strings.Contains(r.stdout, text) {
			t.Errorf("exit code %d: %q is not in\n%s\n%s", r.code, text, r.stdout, r.stderr)
		}
	}
}

// Neither the service nor its dependencies may write to another container's data.
func TestVerifyRejectsAServiceWhoseDataAnotherUses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	startSleeper(t, "verify-compose-user", "-v", dir+":/d")
	file := composeFile(t, `
services:
  web: {image: bb, command: 'true', depends_on: [db]}
  db: {image: bb, command: sleep 1000, volumes: ["`+dir+`/data:/d"]}
`)
	rejectsProof(t, "container verify-compose-user also uses "+dir+"/data", "--", "docker", "compose", "-f", file, "up", "web")
	prove(t, "--", "docker", "compose", "-f", file, "up", "--no-deps", "web")
	_, r := prove(t, "--shared-volumes", "--", "docker", "compose", "-f", file, "up", "web")
	if !strings.Contains(r.stderr, "the runs share "+dir+"/data") {
		t.Error(r.stderr)
	}
}

// The interrupts are spread over the creation and the start of two projects. verify must end well each time, so the
// test waits for no particular event.
func TestVerifyAServiceInterruptedAtAnyTime(t *testing.T) {
	t.Parallel()
	file := composeFile(t, `
services:
  web: {image: bb, command: 'true', volumes: [data:/data], depends_on: [db]}
  db: {image: bb, command: sleep 1000}
volumes: {data: {}}
`)
	for delay := time.Duration(0); delay < 3*time.Second; delay += 300 * time.Millisecond {
		cmd := exec.Command(binary, "verify", "--", "docker", "compose", "-f", file, "up", "web")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(delay)
		interruptOnce(cmd)
		nothingLeft(t)
	}
}

func TestNextVerifyCleansUpAServiceAfterSIGKILL(t *testing.T) {
	file := composeFile(t, `
services:
  web: {image: bb, command: sleep 1000, stop_grace_period: 0s, volumes: [data:/data], depends_on: [db]}
  db: {image: bb, command: sleep 1000}
volumes: {data: {}}
`)
	v := startVerifyOf(t, "docker", "compose", "-f", file, "up", "web")
	if err := v.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	v.wait()
	v.goOn() // the test command outlives verify
	if ids := left(t); len(ids) != 4 {
		t.Errorf("two containers, a network and a volume should be left: %v", ids)
	}
	prove(t, "--", "docker", "run", "bb", "true")
}

func TestVerifyAServiceInAnExternalNetwork(t *testing.T) {
	t.Parallel()
	mustExecute(t, "docker", "network", "create", "verify-compose-external")
	t.Cleanup(func() { mustExecute(t, "docker", "network", "rm", "verify-compose-external") })
	file := composeFile(t, `
services:
  web: {image: bb, command: sleep 1000, stop_grace_period: 0s, networks: [outside]}
networks: {outside: {external: true, name: verify-compose-external}}
`)
	test := `docker inspect -f '{{json .NetworkSettings.Networks}}' $CONTAINER | grep '^{"capmon-verify-[^ ]*_outside":' | grep -v verify-compose-external`
	_, r := prove(t, "--test", test, "--", "docker", "compose", "-f", file, "up", "web")
	if r.code != exitDone || !strings.Contains(r.stderr, "note: network outside is external: verify replaces it with a new network in each run\n") {
		t.Errorf("%+v", r)
	}
}

func TestVerifyRejectsUnsupportedServices(t *testing.T) {
	t.Parallel()
	file := composeFile(t, `
services:
  web: {image: bb, command: sleep 1000, ports: ['18097:80']}
  privileged: {image: bb, privileged: true}
  built: {build: .}
  kept: {image: bb, volumes: [disk:/disk]}
  alone: {image: bb, command: 'true', depends_on: {broken: {condition: service_completed_successfully}}}
  broken: {image: bb, command: 'false'}
volumes: {disk: {driver_opts: {type: none, o: bind, device: /srv}}}
`)
	// This docker command lacks the compose plugin.
	bare := filepath.Join(t.TempDir(), "docker")
	if err := os.WriteFile(bare, []byte("#!/bin/sh\necho \"docker: unknown command: docker $1\" >&2\nexit 1\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	up := []string{"--", "docker", "compose", "-f", file, "up"}
	for reason, args := range map[string][]string{
		"docker compose up names 0 services: name only the one to verify":                up,
		"docker compose up names 2 services":                                             append(up, "web", "broken"),
		"no such service: missing":                                                       append(up, "missing"),
		"docker compose up --scale: ":                                                    append(up, "--scale=web=2", "web"),
		"docker compose up --build: ":                                                    append(up, "--build", "web"),
		"unknown flag: --no-such-flag; see docker compose up --help":                     append(up, "--no-such-flag", "web"),
		"docker compose down: only docker compose up SERVICE":                            {"--", "docker", "compose", "-f", file, "down"},
		"service privileged: privileged gives more than capabilities":                    append(up, "privileged"),
		"the test names port 18097, which verify does not publish":                       append([]string{"--test=curl localhost:18097"}, append(up, "web")...),
		"volume disk has driver_opts":                                                    append(up, "kept"),
		"No such image: " + composeProject(t) + "-built:latest; verify builds nothing":   append(up, "built"),
		`service "broken" didn't complete successfully: exit 1`:                          append(up, "alone"),
		bare + " compose does not run (unknown command: docker compose): install Docker": {"--", bare, "compose", "-f", file, "up", "web"},
		"docker compose config: open /no-such-file: no such file":                        {"--", "docker", "compose", "-f", "/no-such-file", "up", "web"},
		"docker compose: only docker compose up SERVICE can be ":                         {"--", "docker", "compose"},
	} {
		t.Run(reason, func(t *testing.T) { rejectsProof(t, reason, args...) })
	}
}
