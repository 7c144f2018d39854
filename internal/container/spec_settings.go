package container

import (
	"context"
	"time"

	"github.com/docker/docker/api/types/container"
)

// Settings returns the settings that the OCI specification of a container has, in Docker's terms. The other settings
// are missing. The error is [ErrNotFound] if there is no such container.
func (c *Containerd) Settings(ctx context.Context, id string) (Settings, error) {
	info, err := c.Inspect(ctx, id)
	return info.settings(), err
}

// Settings is like [Containerd.Settings]. The CRI also reports whether a container is privileged.
func (c *CRI) Settings(ctx context.Context, id string) (Settings, error) {
	info, err := c.Inspect(ctx, id)
	return info.settings(), err
}

// settings returns the known settings of a container in Docker's terms. capmon does not know the labels of its image.
func (i Info) settings() Settings {
	host := container.HostConfig{
		Privileged: i.Privileged, NetworkMode: container.NetworkMode(i.NetworkMode), PidMode: container.PidMode(i.PidMode), SecurityOpt: i.SecurityOpt,
	}
	if i.Seccomp != nil { // no filter: capmon does not know the filters in specifications
		host.SecurityOpt = append([]string{"seccomp=unconfined"}, host.SecurityOpt...)
	}
	state := container.State{Running: i.Running, ExitCode: i.ExitCode}
	if !i.StartedAt.IsZero() {
		state.StartedAt = i.StartedAt.Format(time.RFC3339Nano)
	}
	return Settings{
		Container: container.InspectResponse{
			ContainerJSONBase: &container.ContainerJSONBase{ID: i.ID, Name: "/" + i.Name, State: &state, HostConfig: &host},
			Config:            &container.Config{Image: i.Image, User: i.User, Labels: i.Labels},
		},
		ImageGone: true,
		Security:  []string{"name=seccomp,profile=builtin"}, // for those with a filter
	}
}
