package verify

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/recommend"
)

// Command is a docker run command line, taken apart.
type Command struct {
	// Line is the command line as given.
	Line []string
	// Image and Name as given; the name may be empty.
	Image, Name string

	docker  string
	options []option
	args    []string // of the container
	// Input: the container reads its standard input.
	Input bool
	ports []port
}

// option is one flag of docker run with its value.
type option struct{ name, value string }

// ParseCommand reads a docker run command line as the docker command does.
func ParseCommand(line []string) (Command, error) {
	if len(line) == 0 || line[0] == "" {
		return Command{}, errors.New("no command after --: say what to run, such as capmon verify -- docker run IMAGE")
	}
	arguments, err := afterRun(line)
	if err != nil {
		return Command{}, err
	}
	c := Command{Line: slices.Clone(line), docker: line[0]}
	flags := runFlags()
	err = flags.ParseAll(arguments, func(flag *pflag.Flag, value string) error {
		c.options = append(c.options, option{flag.Name, value})
		return flags.Set(flag.Name, value)
	})
	if err != nil {
		return Command{}, fmt.Errorf("reading the docker run command line: %w; see docker run --help", err)
	}
	if flags.NArg() == 0 {
		return Command{}, errors.New("the docker run command line names no image: put it behind the options, as in docker run --rm IMAGE COMMAND")
	}
	c.Image, c.args = flags.Arg(0), flags.Args()[1:]
	c.Name = flags.Lookup("name").Value.String()
	c.Input = set(flags, "interactive") && !set(flags, "detach")
	switch {
	case set(flags, "help"):
		return Command{}, errors.New("--help runs nothing: leave it out")
	case set(flags, "privileged"):
		return Command{}, errors.New("--privileged gives more than capabilities (devices, no seccomp, no AppArmor), which no list of capabilities replaces: " +
			"leave it out and grant what is needed, such as --cap-add=ALL with --device=…")
	}
	if c.ports, err = published(c.options); err != nil {
		return Command{}, err
	}
	return c, nil
}

// afterRun are the arguments of docker run.
func afterRun(line []string) ([]string, error) {
	name := filepath.Base(line[0])
	switch {
	case name == "sudo":
		return nil, errors.New("sudo: run capmon itself with sudo, and docker run without")
	case name != "docker":
		return nil, fmt.Errorf("%s: only docker run … can be verified; give its command line behind --", line[0])
	case len(line) > 2 && line[1] == "container" && line[2] == "run":
		return line[3:], nil
	case len(line) > 1 && line[1] == "run":
		return line[2:], nil
	case len(line) > 1 && strings.HasPrefix(line[1], "-"):
		return nil, fmt.Errorf("docker %s: options before run are not understood; set DOCKER_HOST or DOCKER_CONTEXT for capmon instead", line[1])
	}
	return nil, fmt.Errorf("%s: only docker run … can be verified", strings.Join(line[:min(len(line), 2)], " "))
}

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

// creation says how to create a container for the command.
type creation struct {
	name   string
	labels []string
	// grants take the place of the command's own; nil leaves them.
	grants *capability.Set
	// publish ports of the host, free ones.
	publish bool
	// pulled: the image is there, and must stay the same.
	pulled bool
}

// create is the docker create command line.
func (c Command) create(how creation) []string {
	line := []string{c.docker, "create", "--name=" + how.name}
	for _, label := range how.labels {
		line = append(line, "--label="+label)
	}
	for _, o := range c.options {
		switch {
		case slices.Contains(ownBusiness, o.name):
		case how.grants != nil && (o.name == "cap-add" || o.name == "cap-drop"):
		case how.pulled && o.name == "pull":
		case o.name == "network" || o.name == "net":
			line = append(line, "--network="+withoutAddresses(o.value))
		default:
			line = append(line, "--"+o.name+"="+o.value)
		}
	}
	if how.grants != nil {
		line = append(line, recommend.DockerFlags(*how.grants)...)
	}
	if how.publish {
		line = append(line, c.publishing()...)
	}
	return append(append(line, c.Image), c.args...)
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
