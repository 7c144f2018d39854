package bundle

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// maxRecords is the maximum size of the list of Podman's containers. A container has 0.5 to 2 kB in it.
const maxRecords = 32 << 20

// maxLists is the number of lists that are cached.
const maxLists = 16

// storage reads the lists of containers of containers/storage, where Podman stores the names of containers and images.
// The bundle does not have the name of the image. storage is safe for concurrent use.
type storage struct {
	mu    sync.Mutex
	lists map[string]list
}

// list is a list with the version of its file.
type list struct {
	version unix.Stat_t
	records map[string]record
}

// record is the entry of a container, as containers/storage writes it.
type record struct {
	ID    string   `json:"id"`
	Names []string `json:"names"`
	Image string   `json:"image"`
	// Created is the time when Podman made the container. It is not in the bundle, except as an annotation of Podman 4,
	// which an image can have as well.
	Created time.Time `json:"created"`
	// Metadata is another JSON document, written by libpod.
	Metadata string `json:"metadata"`
}

// metadata is the document in a record.
type metadata struct {
	ImageName string `json:"image-name"`
	ImageID   string `json:"image-id"`
	Name      string `json:"name"`
}

func newStorage() storage { return storage{lists: make(map[string]list)} }

var errNoRecord = errors.New("the storage of Podman has no record of the container")

// find returns the record of a container. The bundle is STORAGE/DRIVER-containers/ID/userdata. The list is next to the
// directory of the container. The containers of podman run --rm are in another list: Podman 5 has it next to the first
// one, and Podman 4 next to the container's directory for volatile files.
func (s *storage) find(c caller, id string) (record, error) {
	const volatile = "volatile-containers.json"
	for _, file := range []struct{ in, name string }{{c.bundle, "containers.json"}, {c.bundle, volatile}, {path.Dir(c.pidFile), volatile}} {
		containers, ok := strings.CutSuffix(file.in, "/"+id+"/"+userdata)
		if !ok {
			continue
		}
		records, err := s.read(c.root, path.Join(containers, file.name))
		if record, ok := records[id]; ok {
			return record, nil
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return record{}, err
		}
	}
	return record{}, errNoRecord
}

// read reads a list, unless it has not changed since it was last read.
func (s *storage) read(root, name string) (map[string]record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	file, err := openTrusted(root, name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var version unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &version); err != nil {
		return nil, err
	}
	known, ok := s.lists[name]
	if ok && version.Dev == known.version.Dev && version.Ino == known.version.Ino && version.Mtim == known.version.Mtim && version.Size == known.version.Size {
		return known.records, nil
	}
	if version.Size > maxRecords {
		return nil, fmt.Errorf("%s is larger than %d bytes", name, maxRecords)
	}
	var all []record
	if err := json.NewDecoder(file).Decode(&all); err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	records := make(map[string]record, len(all))
	for _, record := range all {
		records[record.ID] = record
	}
	if len(s.lists) >= maxLists {
		clear(s.lists)
	}
	s.lists[name] = list{version, records}
	return records, nil
}

// maxLower is the maximum size of a list of layers.
const maxLower = 64 << 10

// layers returns the directories of a root file system of containers/storage, the writable one first. The file system
// is mounted at STORAGE/overlay/LAYER/merged. The file lower next to it has links to the other layers, as paths below
// STORAGE/overlay: l/NAME:l/NAME.
func layers(root, mount string) []string {
	layer, overlay := strings.CutSuffix(mount, "/merged")
	if !overlay || path.Base(path.Dir(layer)) != "overlay" {
		return nil
	}
	lower, err := readTrusted(root, path.Join(layer, "lower"), maxLower)
	if err != nil {
		return nil
	}
	all := []string{path.Join(layer, "diff")}
	for link := range strings.SplitSeq(strings.TrimSpace(string(lower)), ":") {
		all = append(all, path.Join(path.Dir(layer), link))
	}
	return all
}

// addRecord sets what a record has.
func (b *Bundle) addRecord(r record) {
	b.Created = r.Created
	if len(r.Names) > 0 { // podman rename changes it
		b.Name = r.Names[0]
	}
	var data metadata
	if err := json.Unmarshal([]byte(r.Metadata), &data); err != nil {
		return
	}
	b.Image = data.ImageName
	if isID(data.ImageID) {
		b.ImageID = "sha256:" + data.ImageID
	}
}
