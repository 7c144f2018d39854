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

// composition is a docker compose up command line, with what compose makes of it.
type composition struct {
	line    []string
	compose []string // docker compose
	// project is the user's, of which nothing is touched.
	project string
	// service is on trial; the model has those that it depends on, too.
	service string
	alone   bool // without those that it depends on
	// resolved is the model as compose resolves it: one file, in JSON.
	resolved []byte
	ports    []port
	foreign  []string // external networks
	advice   string   // what may help if the service cannot be created
	given    string   // name of the container
}

func (c composition) Line() []string      { return c.line }
func (c composition) serviceName() string { return c.service }
func (c composition) name() string        { return c.given }
func (c composition) input() bool         { return false }
func (c composition) removes() bool       { return false }
func (c composition) published() []port   { return c.ports }

// parseCompose reads a command line whose first words, so many, are compose.
func parseCompose(ctx context.Context, line []string, words int) (Command, error) {
	c := composition{line: slices.Clone(line), compose: line[:words:words]}
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
		return nil, fmt.Errorf("%s: of compose only docker compose up SERVICE can be verified", strings.TrimSpace("docker compose "+global.Arg(0)))
	}
	if err := up.Parse(global.Args()[1:]); err != nil {
		return nil, fmt.Errorf("reading the docker compose up command line: %w; see docker compose up --help", err)
	}
	for _, name := range upToOthers {
		if up.Changed(name) {
			return nil, fmt.Errorf("docker compose up --%s: verify starts the service as the file has it, without this: leave it out", name)
		}
	}
	if up.NArg() != 1 {
		return nil, fmt.Errorf("docker compose up names %d services: name the one to verify, as in docker compose up SERVICE; those that it depends on are started, too", up.NArg())
	}
	c.service, c.alone = up.Arg(0), set(up, "no-deps")
	return c.resolve(ctx, options)
}

// resolve lets compose read its files, and learns the rest from that.
func (c composition) resolve(ctx context.Context, options []string) (Command, error) {
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
	c.given, _ = service["container_name"].(string)
	if c.given == "" {
		c.given = c.project + "-" + c.service + "-1"
	}
	for _, other := range m.objects("services") {
		if other["build"] != nil {
			c.advice = "; verify builds nothing: docker compose build does"
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

// config is what compose makes of the service and those that it depends on.
func (c composition) config(ctx context.Context, options []string) (string, error) {
	text, err := execute(ctx, slices.Concat(c.compose, options, []string{"config", "--format=json", c.service}), nil, quiet)
	if err == nil {
		return text, nil
	}
	if _, missing := execute(ctx, slices.Concat(c.compose, []string{"version"}), nil); missing != nil {
		return "", fmt.Errorf("%s does not run: install Docker's compose plugin, version 2 or later, or verify with docker run (%w)", strings.Join(c.compose, " "), missing)
	}
	return "", fmt.Errorf("docker compose config: %w", err)
}

// check refuses what no run could have of its own, or capabilities do not replace.
func (c composition) check(m, service model) error {
	if service["privileged"] == true {
		return fmt.Errorf("service %s: privileged %s: leave it out and grant what is needed, such as by cap_add: [ALL] with devices", c.service, privilegedIsMore)
	}
	for name, volume := range m.objects("volumes") {
		if options := volume.object("driver_opts"); len(options) > 0 && options["type"] != "tmpfs" {
			return fmt.Errorf("volume %s has driver_opts: verify makes each run a new volume, which would hold the same data as the user's; verify with a file in which it is another volume", name)
		}
	}
	return nil
}

// quiet lets compose write nothing but what is wrong.
const quiet = "COMPOSE_PROGRESS=quiet"

// servicePorts are the ports of the resolved service.
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

// notes implements Command. On an external network compose would give a run's
// container the name by which others know the user's.
func (c composition) notes() []string {
	var notes []string
	for _, name := range c.foreign {
		notes = append(notes, fmt.Sprintf("network %s is external: each run has one of its own in its place", name))
	}
	return notes
}

// create implements Command.
func (c composition) create(ctx context.Context, api client.APIClient, how creation) (string, error) {
	if err := c.run(ctx, how, "create", "--no-build"); err != nil {
		return "", fmt.Errorf("creating the service: %w%s", err, c.advice)
	}
	created, err := api.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(
		filters.Arg("label", "com.docker.compose.project="+how.name), filters.Arg("label", "com.docker.compose.service="+c.service),
	)})
	if err != nil {
		return "", fmt.Errorf("finding the new container: %w", err)
	}
	if len(created) != 1 {
		return "", fmt.Errorf("compose has created %d containers for the service %s, not 1", len(created), c.service)
	}
	return created[0].ID, nil
}

// start starts those that the service depends on, waits as the file says, and starts
// the service.
func (c composition) start(ctx context.Context, _ client.APIClient, _ string, how creation) error {
	return c.run(ctx, how, "up", "--detach", "--no-recreate", "--no-build")
}

// run runs a command of compose on a project of the run's own.
func (c composition) run(ctx context.Context, how creation, command ...string) error {
	file, err := c.file(how)
	if err != nil {
		return err
	}
	line := slices.Concat(c.compose, []string{"--project-name=" + how.name, "--file=-"}, command, []string{c.service})
	_, err = execute(ctx, line, file, quiet)
	return err
}

// model is a compose file.
type model map[string]any

func (c composition) model() (m model, err error) {
	if err := json.Unmarshal(c.resolved, &m); err != nil {
		return nil, fmt.Errorf("reading what docker compose config says: %w", err)
	}
	return m, nil
}

// object is the member of the name, which it makes if there is none.
func (m model) object(name string) model {
	if member, ok := m[name].(map[string]any); ok {
		return member
	}
	member := make(map[string]any)
	m[name] = member
	return member
}

// objects are the members of an object that are objects themselves: what it
// describes by name. One that is empty may be null.
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

// file is the compose file of a run: nothing in it has a name or an address that
// another container, network or volume may have.
func (c composition) file(how creation) ([]byte, error) {
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
		network.label(how.labels)
	}
	for _, volume := range m.objects("volumes") {
		if volume["external"] != true {
			volume.remove("name")
			volume.label(how.labels)
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
		c.common(service, name, how)
	}
	c.trial(m.object("services").object(c.service), how)
	return json.Marshal(m)
}

// common is what is changed about all services.
func (c composition) common(service model, name string, how creation) {
	image, _ := service["image"].(string)
	if image == "" {
		image = c.project + "-" + name // what compose calls what it has built
	}
	service["image"] = how.image(image)
	switch {
	case service["build"] != nil:
		service["pull_policy"] = "never" // nobody else has it
	case how.pinned != nil:
		service.remove("pull_policy")
	}
	service.remove("build", "container_name", "mac_address", "profiles", "restart")
	for _, network := range service.objects("networks") {
		network.remove("ipv4_address", "ipv6_address", "link_local_ips", "mac_address")
	}
	if name != c.service || !how.publish {
		service.remove("ports")
	}
	service.label(how.labels)
}

// trial is what is changed about the service on trial.
func (c composition) trial(service model, how creation) {
	service.remove("scale")
	service.object("deploy").remove("replicas")
	if c.alone {
		service.remove("depends_on")
	}
	entries, _ := service["ports"].([]any)
	for _, entry := range entries {
		if p, ok := entry.(map[string]any); ok {
			delete(p, "published") // any that is free
		}
	}
	if how.grants == nil {
		return
	}
	service["cap_drop"] = []string{"ALL"}
	service.remove("cap_add")
	var add []string
	for _, member := range how.grants.Sorted() {
		add = append(add, member.String())
	}
	if len(add) > 0 {
		service["cap_add"] = add
	}
}
