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

	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/settings"
)

// Command is the command line of what is verified: it creates a container, with
// whatever that needs, as often as told.
type Command interface {
	// Line is the command line without values that may be secret.
	Line() []string
	// serviceName is that of the compose file; empty for docker run.
	serviceName() string
	// name is what the user calls the container; it may be empty.
	name() string
	// input: the container reads its standard input.
	input() bool
	// notes say what is other in a run than in the command line, and unexpected.
	notes() []string
	// published are the ports that it publishes.
	published() []port
	// create makes the container and returns its ID.
	create(ctx context.Context, api client.APIClient, how creation) (string, error)
	// removes: the engine removes the container when it ends (docker run --rm).
	removes() bool
	// start starts the container made in this way.
	start(ctx context.Context, api client.APIClient, id string, how creation) error
}

// creation says how to create a container for the command.
type creation struct {
	name string
	// second: a container for the second start, with the volumes of the first one.
	second bool
	labels map[string]string
	// grants take the place of the command's own; nil leaves them.
	grants *capability.Set
	// hanging is told that a start takes long.
	hanging func(after, limit time.Duration)
	// publish ports of the host, free ones.
	publish bool
	// volumes are the names of those that are there already.
	volumes []string
	// pinned are the IDs of images by the names given. A name may come to mean another
	// image meanwhile. nil if they are not known yet.
	pinned map[string]string
}

func (how creation) containerName() string {
	if how.second {
		return how.name + "-second"
	}
	return how.name
}

// image is what to create a container from.
func (how creation) image(name string) string { return cmp.Or(how.pinned[name], name) }

// ParseCommand reads a docker run or docker compose up command line as the docker
// command does. What compose makes of its files, it is asked itself.
func ParseCommand(ctx context.Context, line []string) (Command, error) {
	if len(line) == 0 || line[0] == "" {
		return nil, errors.New("no command after --: say what to run, such as capmon verify -- docker run IMAGE")
	}
	const understood = "only docker run … and docker compose up SERVICE can be verified"
	words := line[1:]
	switch name := filepath.Base(line[0]); {
	case name == "sudo":
		return nil, errors.New("sudo: run capmon itself with sudo, and docker without")
	case name == "docker-compose":
		return parseCompose(ctx, line, 1)
	case name != "docker":
		return nil, fmt.Errorf("%s: %s; give its command line behind --", line[0], understood)
	case len(words) > 0 && words[0] == "compose":
		return parseCompose(ctx, line, 2)
	case len(words) > 1 && words[0] == "container" && words[1] == "run":
		return parseRun(line, words[2:])
	case len(words) > 0 && words[0] == "run":
		return parseRun(line, words[1:])
	case len(words) > 0 && strings.HasPrefix(words[0], "-"):
		return nil, fmt.Errorf("docker %s: options before run and compose are not understood; set DOCKER_HOST or DOCKER_CONTEXT for capmon instead", words[0])
	}
	return nil, fmt.Errorf("%s: %s", strings.Join(line[:min(len(line), 2)], " "), understood)
}

// runLine is a docker run command line, taken apart.
type runLine struct {
	image string
	// given is the name of the container as given.
	given string

	docker  string
	options []option
	args    []string // of the container
	reads   bool
	rm      bool
	ports   []port
}

func (c runLine) serviceName() string { return "" }
func (c runLine) name() string        { return c.given }
func (c runLine) input() bool         { return c.reads }
func (c runLine) removes() bool       { return c.rm }
func (c runLine) notes() []string     { return nil }
func (c runLine) published() []port   { return c.ports }

// option is one flag of docker run with its value.
type option struct{ name, value string }

func parseRun(line, arguments []string) (c runLine, err error) {
	c = runLine{docker: line[0]}
	flags := newFlags("docker run", runSwitches, runValued)
	err = flags.ParseAll(arguments, func(flag *pflag.Flag, value string) error {
		c.options = append(c.options, option{flag.Name, value})
		return flags.Set(flag.Name, value)
	})
	if err != nil {
		return c, fmt.Errorf("reading the docker run command line: %w; see docker run --help", err)
	}
	if flags.NArg() == 0 {
		return c, errors.New("the docker run command line names no image: put it behind the options, as in docker run --rm IMAGE COMMAND")
	}
	c.image, c.args = flags.Arg(0), flags.Args()[1:]
	c.given = flags.Lookup("name").Value.String()
	c.reads = set(flags, "interactive") && !set(flags, "detach")
	c.rm = set(flags, "rm")
	switch {
	case set(flags, "help"):
		return c, errors.New("--help runs nothing: leave it out")
	case set(flags, "privileged"):
		return c, fmt.Errorf("--privileged %s: leave it out and grant what is needed, such as --cap-add=ALL with --device=…", privilegedIsMore)
	}
	c.ports, err = published(c.options)
	return c, err
}

const privilegedIsMore = "gives more than capabilities (devices, no seccomp, no AppArmor), which no list of capabilities replaces"

func set(flags *pflag.FlagSet, name string) bool {
	value, err := strconv.ParseBool(flags.Lookup(name).Value.String())
	return err == nil && value
}

// ownBusiness are the flags that say how docker run itself behaves, which verify
// sees to, and those by which two containers get into each other's way: the
// container that the user runs with them must not notice.
var ownBusiness = []string{
	"attach", "cidfile", "detach", "detach-keys", "name", "restart", "rm", "sig-proxy",
	"ip", "ip6", "link-local-ip", "mac-address", "net-alias", "network-alias", "publish", "publish-all",
}

// create implements Command.
func (c runLine) create(ctx context.Context, _ client.APIClient, how creation) (string, error) {
	id, err := execute(ctx, c.creating(how), nil)
	if err != nil {
		return "", fmt.Errorf("creating the container: %w", err)
	}
	return strings.TrimSpace(id), nil
}

// start implements Command.
func (c runLine) start(ctx context.Context, api client.APIClient, id string, _ creation) error {
	return api.ContainerStart(ctx, id, container.StartOptions{})
}

// creating is the docker create command line.
func (c runLine) creating(how creation) []string {
	line := []string{c.docker, "create", "--name=" + how.containerName()}
	for _, label := range slices.Sorted(maps.Keys(how.labels)) {
		line = append(line, "--label="+label+"="+how.labels[label])
	}
	var volumes []string
	for _, o := range c.options {
		o, volume := ownVolume(o, how)
		if volume != "" {
			volumes = append(volumes, volume)
		}
		switch {
		case slices.Contains(ownBusiness, o.name):
		case how.grants != nil && (o.name == "cap-add" || o.name == "cap-drop"):
		case how.pinned != nil && o.name == "pull":
		case o.name == "network" || o.name == "net":
			line = append(line, "--network="+withoutAddresses(o.value))
		default:
			line = append(line, "--"+o.name+"="+o.value)
		}
	}
	if len(volumes) > 0 {
		line = append(line, "--label="+volumesLabel+"="+strings.Join(volumes, ","))
	}
	if how.grants != nil {
		line = append(line, settings.DockerFlags(*how.grants)...)
	}
	if how.publish {
		line = append(line, c.publishing()...)
	}
	return append(append(line, how.image(c.image)), c.args...)
}

// withoutAddresses leaves out of --network name=front,alias=web,ip=… what
// another container may have.
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
