package dockerrun

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/docker/api/types/mount"
)

// storage is what it sees of files that are not its own.
func (b *builder) storage() {
	h := b.Container.HostConfig
	b.config("Volumes")
	b.host("Binds", "Mounts", "Tmpfs", "VolumesFrom", "VolumeDriver", "StorageOpt", "ReadonlyRootfs", "ShmSize")
	b.addAll("--volume", h.Binds)
	for _, m := range h.Mounts {
		b.mount(m)
	}
	b.anonymous()
	b.addAll("--volumes-from", h.VolumesFrom)
	b.add("--volume-driver", h.VolumeDriver)
	for _, place := range slices.Sorted(maps.Keys(h.Tmpfs)) {
		if options := h.Tmpfs[place]; options != "" {
			place += ":" + options
		}
		b.add("--tmpfs", place)
	}
	b.addMap("--storage-opt", h.StorageOpt)
	b.addSwitch("--read-only", h.ReadonlyRootfs)
	const usual = 64 << 20 // DefaultShmSize, daemon/config of moby
	if h.ShmSize != 0 && h.ShmSize != usual {
		b.add("--shm-size", strconv.FormatInt(h.ShmSize, 10))
	}
}

// anonymous are the volumes without a name of their own, which a new container would get
// afresh: named by their IDs they stay what they are. With --rm they go with the container.
func (b *builder) anonymous() {
	told, declared, inherited := b.told(), places(b.Container.Config.Volumes), places(b.Image.Volumes)
	for _, point := range b.Container.Mounts {
		if point.Type != mount.TypeVolume || !declared[point.Destination] || told[point.Destination] {
			continue
		}
		if !b.Container.HostConfig.AutoRemove {
			b.add("--volume", point.Name+":"+point.Destination)
		} else if !inherited[point.Destination] {
			b.add("--volume", point.Destination)
		}
	}
}

// places are the paths of declared volumes as the engine mounts them: /data for /data/.
func places(declared map[string]struct{}) map[string]bool {
	places := make(map[string]bool)
	for place := range declared {
		places[path.Clean(place)] = true
	}
	return places
}

// told are the places that --volume and --mount have filled: what is told twice is refused.
func (b *builder) told() map[string]bool {
	told := make(map[string]bool)
	for _, bind := range b.Container.HostConfig.Binds {
		if fields := strings.Split(bind, ":"); len(fields) > 1 { // else it is without a name
			told[path.Clean(fields[1])] = true
		}
	}
	for _, m := range b.Container.HostConfig.Mounts {
		told[path.Clean(m.Target)] = true
	}
	return told
}

// source is what a --mount brings in. A volume without a name of its own has that which the
// engine gave it, and with --rm none that outlives the container.
func (b *builder) source(m mount.Mount) string {
	if m.Type != mount.TypeVolume || m.Source != "" || b.Container.HostConfig.AutoRemove {
		return m.Source
	}
	for _, point := range b.Container.Mounts {
		if point.Type == mount.TypeVolume && point.Destination == path.Clean(m.Target) {
			return point.Name
		}
	}
	return ""
}

// mount translates a --mount, whose value is a line of CSV.
func (b *builder) mount(m mount.Mount) {
	fields := []string{"type=" + string(m.Type)}
	add := func(key, value string) {
		if value != "" {
			fields = append(fields, key+"="+value)
		}
	}
	set := func(key string, value bool) {
		if value {
			fields = append(fields, key+"=true")
		}
	}
	add("source", b.source(m))
	add("target", m.Target)
	set("readonly", m.ReadOnly)
	add("consistency", string(m.Consistency))
	if o := m.BindOptions; o != nil {
		add("bind-propagation", string(o.Propagation))
		for value, is := range map[string]bool{"disabled": o.NonRecursive, "writable": o.ReadOnlyNonRecursive, "readonly": o.ReadOnlyForceRecursive} {
			if is {
				add("bind-recursive", value)
			}
		}
		if o.CreateMountpoint {
			b.cannot("HostConfig.Mounts", "the directory for "+m.Target+" has to be there")
		}
	}
	if o := m.VolumeOptions; o != nil {
		set("volume-nocopy", o.NoCopy)
		add("volume-subpath", o.Subpath)
		for _, key := range slices.Sorted(maps.Keys(o.Labels)) {
			add("volume-label", key+"="+b.value("volume-label", key, o.Labels[key]))
		}
		if driver := o.DriverConfig; driver != nil {
			add("volume-driver", driver.Name)
			for _, key := range slices.Sorted(maps.Keys(driver.Options)) {
				add("volume-opt", key+"="+b.value("volume-opt", key, driver.Options[key]))
			}
		}
	}
	if o := m.ImageOptions; o != nil {
		add("image-subpath", o.Subpath)
	}
	if o := m.TmpfsOptions; o != nil {
		if o.SizeBytes != 0 {
			add("tmpfs-size", strconv.FormatInt(o.SizeBytes, 10))
		}
		if o.Mode != 0 {
			add("tmpfs-mode", fmt.Sprintf("%o", uint32(o.Mode)))
		}
		if len(o.Options) > 0 {
			b.cannot("HostConfig.Mounts", "further options of the tmpfs at "+m.Target)
		}
	}
	if m.ClusterOptions != nil {
		b.cannot("HostConfig.Mounts", "a cluster volume at "+m.Target)
	}
	var line bytes.Buffer
	w := csv.NewWriter(&line)
	_ = w.Write(fields) // into memory
	w.Flush()
	b.add("--mount", strings.TrimSuffix(line.String(), "\n"))
}
