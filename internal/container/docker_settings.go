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

// Settings are all settings of a container in Docker's own terms, with the defaults of its image and of the engine.
type Settings struct {
	Container container.InspectResponse
	// HostConfig and Config are parts of the engine's raw answer. They include fields that this version of capmon does
	// not know.
	HostConfig, Config map[string]json.RawMessage
	// Image is the configuration of the container's image. It is empty if ImageGone.
	Image     dockerspec.DockerOCIImageConfig
	ImageGone bool
	// ImageMoved is set if the image name that the container was created with now refers to another image, or to none.
	ImageMoved bool
	// The engine's settings: the name of its host, and the defaults for containers.
	Hostname, LogDriver, Runtime, CgroupVersion string
	// Security are the engine's security options for all containers, such as name=seccomp,profile=builtin or
	// name=no-new-privileges.
	Security []string
}

// Settings returns all settings of a container. The error is [ErrNotFound] if there is none.
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
	if err := checkID(id, inspected.ID); err != nil {
		return Settings{}, err
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
		return Settings{}, fmt.Errorf("requesting information about Docker's host: %w", err)
	}
	settings.Hostname, settings.LogDriver, settings.Runtime = info.Name, info.LoggingDriver, info.DefaultRuntime
	settings.CgroupVersion, settings.Security = info.CgroupVersion, info.SecurityOptions
	return settings, nil
}
