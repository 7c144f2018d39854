package verify

import (
	"context"
	"encoding/csv"
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

// ownVolume gives a volume that is not there yet a name of the run's own, so that each
// run begins with a new one, whoever else makes one of the user's name. It returns
// the option with it, and the new name; "" if there is nothing to rename.
func ownVolume(o option, how creation) (option, string) {
	switch o.name {
	case "volume":
		if name, rest, ok := strings.Cut(o.value, ":"); ok && how.isNewVolume(name) {
			return option{o.name, how.volume(name) + ":" + rest}, how.volume(name)
		}
	case "mount":
		fields, err := csv.NewReader(strings.NewReader(o.value)).Read()
		if err != nil || slices.Contains(fields, "type=bind") {
			return o, "" // the docker command says what is wrong
		}
		for i, field := range fields {
			key, name, _ := strings.Cut(field, "=")
			if (key == "src" || key == "source") && how.isNewVolume(name) {
				fields[i] = key + "=" + how.volume(name)
				return option{o.name, csvLine(fields)}, how.volume(name)
			}
		}
	}
	return o, ""
}

// csvLine is the inverse of reading a line.
func csvLine(fields []string) string {
	var text strings.Builder
	w := csv.NewWriter(&text)
	_ = w.Write(fields) // a Builder does not fail
	w.Flush()
	return strings.TrimSuffix(text.String(), "\n")
}

func (how creation) volume(name string) string { return how.name + "_" + name }

// isNewVolume: others are directories, and volumes that were there before.
func (how creation) isNewVolume(name string) bool {
	return name != "" && !strings.ContainsAny(name, "/~") && !strings.HasPrefix(name, ".") && !slices.Contains(how.volumes, name)
}

// sharedMounts are the writable volumes and directories of a new container that were
// there before: what one run leaves in them the next one finds. before lists the
// volumes that were there when it was created.
func sharedMounts(created container.InspectResponse, before []string) []container.MountPoint {
	var shared []container.MountPoint
	for _, m := range created.Mounts {
		if m.RW && (m.Type == mount.TypeBind || m.Type == mount.TypeVolume && slices.Contains(before, m.Name)) {
			shared = append(shared, m)
		}
	}
	return shared
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
