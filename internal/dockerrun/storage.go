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

// storage adds volumes, mounts and other settings for files.
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
	for _, target := range slices.Sorted(maps.Keys(h.Tmpfs)) {
		if options := h.Tmpfs[target]; options != "" {
			target += ":" + options
		}
		b.add("--tmpfs", target)
	}
	b.addMap("--storage-opt", h.StorageOpt)
	b.addSwitch("--read-only", h.ReadonlyRootfs)
	const defaultSize = 64 << 20 // DefaultShmSize, daemon/config of moby
	if h.ShmSize != 0 && h.ShmSize != defaultSize {
		b.add("--shm-size", strconv.FormatInt(h.ShmSize, 10))
	}
}

// anonymous adds anonymous volumes by their IDs, so that the new container uses the same volumes. If the container was
// run with --rm, the engine removes its volumes with it, and the new container gets new ones.
func (b *builder) anonymous() {
	mounted, declared, inherited := b.mountedPaths(), cleanPaths(b.Container.Config.Volumes), cleanPaths(b.Image.Volumes)
	for _, point := range b.Container.Mounts {
		if point.Type != mount.TypeVolume || !declared[point.Destination] || mounted[point.Destination] {
			continue
		}
		if !b.Container.HostConfig.AutoRemove {
			b.add("--volume", point.Name+":"+point.Destination)
		} else if !inherited[point.Destination] {
			b.add("--volume", point.Destination)
		}
	}
}

// cleanPaths returns the paths of declared volumes as the engine mounts them: /data for /data/.
func cleanPaths(declared map[string]struct{}) map[string]bool {
	paths := make(map[string]bool)
	for declaredPath := range declared {
		paths[path.Clean(declaredPath)] = true
	}
	return paths
}

// mountedPaths returns the paths that --volume and --mount use. The engine rejects a path that is given twice.
func (b *builder) mountedPaths() map[string]bool {
	mounted := make(map[string]bool)
	for _, bind := range b.Container.HostConfig.Binds {
		if fields := strings.Split(bind, ":"); len(fields) > 1 { // otherwise the volume is anonymous
			mounted[path.Clean(fields[1])] = true
		}
	}
	for _, m := range b.Container.HostConfig.Mounts {
		mounted[path.Clean(m.Target)] = true
	}
	return mounted
}

// source returns the source of a --mount. For an anonymous volume, it is the name that the engine gave it. With --rm,
// it is empty, because the volume is removed with the container.
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

// mount adds a --mount. Its value is a line of CSV.
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
			b.untranslated("HostConfig.Mounts", "the source directory of the mount at "+m.Target+" must exist")
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
			b.untranslated("HostConfig.Mounts", "further options of the tmpfs at "+m.Target)
		}
	}
	if m.ClusterOptions != nil {
		b.untranslated("HostConfig.Mounts", "a cluster volume at "+m.Target)
	}
	var line bytes.Buffer
	w := csv.NewWriter(&line)
	_ = w.Write(fields) // into memory
	w.Flush()
	b.add("--mount", strings.TrimSuffix(line.String(), "\n"))
}
