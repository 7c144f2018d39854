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

// ErrPinsOfAnotherForm means that a pinned recording has no metadata that this version of the package can read. Only
// [RemovePins] can end such a recording.
var ErrPinsOfAnotherForm = errors.New("a version of capmon that this one cannot continue pinned the recording")

// ErrPinsInUse means that another process records with the same [Options.PinDirectory].
var ErrPinsInUse = errors.New("another process uses the pinned recording")

// The contents of the directory of a recording.
const (
	mapsPin         = "maps"
	programsPin     = "programs"
	linksPin        = "links"    // order: as in attachedPrograms.links
	syscallExitsPin = "returns"  // order: as in attachedPrograms.syscallExitLinks
	metadataPin     = "metadata" // map: pinMetadata
	layoutPin       = "layout"   // map: the layout of the other maps, as BTF
	savedPin        = "flushed"  // map: the saved containers whose removal has begun
)

// draftName is the directory of an incomplete recording: it is being pinned or removed.
const draftName = "draft"

// pinDirectory has the pins of a recording in the BPF file system. The recording continues as long as the pins exist. A
// nil pinDirectory is valid: its recording is not pinned.
type pinDirectory struct {
	root      string // Options.PinDirectory
	directory string // directory of this recording, in root
	lock      *os.File
}

// maxCollected limits how many containers one call of collect removes.
const maxCollected = 4096

// lockPins creates the directory in a BPF file system, locks it until release, and removes incomplete recordings.
func lockPins(root string) (*pinDirectory, error) {
	if err := ensureBPFFileSystem(root); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, fmt.Errorf("creating the directory for pins: %w", err)
	}
	lock, err := os.Open(root)
	if err != nil {
		return nil, fmt.Errorf("opening the directory for pins: %w", err)
	}
	p := &pinDirectory{root: root, lock: lock}
	err = unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = ErrPinsInUse
	}
	if err == nil {
		err = os.RemoveAll(p.draftDirectory())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("locking the directory for pins %s: %w", root, err), p.release())
	}
	return p, nil
}

// ensureBPFFileSystem returns an error unless the directory root is in a BPF file system. If root is below /sys/fs/bpf,
// and no BPF file system is mounted there, the function mounts one.
func ensureBPFFileSystem(root string) error {
	const usual = "/sys/fs/bpf"
	nearest := root
	var stat unix.Statfs_t
	for {
		err := unix.Statfs(nearest, &stat)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.ENOENT) || nearest == filepath.Dir(nearest) {
			return fmt.Errorf("finding the BPF file system at %s: %w", nearest, err)
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

func (p *pinDirectory) draftDirectory() string { return filepath.Join(p.root, draftName) }

// release unlocks the directory for other processes.
func (p *pinDirectory) release() error {
	if p == nil {
		return nil
	}
	return p.lock.Close()
}

// selectRecording sets the directory of the recording with a fingerprint, and reports whether it exists.
func (p *pinDirectory) selectRecording(fingerprint string) (bool, error) {
	p.directory = filepath.Join(p.root, fingerprint)
	_, err := os.Stat(p.directory)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// otherRecordings returns the directories of recordings with other fingerprints.
func (p *pinDirectory) otherRecordings() ([]string, error) {
	entries, err := os.ReadDir(p.root)
	if err != nil {
		return nil, fmt.Errorf("finding pinned recordings: %w", err)
	}
	var others []string
	for _, entry := range entries {
		if directory := filepath.Join(p.root, entry.Name()); directory != p.directory && entry.IsDir() {
			others = append(others, directory)
		}
	}
	return others, nil
}

// pin pins a recording, completely or not at all.
func (p *pinDirectory) pin(a *attachedPrograms, metadata pinMetadata) error {
	for _, directory := range []string{mapsPin, programsPin, linksPin, syscallExitsPin} {
		if err := os.MkdirAll(filepath.Join(p.draftDirectory(), directory), 0o700); err != nil {
			return fmt.Errorf("pinning the recording: %w", err)
		}
	}
	err := errors.Join(p.addMetadata(metadata), p.addLayout(), pinLinks(filepath.Join(p.draftDirectory(), linksPin), a.links), pinLinks(filepath.Join(p.draftDirectory(), syscallExitsPin), a.syscallExitLinks))
	if err == nil {
		err = a.enabled.Pin(filepath.Join(p.draftDirectory(), enabledPin))
	}
	if err == nil {
		err = a.pinSaved(filepath.Join(p.draftDirectory(), savedPin))
	}
	for name, m := range a.namedMaps() {
		err = errors.Join(err, m.Pin(filepath.Join(p.draftDirectory(), mapsPin, name)))
	}
	for name, program := range a.programsByName {
		err = errors.Join(err, program.Pin(filepath.Join(p.draftDirectory(), programsPin, name)))
	}
	if err == nil {
		err = os.Rename(p.draftDirectory(), p.directory)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("pinning the recording: %w", err), os.RemoveAll(p.draftDirectory()))
	}
	a.pins = p
	return nil
}

// pinSaved creates the map of containers that are being removed.
func (a *attachedPrograms) pinSaved(pin string) (err error) {
	a.saved, err = ebpf.NewMap(&ebpf.MapSpec{Name: savedPin, Type: ebpf.Hash, KeySize: 8, ValueSize: 1, MaxEntries: maxCollected})
	if err != nil {
		return err
	}
	return a.saved.Pin(pin)
}

func pinLinks(directory string, links []link.Link) error {
	for i, l := range links {
		if err := l.Pin(filepath.Join(directory, fmt.Sprintf("%02d", i))); err != nil {
			return err
		}
	}
	return nil
}

// open opens the pinned maps, programs and links.
func (p *pinDirectory) open(a *attachedPrograms) (err error) {
	collection := &ebpf.Collection{Maps: make(map[string]*ebpf.Map), Programs: make(map[string]*ebpf.Program)}
	defer collection.Close()
	err = errors.Join(
		forEachPin(p.directory, mapsPin, func(name, path string) error {
			m, err := ebpf.LoadPinnedMap(path, nil)
			collection.Maps[name] = m
			return err
		}),
		p.openPrograms(collection.Programs, &a.links, &a.syscallExitLinks))
	for name, pin := range map[string]string{enabledMap: enabledPin, savedPin: savedPin} {
		m, openErr := ebpf.LoadPinnedMap(filepath.Join(p.directory, pin), nil)
		collection.Maps[name], err = m, errors.Join(err, openErr)
	}
	if err == nil {
		a.saved = collection.DetachMap(savedPin)
		err = a.assign(collection)
	}
	if err != nil {
		return fmt.Errorf("opening the pinned recording in %s: %w", p.directory, err)
	}
	a.pins = p
	return nil
}

// openPrograms opens the pinned programs, by their names in C, and their links.
func (p *pinDirectory) openPrograms(programs map[string]*ebpf.Program, links, syscallExitLinks *[]link.Link) error {
	return errors.Join(
		forEachPin(p.directory, programsPin, func(name, path string) error {
			program, err := ebpf.LoadPinnedProgram(path, nil)
			programs[name] = program
			return err
		}),
		forEachPin(p.directory, linksPin, loadLink(links)),
		forEachPin(p.directory, syscallExitsPin, loadLink(syscallExitLinks)))
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

// forEachPin visits the pins in a subdirectory, in the order of their names.
func forEachPin(directory, kind string, visit func(name, path string) error) error {
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

func (p *pinDirectory) pinSyscallExits(returns []link.Link) error {
	if p == nil {
		return nil
	}
	if err := pinLinks(filepath.Join(p.directory, syscallExitsPin), returns); err != nil {
		return fmt.Errorf("pinning the links for the end of system calls: %w", err)
	}
	return nil
}

func (p *pinDirectory) unpinSyscallExits() error {
	if p == nil {
		return nil
	}
	return forEachPin(p.directory, syscallExitsPin, func(_, path string) error { return os.Remove(path) })
}

// unpin makes the recording end with this process.
func (p *pinDirectory) unpin() error {
	if p == nil {
		return nil
	}
	return p.removeRecording(p.directory)
}

// removeRecording removes a pinned recording. It renames the directory first, so that no other process finds a
// recording with only some of its pins.
func (p *pinDirectory) removeRecording(directory string) error {
	if err := os.RemoveAll(p.draftDirectory()); err != nil {
		return fmt.Errorf("removing pins: %w", err)
	}
	if err := os.Rename(directory, p.draftDirectory()); err != nil {
		return fmt.Errorf("removing pins: %w", err)
	}
	return os.RemoveAll(p.draftDirectory())
}

// RemovePins ends the recordings that are pinned in a directory, and removes the directory. It returns nil if there is
// no such directory. The error wraps [ErrPinsInUse] if a process uses the directory.
func RemovePins(root string) error {
	if _, err := os.Stat(root); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	p, err := lockPins(root)
	if err != nil {
		return err
	}
	directories, err := p.otherRecordings()
	for _, directory := range directories {
		err = errors.Join(err, p.removeRecording(directory))
	}
	return errors.Join(err, os.Remove(root), p.release())
}
