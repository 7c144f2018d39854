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

// volumeNames returns the names of the existing volumes.
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

// ownVolume renames a volume that does not exist yet, so that each run begins with a new one, even if another process
// creates a volume with the user's name. It returns the changed option and the new name, or "" if there is nothing to
// rename.
func ownVolume(o option, spec containerSpec) (option, string) {
	switch o.name {
	case "volume":
		if name, rest, ok := strings.Cut(o.value, ":"); ok && spec.isNewVolume(name) {
			return option{o.name, spec.volume(name) + ":" + rest}, spec.volume(name)
		}
	case "mount":
		fields, err := csv.NewReader(strings.NewReader(o.value)).Read()
		if err != nil || slices.Contains(fields, "type=bind") {
			return o, "" // the docker command reports the error
		}
		for i, field := range fields {
			key, name, _ := strings.Cut(field, "=")
			if (key == "src" || key == "source") && spec.isNewVolume(name) {
				fields[i] = key + "=" + spec.volume(name)
				return option{o.name, csvLine(fields)}, spec.volume(name)
			}
		}
	}
	return o, ""
}

// csvLine formats fields as a line of CSV.
func csvLine(fields []string) string {
	var text strings.Builder
	w := csv.NewWriter(&text)
	_ = w.Write(fields) // a Builder does not fail
	w.Flush()
	return strings.TrimSuffix(text.String(), "\n")
}

func (spec containerSpec) volume(name string) string { return spec.name + "_" + name }

// isNewVolume reports whether a source is a volume that does not exist yet. Other sources are directories and existing
// volumes.
func (spec containerSpec) isNewVolume(name string) bool {
	return name != "" && !strings.ContainsAny(name, "/~") && !strings.HasPrefix(name, ".") && !slices.Contains(spec.volumes, name)
}

// sharedMounts returns the writable volumes and directories of a new container that existed before: a run finds there
// what earlier runs left. before are the volumes that existed before the container was created.
func sharedMounts(created container.InspectResponse, before []string) []container.MountPoint {
	var shared []container.MountPoint
	for _, m := range created.Mounts {
		if m.RW && (m.Type == mount.TypeBind || m.Type == mount.TypeVolume && slices.Contains(before, m.Name)) {
			shared = append(shared, m)
		}
	}
	return shared
}

// checkOtherUsers returns an error if a container outside the run uses one of the mounts, or a directory above or below
// it.
func checkOtherUsers(ctx context.Context, api client.APIClient, run string, kept []container.MountPoint) error {
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
					return fmt.Errorf("container %s also uses %s: verify would write to the data of this container; stop and remove it, use another volume or directory, or allow the writes with --shared-volumes",
						strings.TrimPrefix(strings.Join(other.Names, ", "), "/"), mountName(ours))
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

func mountName(m container.MountPoint) string {
	if m.Type == mount.TypeVolume {
		return "volume " + m.Name
	}
	return m.Source
}
