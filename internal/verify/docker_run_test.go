package verify

import (
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/testutil"
)

// The tables must match the options of the installed docker command.
func TestEveryDockerOptionIsKnown(t *testing.T) {
	for _, test := range []struct {
		command, switches, valued string
		least                     int
	}{
		{"docker run", runSwitches, runValued, 90},
		{"docker compose", composeSwitches, composeValued, 10},
		{"docker compose up", upSwitches, upValued, 20},
	} {
		t.Run(test.command, func(t *testing.T) {
			checkFlags(t, test.command, newFlags(test.command, test.switches, test.valued), test.least)
		})
	}
}

func checkFlags(t *testing.T, command string, flags *pflag.FlagSet, least int) {
	words := append(strings.Fields(command), "--help")
	testutil.NeedCommand(t, words...)
	help, err := exec.Command(words[0], words[1:]...).Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := regexp.MustCompile(`(?m)^ +(?:-(\w), )?--([a-z0-9-]+)( [a-z]\S*)? {2,}`).FindAllStringSubmatch(string(help), -1)
	if len(lines) < least {
		t.Fatalf("only %d flags found in:\n%s", len(lines), help)
	}
	for _, line := range lines {
		letter, name, value := line[1], line[2], line[3]
		flag := flags.Lookup(name)
		if flag == nil {
			t.Errorf("--%s is missing", name)
		} else if (flag.Value.Type() == "bool") != (value == "") || flag.Shorthand != letter {
			t.Errorf("--%s: letter %q, value%q; here it is -%s %s", name, letter, value, flag.Shorthand, flag.Value.Type())
		}
	}
}

func TestParseCommand(t *testing.T) {
	for _, test := range []struct {
		line string
		// want is the command line that creates the container with other grants.
		want string
	}{
		{"docker run bb", "docker create --name=n --cap-drop=ALL --cap-add=CHOWN bb"},
		{"docker container run bb", "docker create --name=n --cap-drop=ALL --cap-add=CHOWN bb"},
		{"/usr/bin/docker run bb", "/usr/bin/docker create --name=n --cap-drop=ALL --cap-add=CHOWN bb"},
		{"docker run --rm -it --name web bb sh -c true", "docker create --name=n --interactive=true --tty=true --cap-drop=ALL --cap-add=CHOWN bb sh -c true"},
		{"docker run -de A=1 --env B bb --name x", "docker create --name=n --env=A=1 --env=B --cap-drop=ALL --cap-add=CHOWN bb --name x"},
		{"docker run --cap-add NET_ADMIN --cap-drop=all --init=false bb", "docker create --name=n --init=false --cap-drop=ALL --cap-add=CHOWN bb"},
		{"docker run -p 80:80 -P --restart=always --cidfile f --sig-proxy=false bb", "docker create --name=n --cap-drop=ALL --cap-add=CHOWN bb"},
		{"docker run --network name=front,alias=web,ip=10.0.0.2 --network-alias a --ip 10.0.0.3 bb", "docker create --name=n --network=name=front --cap-drop=ALL --cap-add=CHOWN bb"},
		{"docker run --net host -- bb -x", "docker create --name=n --network=host --cap-drop=ALL --cap-add=CHOWN bb -x"},
		{"docker run --privileged=false -v/a:/b bb", "docker create --name=n --privileged=false --volume=/a:/b --cap-drop=ALL --cap-add=CHOWN bb"},
	} {
		command, err := ParseCommand(t.Context(), strings.Fields(test.line))
		if err != nil {
			t.Errorf("%s: %v", test.line, err)
			continue
		}
		grants := capability.Of(capability.Chown)
		if got := strings.Join(command.(dockerRun).createLine(containerSpec{name: "n", grants: &grants}), " "); got != test.want {
			t.Errorf("%s:\ngot    %s\nwanted %s", test.line, got, test.want)
		}
	}
}

// A proof is stored and shared.
func TestProofCommandLineHasNoSecrets(t *testing.T) {
	for line, want := range map[string]string{
		"docker run --rm -it -e A=s3cret --env B -l k=s3cret --label=flag bb sh -c s3cret":           "docker run --rm --interactive --tty --env=A --env=B --label=k=… --label=flag bb …",
		"docker container run --annotation=a=s3cret --log-opt tag=s3cret --health-cmd=s3cret bb":     "docker run --annotation=a=… --log-opt=tag=… --health-cmd=… bb",
		"docker run --mount type=volume,dst=/v,volume-opt=device=s3cret,volume-opt=type=tmpfs bb":    "docker run --mount=type=volume,dst=/v,volume-opt=device=…,volume-opt=type=… bb",
		`docker run --mount dst=/v,"volume-opt=o=a,s3cret" bb`:                                       "docker run --mount=… bb",
		"docker run --network name=n,driver-opt=k=s3cret,alias=a --storage-opt size=s3cret -p 80 bb": "docker run --network=name=n,driver-opt=k=…,alias=a --storage-opt=size=… --publish=80 bb",
		"docker run --log-driver=fluentd --add-host=db:192.0.2.2 -v http://u:s3cret@host/x:/v bb":    "docker run --log-driver=fluentd --add-host=db:192.0.2.2 --volume=http://…@host/x:/v bb",
	} {
		command, err := ParseCommand(t.Context(), strings.Fields(line))
		if err != nil {
			t.Errorf("%s: %v", line, err)
		} else if got := strings.Join(command.Line(), " "); got != want {
			t.Errorf("%s:\ngot    %s\nwanted %s", line, got, want)
		}
	}
}

func TestOriginalRunKeepsItsGrants(t *testing.T) {
	command, err := ParseCommand(t.Context(), strings.Fields("docker run --pull=always --cap-add NET_ADMIN --cap-drop all bb"))
	if err != nil {
		t.Fatal(err)
	}
	for want, spec := range map[string]containerSpec{
		"docker create --name=n --label=l=1 --pull=always --cap-add=NET_ADMIN --cap-drop=all bb": {name: "n", labels: map[string]string{"l": "1"}},
		"docker create --name=n --cap-add=NET_ADMIN --cap-drop=all sha256:1":                     {name: "n", pinned: map[string]string{"bb": "sha256:1"}},
	} {
		if got := strings.Join(command.(dockerRun).createLine(spec), " "); got != want {
			t.Errorf("got    %s\nwanted %s", got, want)
		}
	}
}

// Each run creates new volumes under its own names.
func TestNewVolumesBelongToTheRun(t *testing.T) {
	for options, want := range map[string]string{
		"-v new:/v:ro":                           "--volume=n_new:/v:ro --label=com.github.capmon.verify.volumes=n_new",
		"-v new:/v -v newer:/w":                  "--volume=n_new:/v --volume=n_newer:/w --label=com.github.capmon.verify.volumes=n_new,n_newer",
		"-v old:/v":                              "--volume=old:/v",
		"-v /new:/v":                             "--volume=/new:/v",
		"-v ./new:/v":                            "--volume=./new:/v",
		"-v /v":                                  "--volume=/v",
		"--mount type=volume,src=new,dst=/v":     "--mount=type=volume,src=n_new,dst=/v --label=com.github.capmon.verify.volumes=n_new",
		`--mount source=new,"volume-opt=o=a,b"`:  `--mount=source=n_new,"volume-opt=o=a,b" --label=com.github.capmon.verify.volumes=n_new`,
		"--mount src=old,dst=/v":                 "--mount=src=old,dst=/v",
		"--mount dst=/v":                         "--mount=dst=/v",
		"--mount type=bind,source=new,target=/v": "--mount=type=bind,source=new,target=/v",
		"--mount type=tmpfs,dst=/v":              "--mount=type=tmpfs,dst=/v",
	} {
		command, err := ParseCommand(t.Context(), strings.Fields("docker run "+options+" bb"))
		if err != nil {
			t.Errorf("%s: %v", options, err)
			continue
		}
		got := strings.Join(command.(dockerRun).createLine(containerSpec{name: "n", volumes: []string{"old"}}), " ")
		if want := "docker create --name=n " + want + " bb"; got != want {
			t.Errorf("%s:\ngot    %s\nwanted %s", options, got, want)
		}
	}
}

func TestCommandLinesThatCannotBeVerified(t *testing.T) {
	for line, want := range map[string]string{
		"":                               "no command after --",
		"make test":                      "make: only docker run … and docker compose up SERVICE can be verified",
		"/usr/bin/podman run bb":         "/usr/bin/podman: verify supports only Docker: only docker run … and docker compose up SERVICE can be verified; capmon profile -- podman run … records",
		"sudo docker run bb":             "run capmon with sudo, and leave out sudo after --",
		"docker exec bb true":            "docker exec: only docker run … and docker compose up SERVICE can be verified",
		"docker":                         "docker: only docker run … and docker compose up SERVICE can be verified",
		"docker --context x run bb":      "docker --context: options before run and compose are not supported",
		"docker run":                     "names no image",
		"docker run --rm -e A=1":         "names no image",
		"docker run --privileged bb":     "--privileged gives more than capabilities",
		"docker run --no-such-flag bb":   "unknown flag: --no-such-flag; see docker run --help",
		"docker run --name":              "flag needs an argument: --name",
		"docker run --help":              "--help runs nothing",
		"docker run --help bb":           "--help runs nothing",
		"docker run --init=maybe bb":     `invalid argument "maybe" for "--init"`,
		"docker run -p eighty:80 bb":     "--publish eighty:80: ",
		"docker run -p published=80 bb":  "--publish published=80: ",
		"docker run --privileged=yes bb": `invalid argument "yes"`,
	} {
		if _, err := ParseCommand(t.Context(), strings.Fields(line)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, wanted %q", line, err, want)
		}
	}
}

func TestPortsArePublishedOnFreePorts(t *testing.T) {
	for line, want := range map[string][]string{
		"docker run bb":                                 nil,
		"docker run -p 8080:80 bb":                      {"--publish=80/tcp"},
		"docker run -p 127.0.0.1:53:53/udp -p 443 bb":   {"--publish=127.0.0.1::53/udp", "--publish=443/tcp"},
		"docker run -p [::1]:8080:80 bb":                {"--publish=[::1]::80/tcp"},
		"docker run -p 8080-8081:80-81 bb":              {"--publish=80/tcp", "--publish=81/tcp"},
		"docker run -p published=8080,target=80 -P bb":  {"--publish=80/tcp", "--publish-all=true"},
		"docker run -p target=5,protocol=udp,mode=x bb": {"--publish=5/udp"},
	} {
		command, err := ParseCommand(t.Context(), strings.Fields(line))
		if err != nil {
			t.Errorf("%s: %v", line, err)
			continue
		}
		if got := command.(dockerRun).publishFlags(); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, wanted %q", line, got, want)
		}
	}
}

func TestTestMustNotReachAnotherContainer(t *testing.T) {
	command, err := ParseCommand(t.Context(), strings.Fields("docker run -p 8080:80 -p 53:5353/udp -p 443:443 bb"))
	if err != nil {
		t.Fatal(err)
	}
	for test, want := range map[string]string{
		"curl localhost:8080":                "write $PORT_80",
		"dig -p53 @localhost":                "write $PORT_5353_UDP",
		"curl localhost:$PORT_80":            "",
		"curl https://localhost:$PORT_443":   "",
		"curl https://localhost:${PORT_443}": "",
		"curl localhost:${PORT_443:-443}":    "write $PORT_443",
		"docker exec $CONTAINER wget :18080": "",
		"docker exec $CONTAINER wget :80":    "",
	} {
		err := CheckTest(command, test)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, wanted %q", test, err, want)
		}
	}
}
