package verify

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/volume"
	"github.com/docker/docker/client"
)

// volumeNames lists the volumes that there are.
func volumeNames(ctx context.Context, api client.APIClient) ([]string, error) {
	list, err := api.VolumeList(ctx, volume.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("listing volumes: %w", err)
	}
	var names []string
	for _, v := range list.Volumes {
		names = append(names, v.Name)
	}
	return names, nil
}

// storage is what of a container's mounts outlives a run or belongs to others.
type storage struct {
	// fresh are named volumes that creating the container has made; they are removed
	// after each run.
	fresh []string
	// kept are the writable volumes and directories that were there before: what one
	// run leaves in them the next one finds.
	kept []container.MountPoint
}

// add tells the mounts of a new container apart. before lists the volumes that were
// there when it was created; those whose names begin with the run's are the run's.
func (s *storage) add(created container.InspectResponse, before []string, run string) {
	for _, m := range created.Mounts {
		switch {
		case m.Type == mount.TypeVolume && strings.HasPrefix(m.Name, run):
		case m.Type == mount.TypeVolume && !slices.Contains(before, m.Name):
			if !anonymous(created, m) {
				s.fresh = append(s.fresh, m.Name)
			}
		case m.RW && (m.Type == mount.TypeVolume || m.Type == mount.TypeBind):
			s.kept = append(s.kept, m)
		}
	}
}

// anonymous volumes go with their container. The engine does not say which are,
// but their names are not in the container's settings.
func anonymous(created container.InspectResponse, m container.MountPoint) bool {
	named := func(bind string) bool { return strings.HasPrefix(bind, m.Name+":") }
	return !slices.ContainsFunc(created.HostConfig.Binds, named) &&
		!slices.ContainsFunc(created.HostConfig.Mounts, func(other mount.Mount) bool { return other.Source == m.Name })
}

// users finds a container that is not of the run and has one of the mounts, or a
// directory above or below it.
func users(ctx context.Context, api client.APIClient, run string, kept []container.MountPoint) error {
	if len(kept) == 0 {
		return nil
	}
	all, err := api.ContainerList(ctx, container.ListOptions{All: true})
	if err != nil {
		return fmt.Errorf("listing the containers that use a volume: %w", err)
	}
	for _, other := range all {
		if other.Labels[runLabel] == run {
			continue
		}
		for _, theirs := range other.Mounts {
			for _, ours := range kept {
				if overlap(ours, theirs) {
					return fmt.Errorf("container %s uses %s too: verify would write to its data; stop and remove it, or name another place, or allow it with --shared-volumes",
						strings.TrimPrefix(strings.Join(other.Names, ", "), "/"), describe(ours))
				}
			}
		}
	}
	return nil
}

func overlap(one, other container.MountPoint) bool {
	if one.Name != "" && one.Name == other.Name {
		return true
	}
	return one.Source != "" && other.Source != "" && (below(one.Source, other.Source) || below(other.Source, one.Source))
}

func below(directory, path string) bool {
	return path == directory || strings.HasPrefix(path, strings.TrimSuffix(directory, "/")+"/")
}

func describe(m container.MountPoint) string {
	if m.Type == mount.TypeVolume {
		return "volume " + m.Name
	}
	return m.Source
}
