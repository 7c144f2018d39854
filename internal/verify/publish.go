package verify

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/docker/go-connections/nat"
)

// port is a port that the command publishes.
type port struct {
	container nat.Port // 80/tcp
	address   string   // of the host, "" for any
	host      string   // port of the host as given, "" for any
}

// published reads the values of --publish, in both of their forms.
func published(options []option) ([]port, error) {
	var ports []port
	for _, o := range options {
		if o.name != "publish" {
			continue
		}
		mappings, err := nat.ParsePortSpec(shortForm(o.value))
		if err != nil {
			return nil, fmt.Errorf("--publish %s: %w; give it as HOST:CONTAINER", o.value, err)
		}
		for _, m := range mappings {
			ports = append(ports, port{m.Port, m.Binding.HostIP, m.Binding.HostPort})
		}
	}
	return ports, nil
}

// shortForm converts published=8080,target=80 to 8080:80/tcp, as the docker command does.
func shortForm(value string) string {
	if !strings.Contains(value, "=") {
		return value
	}
	fields := map[string]string{"protocol": "tcp"}
	for field := range strings.SplitSeq(value, ",") {
		key, v, _ := strings.Cut(field, "=")
		fields[key] = v
	}
	return fmt.Sprintf("%s:%s/%s", fields["published"], fields["target"], fields["protocol"])
}

// publishFlags returns the options that publish the same ports on free ports of the host. They thus do not conflict
// with the user's own container or another verify.
func (c dockerRun) publishFlags() []string {
	var flags []string
	for _, p := range c.ports {
		address := p.address
		if strings.Contains(address, ":") {
			address = "[" + address + "]"
		}
		if address != "" {
			address += "::"
		}
		flags = append(flags, "--publish="+address+string(p.container))
	}
	for _, o := range c.options {
		if o.name == "publish-all" {
			flags = append(flags, "--publish-all="+o.value)
		}
	}
	return flags
}

// variable matches a shell variable in a command, up to the end of its name.
var variable = regexp.MustCompile(`\$\{?[A-Za-z_]\w*`)

// CheckTest returns an error if a test uses a port of the host on which the command publishes. The container under test
// does not have that port, so another container might answer.
func CheckTest(c Command, test string) error {
	literal := variable.ReplaceAllString(test, "") // $PORT_80 does not name port 80 of the host
	for _, p := range c.published() {
		if p.host == "" || !regexp.MustCompile(`(^|\D)`+regexp.QuoteMeta(p.host)+`(\D|$)`).MatchString(literal) {
			continue
		}
		if p.host == p.container.Port() && strings.Contains(test, "CONTAINER") {
			continue // the port inside the container
		}
		return fmt.Errorf("the test names port %s, which verify does not publish, because another container may have it: write $%s", p.host, portVariable(p.container))
	}
	return nil
}

// portVariable returns the name of the test's environment variable that has the host's port.
func portVariable(p nat.Port) string {
	name := "PORT_" + p.Port()
	if p.Proto() != "tcp" {
		name += "_" + strings.ToUpper(p.Proto())
	}
	return name
}

// testedPorts returns the published ports whose variables the test uses.
func testedPorts(ports nat.PortMap, test string) []nat.Port {
	var tested []nat.Port
	for p := range ports {
		if regexp.MustCompile(`\b` + portVariable(p) + `\b`).MatchString(test) {
			tested = append(tested, p)
		}
	}
	return tested
}

// portVariables returns the test's variables for the ports that the engine has published.
func portVariables(ports nat.PortMap) []string {
	var variables []string
	for p, bindings := range ports {
		if len(bindings) > 0 {
			if _, err := strconv.Atoi(bindings[0].HostPort); err == nil {
				variables = append(variables, portVariable(p)+"="+bindings[0].HostPort)
			}
		}
	}
	return variables
}
