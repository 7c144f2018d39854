package monitor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// ErrPinsHeld: another process records with the same Options.Pins.
var ErrPinsHeld = errors.New("another process has the pinned recording")

// What there is in the directory of a recording.
const (
	mapPins     = "maps"
	programPins = "programs"
	linkPins    = "links"   // in the order of attached.links
	returnPins  = "returns" // in that of attached.returns
	notePin     = "note"    // a map, of what only user space needs
	layoutPin   = "layout"  // a map, of how the others are laid out, as BTF
	handedPin   = "handed"  // a map, of the containers that have just been handed over
)

// draft is the directory of a recording that is not whole: it is being pinned, or has ended.
const draft = "draft"

// pins are where a recording is pinned in the BPF file system. It goes on while they are
// there, whoever runs. The nil pins are of one that is not pinned.
type pins struct {
	root      string // Options.Pins
	directory string // in it, of this recording
	held      *os.File
}

// handedMax is how many containers are handed over at once.
const handedMax = 4096

// holdPins makes the directory below a BPF file system, keeps other processes out of it
// until it is released, and removes what was not wholly pinned.
func holdPins(root string) (*pins, error) {
	if err := mountPins(root); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, fmt.Errorf("making the directory of pins: %w", err)
	}
	held, err := os.Open(root)
	if err != nil {
		return nil, fmt.Errorf("opening the directory of pins: %w", err)
	}
	p := &pins{root: root, held: held}
	err = unix.Flock(int(held.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = ErrPinsHeld
	}
	if err == nil {
		err = os.RemoveAll(p.draft())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("taking the pins in %s: %w", root, err), p.release())
	}
	return p, nil
}

// mountPins sees to it that the directory is in a BPF file system, and mounts one at the usual
// place if that is meant and there is none.
func mountPins(root string) error {
	const usual = "/sys/fs/bpf"
	nearest := root
	var stat unix.Statfs_t
	for {
		err := unix.Statfs(nearest, &stat)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.ENOENT) || nearest == filepath.Dir(nearest) {
			return fmt.Errorf("looking for the BPF file system at %s: %w", nearest, err)
		}
		nearest = filepath.Dir(nearest)
	}
	if stat.Type == unix.BPF_FS_MAGIC {
		return nil
	}
	if nearest != usual {
		return fmt.Errorf("%s is not in a BPF file system: choose a directory below %s, or mount one there (mount -t bpf bpf %s)", root, usual, nearest)
	}
	if err := unix.Mount("bpf", usual, "bpf", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0700"); err != nil {
		return fmt.Errorf("mounting the BPF file system at %s: %w", usual, err)
	}
	return nil
}

func (p *pins) draft() string { return filepath.Join(p.root, draft) }

// release lets other processes take the pins.
func (p *pins) release() error {
	if p == nil {
		return nil
	}
	return p.held.Close()
}

// choose sets the directory of the recordings with a fingerprint, and reports whether there
// is one.
func (p *pins) choose(fingerprint string) (bool, error) {
	p.directory = filepath.Join(p.root, fingerprint)
	_, err := os.Stat(p.directory)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// others are the directories of recordings with other fingerprints.
func (p *pins) others() ([]string, error) {
	entries, err := os.ReadDir(p.root)
	if err != nil {
		return nil, fmt.Errorf("looking for pinned recordings: %w", err)
	}
	var others []string
	for _, entry := range entries {
		if directory := filepath.Join(p.root, entry.Name()); directory != p.directory && entry.IsDir() {
			others = append(others, directory)
		}
	}
	return others, nil
}

// add pins a recording, wholly or not at all.
func (p *pins) add(a *attached, what note) error {
	for _, directory := range []string{mapPins, programPins, linkPins, returnPins} {
		if err := os.MkdirAll(filepath.Join(p.draft(), directory), 0o700); err != nil {
			return fmt.Errorf("pinning the recording: %w", err)
		}
	}
	err := errors.Join(p.addNote(what), p.addLayout(), pinAll(filepath.Join(p.draft(), linkPins), a.links), pinAll(filepath.Join(p.draft(), returnPins), a.returns))
	if err == nil {
		err = a.gate.Pin(filepath.Join(p.draft(), gatePin))
	}
	if err == nil {
		err = a.addHanded(filepath.Join(p.draft(), handedPin))
	}
	for name, m := range a.namedMaps() {
		err = errors.Join(err, m.Pin(filepath.Join(p.draft(), mapPins, name)))
	}
	for name, program := range a.named {
		err = errors.Join(err, program.Pin(filepath.Join(p.draft(), programPins, name)))
	}
	if err == nil {
		err = os.Rename(p.draft(), p.directory)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("pinning the recording: %w", err), os.RemoveAll(p.draft()))
	}
	a.pins = p
	return nil
}

// addHanded makes the map of containers that have just been handed over.
func (a *attached) addHanded(pin string) (err error) {
	a.handed, err = ebpf.NewMap(&ebpf.MapSpec{Name: handedPin, Type: ebpf.Hash, KeySize: 8, ValueSize: 1, MaxEntries: handedMax})
	if err != nil {
		return err
	}
	return a.handed.Pin(pin)
}

func pinAll(directory string, links []link.Link) error {
	for i, l := range links {
		if err := l.Pin(filepath.Join(directory, fmt.Sprintf("%02d", i))); err != nil {
			return err
		}
	}
	return nil
}

// load takes up what is pinned.
func (p *pins) load(a *attached) (err error) {
	collection := &ebpf.Collection{Maps: make(map[string]*ebpf.Map), Programs: make(map[string]*ebpf.Program)}
	defer collection.Close()
	err = errors.Join(
		eachPin(p.directory, mapPins, func(name, path string) error {
			m, err := ebpf.LoadPinnedMap(path, nil)
			collection.Maps[name] = m
			return err
		}),
		eachPin(p.directory, programPins, func(name, path string) error {
			program, err := ebpf.LoadPinnedProgram(path, nil)
			collection.Programs[name] = program
			return err
		}),
		eachPin(p.directory, linkPins, loadLink(&a.links)),
		eachPin(p.directory, returnPins, loadLink(&a.returns)))
	for name, pin := range map[string]string{gateMap: gatePin, handedPin: handedPin} {
		m, openErr := ebpf.LoadPinnedMap(filepath.Join(p.directory, pin), nil)
		collection.Maps[name], err = m, errors.Join(err, openErr)
	}
	if err == nil {
		a.handed = collection.DetachMap(handedPin)
		err = a.take(collection)
	}
	if err != nil {
		return fmt.Errorf("taking up the pinned recording in %s: %w", p.directory, err)
	}
	a.pins = p
	return nil
}

func loadLink(links *[]link.Link) func(name, path string) error {
	return func(_, path string) error {
		l, err := link.LoadPinnedLink(path, nil)
		if err == nil {
			*links = append(*links, l)
		}
		return err
	}
}

// eachPin visits what is pinned of a kind, in the order of the names.
func eachPin(directory, kind string, visit func(name, path string) error) error {
	entries, err := os.ReadDir(filepath.Join(directory, kind))
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if err := visit(entry.Name(), filepath.Join(directory, kind, entry.Name())); err != nil {
			return fmt.Errorf("%s/%s: %w", kind, entry.Name(), err)
		}
	}
	return nil
}

func (p *pins) addReturns(returns []link.Link) error {
	if p == nil {
		return nil
	}
	if err := pinAll(filepath.Join(p.directory, returnPins), returns); err != nil {
		return fmt.Errorf("pinning: %w", err)
	}
	return nil
}

func (p *pins) removeReturns() error {
	if p == nil {
		return nil
	}
	return eachPin(p.directory, returnPins, func(_, path string) error { return os.Remove(path) })
}

// remove has the recording end with this process.
func (p *pins) remove() error {
	if p == nil {
		return nil
	}
	return p.discard(p.directory)
}

// discard ends a pinned recording: who comes meanwhile does not find half of it.
func (p *pins) discard(directory string) error {
	if err := os.RemoveAll(p.draft()); err != nil {
		return fmt.Errorf("removing pins: %w", err)
	}
	if err := os.Rename(directory, p.draft()); err != nil {
		return fmt.Errorf("removing pins: %w", err)
	}
	return os.RemoveAll(p.draft())
}

// RemovePins ends the recordings that are pinned in a directory, and removes it. None need
// be there. The error is ErrPinsHeld if a process uses them.
func RemovePins(root string) error {
	if _, err := os.Stat(root); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	p, err := holdPins(root)
	if err != nil {
		return err
	}
	directories, err := p.others()
	for _, directory := range directories {
		err = errors.Join(err, p.discard(directory))
	}
	return errors.Join(err, os.Remove(root), p.release())
}
