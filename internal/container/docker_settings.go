package container

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
)

// Settings are all that the engine knows of how a container was set up, in Docker's own
// terms, and what its image and the engine would have made it without being told.
type Settings struct {
	Container container.InspectResponse
	// HostConfig and Config are the engine's answer itself, with the fields that this
	// capmon has no names for.
	HostConfig, Config map[string]json.RawMessage
	// Image is the configuration of its image; nothing is in it if ImageGone.
	Image     dockerspec.DockerOCIImageConfig
	ImageGone bool
	// ImageMoved: the name that the container was created with means another image now,
	// or none.
	ImageMoved bool
	// The engine's own: the name of its host, and the defaults for containers.
	Hostname, LogDriver, Runtime, CgroupVersion string
	// Security is what it does to all containers, such as name=seccomp,profile=builtin or
	// name=no-new-privileges.
	Security []string
}

// Settings asks the engine for all that it knows of a container. The error is ErrNotFound
// if there is none.
func (d *Docker) Settings(ctx context.Context, id string) (Settings, error) {
	inspected, body, err := d.client.ContainerInspectWithRaw(ctx, id, false)
	if errdefs.IsNotFound(err) {
		return Settings{}, fmt.Errorf("%s: %w", id, ErrNotFound)
	}
	if err != nil {
		return Settings{}, fmt.Errorf("inspecting container %s: %w", id, err)
	}
	if inspected.ContainerJSONBase == nil || inspected.Config == nil || inspected.HostConfig == nil {
		return Settings{}, fmt.Errorf("inspecting container %s: the engine's answer is incomplete", id)
	}
	settings := Settings{Container: inspected}
	if err := json.NewDecoder(bytes.NewReader(body)).Decode(&struct{ HostConfig, Config *map[string]json.RawMessage }{
		&settings.HostConfig, &settings.Config,
	}); err != nil {
		return Settings{}, fmt.Errorf("inspecting container %s: %w", id, err)
	}
	if image, err := d.client.ImageInspect(ctx, inspected.Image); err != nil {
		settings.ImageGone = true
	} else if image.Config != nil {
		settings.Image = *image.Config
	}
	named, err := d.client.ImageInspect(ctx, inspected.Config.Image)
	settings.ImageMoved = err != nil || named.ID != inspected.Image
	info, err := d.client.Info(ctx)
	if err != nil {
		return Settings{}, fmt.Errorf("asking Docker about its host: %w", err)
	}
	settings.Hostname, settings.LogDriver, settings.Runtime = info.Name, info.LoggingDriver, info.DefaultRuntime
	settings.CgroupVersion, settings.Security = info.CgroupVersion, info.SecurityOptions
	return settings, nil
}
