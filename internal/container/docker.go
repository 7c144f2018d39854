package container

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/docker/cli/cli/command"
	"github.com/docker/cli/cli/flags"
	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/client"
)

// Docker is the Docker engine that the docker command would talk to.
type Docker struct {
	client   client.APIClient
	endpoint string
	version  types.Version
}

// connectTimeout bounds the first question to the engine.
const connectTimeout = 10 * time.Second

// NewDocker connects as the docker command does: DOCKER_HOST, DOCKER_CONTEXT or
// the current context, with their TLS settings and ssh. The error is an
// *UnreachableError if the engine does not answer.
func NewDocker(ctx context.Context) (*Docker, error) {
	cli, err := command.NewDockerCli(command.WithCombinedStreams(io.Discard))
	if err != nil {
		return nil, fmt.Errorf("reading Docker's configuration: %w", err)
	}
	if err := cli.Initialize(flags.NewClientOptions()); err != nil {
		return nil, fmt.Errorf("reading Docker's configuration: %w", err)
	}
	endpoint := cli.DockerEndpoint().Host
	api := cli.Client()
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	version, err := api.ServerVersion(ctx)
	if err != nil {
		api.Close()
		return nil, &UnreachableError{endpoint, err}
	}
	return &Docker{api, endpoint, version}, nil
}

// Name is docker.
func (d *Docker) Name() string { return "docker" }

// Endpoint is where the engine was reached.
func (d *Docker) Endpoint() string { return d.endpoint }

// Version of the engine, and of its API.
func (d *Docker) Version() (engine, api string) { return d.version.Version, d.version.APIVersion }

// Close ends the connection.
func (d *Docker) Close() error { return d.client.Close() }

// List implements Engine. The settings that only an inspection tells are empty.
func (d *Docker) List(ctx context.Context, all bool) ([]Info, error) {
	list, err := d.client.ContainerList(ctx, container.ListOptions{All: all})
	if err != nil {
		return nil, fmt.Errorf("listing containers: %w", err)
	}
	var infos []Info
	for _, c := range list {
		info := Info{ID: c.ID, Image: familiar(c.Image), ImageID: c.ImageID, Labels: c.Labels, Running: c.State == container.StateRunning}
		if len(c.Names) > 0 {
			info.Name = strings.TrimPrefix(c.Names[0], "/")
		}
		infos = append(infos, info)
	}
	return infos, nil
}

// Inspect implements Engine.
func (d *Docker) Inspect(ctx context.Context, id string) (Info, error) {
	c, err := d.client.ContainerInspect(ctx, id)
	if errdefs.IsNotFound(err) {
		return Info{}, fmt.Errorf("%s: %w", id, ErrNotFound)
	}
	if err != nil {
		return Info{}, fmt.Errorf("inspecting container %s: %w", id, err)
	}
	return Info{
		ID:         c.ID,
		Name:       strings.TrimPrefix(c.Name, "/"),
		Image:      familiar(c.Config.Image),
		ImageID:    c.Image,
		Labels:     c.Config.Labels,
		User:       c.Config.User,
		Privileged: c.HostConfig.Privileged,
		CapAdd:     c.HostConfig.CapAdd,
		CapDrop:    c.HostConfig.CapDrop,
		Running:    c.State.Running,
		Inspected:  true,
	}, nil
}

// Events implements Engine.
func (d *Docker) Events(ctx context.Context, since time.Time) (<-chan Event, <-chan error) {
	messages, errs := d.client.Events(ctx, events.ListOptions{
		Since:   fmt.Sprintf("%d.%09d", since.Unix(), since.Nanosecond()),
		Filters: filters.NewArgs(filters.Arg("type", string(events.ContainerEventType))),
	})
	out := make(chan Event)
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case message := <-messages:
				event, ok := eventOf(message)
				if !ok {
					continue
				}
				select {
				case out <- event:
				case <-ctx.Done():
					return
				}
			}
		}
	}()
	return out, errs
}

func eventOf(message events.Message) (Event, bool) {
	event := Event{Type: EventType(message.Action), ID: message.Actor.ID, Time: time.Unix(0, message.TimeNano)}
	switch event.Type {
	case Created, Started, Renamed:
	default:
		return Event{}, false
	}
	event.Labels = make(map[string]string)
	for key, value := range message.Actor.Attributes {
		switch key {
		case "name":
			event.Name = strings.TrimPrefix(value, "/")
		case "image":
			event.Image = familiar(value)
		case "oldName", "execID", "exitCode", "signal":
		default:
			event.Labels[key] = value
		}
	}
	return event, true
}

// familiar is an image's name as docker ps shows it, with its tag.
func familiar(image string) string {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return image // an ID
	}
	return reference.FamiliarString(reference.TagNameOnly(named))
}
