package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/client"
	"github.com/spf13/pflag"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/dockerflags"
)

// Command is the command line to verify. It can create any number of containers, with the networks and volumes that
// they need.
type Command interface {
	// Line returns the command line without values that may be secret.
	Line() []string
	// serviceName returns the name of the compose service, empty for docker run.
	serviceName() string
	// name returns the container name that the user gave; it may be empty.
	name() string
	// hasInput reports whether the container reads its standard input.
	hasInput() bool
	// notes returns differences between a run and the command line that users may not expect.
	notes() []string
	// published returns the ports that it publishes.
	published() []port
	// create creates the container and returns its ID.
	create(ctx context.Context, api client.APIClient, spec containerSpec) (string, error)
	// autoRemoves reports whether the engine removes the container when it ends (docker run --rm).
	autoRemoves() bool
	// start starts the container that create has created.
	start(ctx context.Context, api client.APIClient, id string, spec containerSpec) error
}

// containerSpec describes a container to create for the command.
type containerSpec struct {
	name string
	// second: the container is for the second start, with the volumes of the first one.
	second bool
	labels map[string]string
	// grants replace the command's own grants, unless nil.
	grants *capability.Set
	// slow is called if a start takes long.
	slow func(after, limit time.Duration)
	// publish publishes the ports on free ports of the host.
	publish bool
	// volumes are the names of existing volumes.
	volumes []string
	// pinned are the IDs of images by name, because a name may later refer to another image. It is nil until they are
	// known.
	pinned map[string]string
}

func (spec containerSpec) containerName() string {
	if spec.second {
		return spec.name + "-second"
	}
	return spec.name
}

// image returns the image to create a container from.
func (spec containerSpec) image(name string) string { return cmp.Or(spec.pinned[name], name) }

// ParseCommand parses a docker run or docker compose up command line as the docker command does. For compose, it lets
// compose read its files.
func ParseCommand(ctx context.Context, line []string) (Command, error) {
	if len(line) == 0 || line[0] == "" {
		return nil, errors.New("no command after --: give a command, such as capmon verify -- docker run IMAGE")
	}
	const understood = "only docker run … and docker compose up SERVICE can be verified"
	words := line[1:]
	switch name := filepath.Base(line[0]); {
	case name == "sudo":
		return nil, errors.New("sudo: run capmon with sudo, and leave out sudo after --")
	case name == "docker-compose":
		return parseCompose(ctx, line, 1)
	case strings.HasPrefix(name, "podman"):
		return nil, fmt.Errorf("%s: verify supports only Docker: %s; capmon profile -- podman run … records what a container of Podman needs", line[0], understood)
	case name != "docker":
		return nil, fmt.Errorf("%s: %s; put such a command line after --", line[0], understood)
	case len(words) > 0 && words[0] == "compose":
		return parseCompose(ctx, line, 2)
	case len(words) > 1 && words[0] == "container" && words[1] == "run":
		return parseRun(line, words[2:])
	case len(words) > 0 && words[0] == "run":
		return parseRun(line, words[1:])
	case len(words) > 0 && strings.HasPrefix(words[0], "-"):
		return nil, fmt.Errorf("docker %s: options before run and compose are not supported; set DOCKER_HOST or DOCKER_CONTEXT for capmon instead", words[0])
	}
	return nil, fmt.Errorf("%s: %s", strings.Join(line[:min(len(line), 2)], " "), understood)
}

// dockerRun is a parsed docker run command line.
type dockerRun struct {
	image string
	// containerName is the value of --name.
	containerName string

	docker     string
	options    []option
	args       []string // arguments of the container's program
	readsInput bool
	rm         bool
	ports      []port
}

func (c dockerRun) serviceName() string { return "" }
func (c dockerRun) name() string        { return c.containerName }
func (c dockerRun) hasInput() bool      { return c.readsInput }
func (c dockerRun) autoRemoves() bool   { return c.rm }
func (c dockerRun) notes() []string     { return nil }
func (c dockerRun) published() []port   { return c.ports }

// option is one option of docker run with its value.
type option struct{ name, value string }

func parseRun(line, arguments []string) (c dockerRun, err error) {
	c = dockerRun{docker: line[0]}
	flags := newFlags("docker run", runSwitches, runValued)
	err = flags.ParseAll(arguments, func(flag *pflag.Flag, value string) error {
		c.options = append(c.options, option{flag.Name, value})
		return flags.Set(flag.Name, value)
	})
	if err != nil {
		return c, fmt.Errorf("reading the docker run command line: %w; see docker run --help", err)
	}
	if set(flags, "help") {
		return c, errors.New("--help runs nothing: leave it out")
	}
	if flags.NArg() == 0 {
		return c, errors.New("the docker run command line names no image: put it after the options, as in docker run --rm IMAGE COMMAND")
	}
	c.image, c.args = flags.Arg(0), flags.Args()[1:]
	c.containerName = flags.Lookup("name").Value.String()
	c.readsInput = set(flags, "interactive") && !set(flags, "detach")
	c.rm = set(flags, "rm")
	if set(flags, "privileged") {
		return c, fmt.Errorf("--privileged %s: leave it out and grant what the container needs, for example with --cap-add=ALL and --device=…", privilegedIsMore)
	}
	c.ports, err = published(c.options)
	return c, err
}

const privilegedIsMore = "gives more than capabilities (devices, no seccomp, no AppArmor), which no list of capabilities replaces"

func set(flags *pflag.FlagSet, name string) bool {
	value, err := strconv.ParseBool(flags.Lookup(name).Value.String())
	return err == nil && value
}

// replacedFlags are the options that describe how docker run itself behaves, which verify does itself, and options that
// two containers cannot share. verify must not affect the container that the user runs with them.
var replacedFlags = []string{
	"attach", "cidfile", "detach", "detach-keys", "name", "restart", "rm", "sig-proxy",
	"ip", "ip6", "link-local-ip", "mac-address", "net-alias", "network-alias", "publish", "publish-all",
}

// create implements [Command].
func (c dockerRun) create(ctx context.Context, _ client.APIClient, spec containerSpec) (string, error) {
	id, err := execute(ctx, c.createLine(spec), nil)
	if err != nil {
		return "", fmt.Errorf("creating the container: %w", err)
	}
	return strings.TrimSpace(id), nil
}

// start implements [Command].
func (c dockerRun) start(ctx context.Context, api client.APIClient, id string, _ containerSpec) error {
	return api.ContainerStart(ctx, id, container.StartOptions{})
}

// createLine returns the docker create command line.
func (c dockerRun) createLine(spec containerSpec) []string {
	line := []string{c.docker, "create", "--name=" + spec.containerName()}
	for _, label := range slices.Sorted(maps.Keys(spec.labels)) {
		line = append(line, "--label="+label+"="+spec.labels[label])
	}
	var volumes []string
	for _, o := range c.options {
		o, volume := ownVolume(o, spec)
		if volume != "" {
			volumes = append(volumes, volume)
		}
		switch {
		case slices.Contains(replacedFlags, o.name):
		case spec.grants != nil && (o.name == "cap-add" || o.name == "cap-drop"):
		case spec.pinned != nil && o.name == "pull":
		case o.name == "network" || o.name == "net":
			line = append(line, "--network="+withoutAddresses(o.value))
		default:
			line = append(line, "--"+o.name+"="+o.value)
		}
	}
	if len(volumes) > 0 {
		line = append(line, "--label="+volumesLabel+"="+strings.Join(volumes, ","))
	}
	if spec.grants != nil {
		line = append(line, dockerflags.Grant(*spec.grants)...)
	}
	if spec.publish {
		line = append(line, c.publishFlags()...)
	}
	return append(append(line, spec.image(c.image)), c.args...)
}

// withoutAddresses removes from --network name=front,alias=web,ip=… the values that another container may have.
func withoutAddresses(value string) string {
	if !strings.Contains(value, "=") {
		return value
	}
	fields := slices.DeleteFunc(strings.Split(value, ","), func(field string) bool {
		key, _, _ := strings.Cut(field, "=")
		return slices.Contains([]string{"alias", "ip", "ip6", "link-local-ip", "mac-address"}, strings.ToLower(strings.TrimSpace(key)))
	})
	return strings.Join(fields, ",")
}
