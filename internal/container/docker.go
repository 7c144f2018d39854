package container

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/docker/cli/cli/command"
	"github.com/docker/cli/cli/context/docker"
	"github.com/docker/cli/cli/flags"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/client"
	"github.com/sirupsen/logrus"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/internal/bundle"
	"github.com/capmon/capmon/internal/seccomp"
)

// Docker is an engine with Docker's API: Docker, or Podman's service. It implements [Engine].
type Docker struct {
	client   client.APIClient
	endpoint string

	mu      sync.Mutex
	seccomp *seccomp.Profile // the default profile of Docker; nil until it is read
	podman  *bool            // whether the engine is Podman; nil until it is known
	guess   string           // the name of the engine until it is known; empty for Docker

	stores imageStores
}

// connectTimeout is the time limit of the first request to the engine. It includes the connection, which takes longer
// with ssh.
const connectTimeout = 10 * time.Second

// NewDocker connects to the engine that the docker command would use without flags: DOCKER_HOST, DOCKER_CONTEXT or the
// current context, with their TLS settings (DOCKER_TLS_VERIFY, DOCKER_CERT_PATH) and ssh. The error is an
// [*UnreachableError] if no engine answers. Other errors are about the configuration.
func NewDocker(ctx context.Context) (*Docker, error) {
	docker, err := ChooseDocker()
	if err != nil {
		return nil, err
	}
	if err := docker.Ping(ctx); err != nil {
		_ = docker.Close()
		return nil, err
	}
	return docker, nil
}

// ChooseDocker is like [NewDocker], but the engine need not answer.
func ChooseDocker() (*Docker, error) {
	api, endpoint, err := dockerClient()
	if err != nil {
		return nil, fmt.Errorf("choosing the Docker engine: %w; see docker context ls and DOCKER_HOST", err)
	}
	return &Docker{client: api, endpoint: endpoint}, nil
}

// Ping checks whether the engine answers. The error is an [*UnreachableError] if it does not.
func (d *Docker) Ping(ctx context.Context) error {
	err := requestVersion(ctx, d.client)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("connecting to Docker at %s: %w", d.endpoint, ctx.Err())
	}
	return &UnreachableError{d.endpoint, err}
}

// dockerClient returns the client that the docker command would use, and its endpoint.
func dockerClient() (api client.APIClient, endpoint string, err error) {
	// The packages of the docker command print to stderr through logrus.
	logrus.SetOutput(io.Discard)
	cli, err := command.NewDockerCli(command.WithCombinedStreams(io.Discard))
	if err != nil {
		return nil, "", err
	}
	options := flags.NewClientOptions()
	none := pflag.NewFlagSet("docker", pflag.ContinueOnError)
	options.InstallFlags(none) // the defaults depend on the environment
	options.SetDefaultOptions(none)
	if err := cli.Initialize(options); err != nil {
		return nil, "", err
	}
	// cli.Client() would exit the process if the context does not exist.
	api, err = command.NewAPIClientFromFlags(options, cli.ConfigFile())
	if err != nil {
		return nil, "", err
	}
	// With ssh, the client has a placeholder as host.
	endpoint = api.DaemonHost()
	if metadata, err := cli.ContextStore().GetMetadata(cli.CurrentContext()); err == nil {
		if meta, err := docker.EndpointFromContext(metadata); err == nil && meta.Host != "" {
			endpoint = meta.Host
		}
	}
	return api, endpoint, nil
}

// requestVersion requests the version. Its error has the most specific cause available.
func requestVersion(ctx context.Context, api client.APIClient) error {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	_, err := api.ServerVersion(ctx)
	if !client.IsErrConnectionFailed(err) {
		return err
	}
	// The client replaces most causes with "Cannot connect", so connect again to get the cause.
	conn, dialErr := api.Dialer()(ctx)
	if dialErr != nil {
		return dialErr
	}
	_ = conn.Close()
	return err
}

// Name implements [Engine]. For an engine that has not answered yet, the address decides.
func (d *Docker) Name() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.podman != nil && *d.podman || d.podman == nil && d.guess == Podman {
		return Podman
	}
	return bundle.Docker
}

// Endpoint returns the address of the engine, such as unix:///var/run/docker.sock or ssh://host.
func (d *Docker) Endpoint() string { return d.endpoint }

// Chosen reports whether DOCKER_HOST or the docker context names another address than the default one.
func (d *Docker) Chosen() bool { return d.endpoint != client.DefaultDockerHost }

// Local reports whether the engine has a socket on this host.
func (d *Docker) Local() bool { return strings.HasPrefix(d.endpoint, "unix://") }

// PIDs implements [Engine]. Podman has no process that always runs.
func (d *Docker) PIDs() map[string]int {
	if d.Name() == Podman {
		return nil
	}
	return pidsOf("", d.PID())
}

// pidsOf returns the result of PIDs for one engine. pid is 0 if it is not known.
func pidsOf(engine string, pid int) map[string]int {
	if pid == 0 {
		return nil
	}
	return map[string]int{engine: pid}
}

// PID reads from the socket which process listens. It returns 0 if the process is not on this machine or not in this
// pid namespace.
func (d *Docker) PID() int {
	path, local := strings.CutPrefix(d.endpoint, "unix://")
	if !local {
		return 0
	}
	return listenerOf(path)
}

// API returns the client, for callers that create and run containers.
func (d *Docker) API() client.APIClient { return d.client }

// Close implements [Engine].
func (d *Docker) Close() error { return errors.Join(d.client.Close(), d.stores.close()) }

// Version implements [Engine].
func (d *Docker) Version(ctx context.Context) (Version, error) {
	server, err := d.client.ServerVersion(ctx)
	if err != nil {
		return Version{}, fmt.Errorf("requesting Docker's version: %w", err)
	}
	if _, err := d.isPodman(ctx); err != nil { // for Name
		return Version{}, err
	}
	info, err := d.client.Info(ctx)
	if err != nil {
		return Version{}, fmt.Errorf("requesting information about Docker's host: %w", err)
	}
	return Version{
		Engine:        server.Version,
		API:           server.APIVersion,
		Host:          info.Name,
		OS:            info.OperatingSystem,
		Kernel:        info.KernelVersion,
		CgroupDriver:  info.CgroupDriver,
		CgroupVersion: info.CgroupVersion,
		Rootless:      slices.Contains(info.SecurityOptions, "name=rootless"),
		UsernsRemap:   slices.Contains(info.SecurityOptions, "name=userns"),
	}, nil
}

// List implements [Engine].
func (d *Docker) List(ctx context.Context, all bool) ([]Info, error) {
	list, err := d.client.ContainerList(ctx, container.ListOptions{All: all})
	if err != nil {
		return nil, fmt.Errorf("listing containers: %w", err)
	}
	podman, err := d.isPodman(ctx)
	if err != nil {
		return nil, err
	}
	var infos []Info
	for _, c := range list {
		infos = append(infos, Info{
			Engine:      engineOf(podman),
			ID:          c.ID,
			Name:        ownName(c.Names),
			Image:       familiar(c.Image, c.ImageID),
			ImageID:     c.ImageID,
			Labels:      c.Labels,
			NetworkMode: c.HostConfig.NetworkMode,
			Running:     running(c.State),
			CreatedAt:   time.Unix(c.Created, 0),

			NeverStarted: c.State == container.StateCreated,
		})
	}
	return infos, nil
}

// engineOf returns the Engine of an [Info].
func engineOf(podman bool) string {
	if podman {
		return Podman
	}
	return ""
}

// running reports whether a container in this state is running, as State.Running does. Paused containers and containers
// that the engine is about to restart count as running.
func running(state container.ContainerState) bool {
	return state == container.StateRunning || state == container.StatePaused || state == container.StateRestarting
}

// ownName returns the container's own name, without the names that links of other containers give it (/web/db).
func ownName(names []string) string {
	for _, name := range names {
		if name := strings.TrimPrefix(name, "/"); !strings.Contains(name, "/") {
			return name
		}
	}
	return ""
}

// Inspect implements [Engine].
func (d *Docker) Inspect(ctx context.Context, id string) (Info, error) {
	c, err := d.client.ContainerInspect(ctx, id)
	if errdefs.IsNotFound(err) {
		return Info{}, fmt.Errorf("%s: %w", id, ErrNotFound)
	}
	if err != nil {
		return Info{}, fmt.Errorf("inspecting container %s: %w", id, err)
	}
	if c.ContainerJSONBase == nil || c.Config == nil || c.HostConfig == nil || c.State == nil {
		return Info{}, fmt.Errorf("inspecting container %s: the engine's answer is incomplete", id)
	}
	podman, err := d.isPodman(ctx)
	if err != nil {
		return Info{}, err
	}
	info := infoOf(c)
	info.Layers = d.layersOf(ctx, c.ID, c.GraphDriver)
	if podman {
		info.Seccomp = podmanSeccomp(info.SecurityOpt)
		return d.withLibpod(ctx, info)
	}
	info.ImageDigest = d.imageDigest(ctx, c.Config.Image, c.Image)
	if info.Seccomp, err = d.seccompOf(ctx, c.HostConfig.SecurityOpt); err != nil {
		info.Seccomp = nil // the engine has accepted it, but this version of capmon cannot read it
	}
	return info, nil
}

// infoOf returns what the answer to an inspection contains.
func infoOf(c container.InspectResponse) Info {
	return Info{
		ID:           c.ID,
		Name:         strings.TrimPrefix(c.Name, "/"),
		Image:        familiar(c.Config.Image, c.Image),
		ImageID:      c.Image,
		Labels:       c.Config.Labels,
		User:         c.Config.User,
		Privileged:   c.HostConfig.Privileged,
		CapAdd:       c.HostConfig.CapAdd,
		CapDrop:      c.HostConfig.CapDrop,
		SecurityOpt:  c.HostConfig.SecurityOpt,
		PidMode:      string(c.HostConfig.PidMode),
		NetworkMode:  string(c.HostConfig.NetworkMode),
		UsernsMode:   string(c.HostConfig.UsernsMode),
		CgroupnsMode: string(c.HostConfig.CgroupnsMode),
		CgroupParent: c.HostConfig.CgroupParent,
		Running:      c.State.Running,
		Pid:          c.State.Pid,
		NeverStarted: c.State.Status == container.StateCreated,
		CreatedAt:    parseTime(c.Created),
		StartedAt:    parseTime(c.State.StartedAt),
		FinishedAt:   parseTime(c.State.FinishedAt),
		ExitCode:     c.State.ExitCode,
		Mounts:       mounts(c),
		Inspected:    true,
	}
}

// mounts returns the mounts that the user has configured, without the mounts that Docker makes in every container.
func mounts(c container.InspectResponse) []Mount {
	var all []Mount
	for _, mount := range c.Mounts {
		all = append(all, Mount{mount.Source, mount.Destination})
	}
	for _, destination := range slices.Sorted(maps.Keys(c.HostConfig.Tmpfs)) {
		all = append(all, Mount{"", destination})
	}
	return all
}

// parseTime parses Docker's format of times. It returns the zero time for events that have not happened.
func parseTime(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return time.Time{}
	}
	return t
}

// imageDigest returns the digest by which the image's registry knows the image. If the image has several, from
// different repositories, it returns the digest for the repository that the user named.
func (d *Docker) imageDigest(ctx context.Context, image, id string) string {
	named, err := reference.ParseNormalizedNamed(image)
	if err == nil {
		if digested, ok := named.(reference.Digested); ok {
			return digested.Digest().String()
		}
	}
	inspected, inspectErr := d.client.ImageInspect(ctx, id)
	if inspectErr != nil {
		return "" // Docker allows removing the image of a running container
	}
	digest := ""
	for _, known := range inspected.RepoDigests {
		repository, found, _ := strings.Cut(known, "@")
		if digest == "" || err == nil && repository == reference.FamiliarName(named) {
			digest = found
		}
	}
	return digest
}

// Events implements [Engine].
func (d *Docker) Events(ctx context.Context, since time.Time) (<-chan Event, <-chan error) {
	out, failed := make(chan Event), make(chan error, 1)
	go func() {
		defer close(failed)
		err := d.events(ctx, events.ListOptions{Since: timestamp(since)}, func(event Event) {
			select {
			case out <- event:
			case <-ctx.Done():
			}
		})
		if errors.Is(err, io.EOF) {
			err = errors.New("the engine has closed the connection")
		}
		if ctx.Err() == nil {
			failed <- fmt.Errorf("following Docker's events: %w", err)
		}
	}()
	return out, failed
}

// Past implements [Engine].
func (d *Docker) Past(ctx context.Context, since, until time.Time) ([]Event, error) {
	var past []Event
	podman, err := d.isPodman(ctx)
	if err != nil {
		return nil, err
	}
	end := until
	if podman {
		end = time.Now().Add(podmanDelay)
	}
	err = d.events(ctx, events.ListOptions{Since: timestamp(since), Until: timestamp(end)}, func(event Event) {
		if podman && len(past) >= maxPastOfPodman {
			past = past[1:]
		}
		if !event.Time.After(until) {
			past = append(past, event)
		}
	})
	if !errors.Is(err, io.EOF) {
		return past, fmt.Errorf("reading Docker's past events: %w", err)
	}
	return past, nil
}

// timestamp formats a time for Docker's API.
func timestamp(t time.Time) string { return fmt.Sprintf("%d.%09d", t.Unix(), t.Nanosecond()) }

// events calls handle for the events of containers until the stream ends, which is io.EOF, or until ctx ends.
func (d *Docker) events(ctx context.Context, options events.ListOptions, handle func(Event)) error {
	podman, err := d.isPodman(ctx)
	if err != nil {
		return err
	}
	options.Filters = filters.NewArgs(filters.Arg("type", string(events.ContainerEventType)))
	messages, errs := d.client.Events(ctx, options)
	for {
		select {
		case err := <-errs:
			return err
		case message := <-messages:
			if event, ok := eventOf(message, podman); ok {
				handle(event)
			}
		}
	}
}

// stops reports whether a signal, given as a number, ends most programs. Other signals, such as SIGHUP, usually have
// another effect.
func stops(signal string) bool {
	number, err := strconv.Atoi(signal)
	return err == nil && slices.Contains([]unix.Signal{unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGKILL}, unix.Signal(number))
}

// eventOf converts a message. It separates the labels from the attributes that the engine adds to them. It returns
// false for types of events that capmon does not use.
func eventOf(message events.Message, podman bool) (Event, bool) {
	event := Event{
		Type:   EventType(message.Action),
		ID:     message.Actor.ID,
		Labels: make(map[string]string),
		Time:   time.Unix(0, message.TimeNano),
	}
	var added []string
	if podman {
		event.Engine, added = Podman, podmanAttributes()
		if event.Type == podmanRemoved {
			event.Type = Removed
		}
	}
	switch event.Type {
	case Created, Started, Removed:
	case Died:
		added = append(added, "exitCode", "execDuration")
		if status, err := strconv.Atoi(message.Actor.Attributes["exitCode"]); err == nil {
			event.ExitStatus = &status
		}
	case Renamed:
		added = append(added, "oldName")
	case Killed:
		added = append(added, "signal")
		event.Stops = stops(message.Actor.Attributes["signal"])
	default:
		return Event{}, false
	}
	for key, value := range message.Actor.Attributes {
		switch {
		case key == "name":
			event.Name = strings.TrimPrefix(value, "/")
		case key == "image":
			event.Image = familiar(value, "")
		case !slices.Contains(added, key):
			event.Labels[key] = value
		}
	}
	return event, true
}

// shortestID is the minimum number of digits of an ID that capmon accepts as the name of an image. cafe may be the name
// of one image and the beginning of another image's ID.
const shortestID = 4

// familiar returns an image's name with its tag, but without docker.io/library, as docker ps prints it. If the name is
// the ID of the image, or the beginning of the ID, familiar returns it unchanged.
func familiar(image, id string) string {
	_, digits, _ := strings.Cut(id, ":")
	if len(image) >= shortestID && strings.HasPrefix(digits, image) {
		return image
	}
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return image // a whole ID
	}
	return reference.FamiliarString(reference.TagNameOnly(named))
}
