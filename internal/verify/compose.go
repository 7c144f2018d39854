package verify

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/client"
	"github.com/docker/go-connections/nat"
	"github.com/spf13/pflag"
)

// composeUp is a docker compose up command line, with the model that compose resolves.
type composeUp struct {
	line    []string
	compose []string // docker compose
	// project is the user's project. verify does not touch it.
	project string
	// service is the service to verify. The model also has the services that it depends on.
	service string
	alone   bool // without the services that it depends on
	// resolved is the model as compose resolves it: one file, in JSON.
	resolved      []byte
	ports         []port
	foreign       []string // external networks
	advice        string   // advice if the service cannot be created
	containerName string   // name of the container
}

func (c composeUp) Line() []string      { return c.line }
func (c composeUp) serviceName() string { return c.service }
func (c composeUp) name() string        { return c.containerName }
func (c composeUp) hasInput() bool      { return false }
func (c composeUp) autoRemoves() bool   { return false }
func (c composeUp) published() []port   { return c.ports }

// parseCompose parses a command line. words is the number of its first words that name compose.
func parseCompose(ctx context.Context, line []string, words int) (Command, error) {
	c := composeUp{line: slices.Clone(line), compose: line[:words:words]}
	global := newFlags("docker compose", composeSwitches, composeValued)
	up := newFlags("docker compose up", upSwitches, upValued)
	up.SetInterspersed(true)
	var options []string
	err := global.ParseAll(line[words:], func(flag *pflag.Flag, value string) error {
		options = append(options, "--"+flag.Name+"="+value)
		return global.Set(flag.Name, value)
	})
	if err != nil {
		return nil, fmt.Errorf("reading the docker compose command line: %w; see docker compose --help", err)
	}
	if global.Arg(0) != "up" {
		return nil, fmt.Errorf("%s: only docker compose up SERVICE can be verified", strings.TrimSpace("docker compose "+global.Arg(0)))
	}
	if err := up.Parse(global.Args()[1:]); err != nil {
		return nil, fmt.Errorf("reading the docker compose up command line: %w; see docker compose up --help", err)
	}
	for _, name := range unsupportedUpFlags {
		if up.Changed(name) {
			return nil, fmt.Errorf("docker compose up --%s: verify starts the service as the file describes it: leave out this option", name)
		}
	}
	if up.NArg() != 1 {
		return nil, fmt.Errorf("docker compose up names %d services: name only the one to verify, as in docker compose up SERVICE; compose also starts the services that it depends on", up.NArg())
	}
	c.service, c.alone = up.Arg(0), set(up, "no-deps")
	return c.resolve(ctx, options)
}

// resolve lets compose read its files, and reads the rest from the result.
func (c composeUp) resolve(ctx context.Context, options []string) (Command, error) {
	text, err := c.config(ctx, options)
	if err != nil {
		return nil, err
	}
	c.resolved = []byte(text)
	m, err := c.model()
	if err != nil {
		return nil, err
	}
	service := m.object("services").object(c.service)
	if err := c.check(m, service); err != nil {
		return nil, err
	}
	c.project, _ = m["name"].(string)
	c.containerName, _ = service["container_name"].(string)
	if c.containerName == "" {
		c.containerName = c.project + "-" + c.service + "-1"
	}
	for _, other := range m.objects("services") {
		if other["build"] != nil {
			c.advice = "; verify builds nothing: run docker compose build first"
		}
	}
	for name, network := range m.objects("networks") {
		if network["external"] == true {
			c.foreign = append(c.foreign, name)
		}
	}
	slices.Sort(c.foreign)
	c.ports, err = servicePorts(service)
	return c, err
}

// config returns the resolved model of the service and of those that it depends on.
func (c composeUp) config(ctx context.Context, options []string) (string, error) {
	text, err := execute(ctx, slices.Concat(c.compose, options, []string{"config", "--format=json", c.service}), nil, quiet)
	if err == nil {
		return text, nil
	}
	if _, missing := execute(ctx, slices.Concat(c.compose, []string{"version"}), nil); missing != nil {
		return "", fmt.Errorf("%s does not run (%w): install Docker's compose plugin, version 2 or later, or use docker run", strings.Join(c.compose, " "), missing)
	}
	return "", fmt.Errorf("docker compose config: %w", err)
}

// check rejects settings that runs cannot have separately, or that capabilities do not replace.
func (c composeUp) check(m, service model) error {
	if service["privileged"] == true {
		return fmt.Errorf("service %s: privileged %s: leave it out and grant what the service needs, for example with cap_add: [ALL] and devices", c.service, privilegedIsMore)
	}
	for name, volume := range m.objects("volumes") {
		if options := volume.object("driver_opts"); len(options) > 0 && options["type"] != "tmpfs" {
			return fmt.Errorf("volume %s has driver_opts: the new volume of each run would have the same data as yours; use a compose file with another volume", name)
		}
	}
	return nil
}

// quiet is a variable with which compose prints only errors.
const quiet = "COMPOSE_PROGRESS=quiet"

// servicePorts returns the ports of the resolved service.
func servicePorts(service model) ([]port, error) {
	entries, _ := service["ports"].([]any)
	var ports []port
	for _, entry := range entries {
		p, _ := entry.(map[string]any)
		protocol, _ := p["protocol"].(string)
		number, err := nat.NewPort(protocol, fmt.Sprint(p["target"]))
		if err != nil {
			return nil, fmt.Errorf("port %v of the service: %w", p["target"], err)
		}
		host, _ := p["published"].(string)
		ports = append(ports, port{container: number, host: host})
	}
	return ports, nil
}

// notes implements [Command]. On an external network, compose would give a run's container the name by which other
// containers know the user's container.
func (c composeUp) notes() []string {
	var notes []string
	for _, name := range c.foreign {
		notes = append(notes, fmt.Sprintf("network %s is external: verify replaces it with a new network in each run", name))
	}
	return notes
}

// create implements [Command].
func (c composeUp) create(ctx context.Context, api client.APIClient, spec containerSpec) (string, error) {
	if err := c.run(ctx, spec, "create", "--no-build"); err != nil {
		return "", fmt.Errorf("creating the service: %w%s", err, c.advice)
	}
	created, err := api.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(
		filters.Arg("label", "com.docker.compose.project="+spec.name), filters.Arg("label", "com.docker.compose.service="+c.service),
	)})
	if err != nil {
		return "", fmt.Errorf("finding the new container: %w", err)
	}
	if len(created) != 1 {
		return "", fmt.Errorf("compose has created %d containers for the service %s, not 1", len(created), c.service)
	}
	return created[0].ID, nil
}

// start implements [Command]. compose starts the services that the service depends on, waits as the file says, and
// starts the service.
func (c composeUp) start(ctx context.Context, _ client.APIClient, _ string, spec containerSpec) error {
	return c.run(ctx, spec, "up", "--detach", "--no-recreate", "--no-build")
}

// run runs a compose command on a project that only this run uses.
func (c composeUp) run(ctx context.Context, spec containerSpec, command ...string) error {
	file, err := c.file(spec)
	if err != nil {
		return err
	}
	line := slices.Concat(c.compose, []string{"--project-name=" + spec.name, "--file=-"}, command, []string{c.service})
	_, err = execute(ctx, line, file, quiet)
	return err
}

// model is a compose file, or an object in it.
type model map[string]any

func (c composeUp) model() (m model, err error) {
	if err := json.Unmarshal(c.resolved, &m); err != nil {
		return nil, fmt.Errorf("reading the output of docker compose config: %w", err)
	}
	return m, nil
}

// object returns the member with the name. It creates the member if there is none.
func (m model) object(name string) model {
	if member, ok := m[name].(map[string]any); ok {
		return member
	}
	member := make(map[string]any)
	m[name] = member
	return member
}

// objects returns the objects in a member, by name. An object without content may be null in the file.
func (m model) objects(name string) map[string]model {
	described, _ := m[name].(map[string]any)
	all := make(map[string]model)
	for name := range described {
		all[name] = model(described).object(name)
	}
	return all
}

func (m model) remove(names ...string) {
	for _, name := range names {
		delete(m, name)
	}
}

// label adds labels.
func (m model) label(labels map[string]string) {
	for key, value := range labels {
		m.object("labels")[key] = value
	}
}

// file returns the compose file of a run. Nothing in it has a name or an address that another container, network or
// volume may have.
func (c composeUp) file(spec containerSpec) ([]byte, error) {
	m, err := c.model()
	if err != nil {
		return nil, err
	}
	m.remove("name")
	for _, network := range m.objects("networks") {
		if network["external"] == true {
			clear(network)
		}
		network.remove("name", "ipam")
		network.label(spec.labels)
	}
	for _, volume := range m.objects("volumes") {
		if volume["external"] != true {
			volume.remove("name")
			volume.label(spec.labels)
		}
	}
	for _, kind := range []string{"configs", "secrets"} {
		for _, object := range m.objects(kind) {
			if object["external"] != true {
				object.remove("name")
			}
		}
	}
	for name, service := range m.objects("services") {
		c.common(service, name, spec)
	}
	c.trial(m.object("services").object(c.service), spec)
	return json.Marshal(m)
}

// common makes the changes for all services.
func (c composeUp) common(service model, name string, spec containerSpec) {
	image, _ := service["image"].(string)
	if image == "" {
		image = c.project + "-" + name // the name that compose gives to an image that it builds
	}
	service["image"] = spec.image(image)
	switch {
	case service["build"] != nil:
		service["pull_policy"] = "never" // no registry has it
	case spec.pinned != nil:
		service.remove("pull_policy")
	}
	service.remove("build", "container_name", "mac_address", "profiles", "restart")
	for _, network := range service.objects("networks") {
		network.remove("ipv4_address", "ipv6_address", "link_local_ips", "mac_address")
	}
	if name != c.service || !spec.publish {
		service.remove("ports")
	}
	service.label(spec.labels)
}

// trial makes the changes for the service to verify.
func (c composeUp) trial(service model, spec containerSpec) {
	service.remove("scale")
	service.object("deploy").remove("replicas")
	if c.alone {
		service.remove("depends_on")
	}
	entries, _ := service["ports"].([]any)
	for _, entry := range entries {
		if p, ok := entry.(map[string]any); ok {
			delete(p, "published") // Docker chooses a free port
		}
	}
	if spec.grants == nil {
		return
	}
	service["cap_drop"] = []string{"ALL"}
	service.remove("cap_add")
	var add []string
	for _, member := range spec.grants.Sorted() {
		add = append(add, member.String())
	}
	if len(add) > 0 {
		service["cap_add"] = add
	}
}
