package monitor

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/capmon/capmon/bpf"
	"github.com/capmon/capmon/internal/kernel"
)

// pinMetadata has what a later process needs to continue a recording.
type pinMetadata struct {
	// ID is unique among all recordings.
	ID    string    `json:"id"`
	Hook  Hook      `json:"hook"`
	Start time.Time `json:"start"`
	Boot  time.Time `json:"boot"` // of the clock
	// ReportedUntil is as Monitor.ReportedUntil.
	ReportedUntil time.Time `json:"reported_until,omitzero"`
	// Skipped counts skipped runs of programs that have been removed.
	Skipped uint64 `json:"skipped,omitempty"`
}

// metadataSize is the largest size of pinMetadata as JSON, in bytes.
const metadataSize = 512

// addMetadata stores the metadata in a map, because the BPF file system has no regular files.
func (p *pinDirectory) addMetadata(metadata pinMetadata) error {
	m, err := ebpf.NewMap(&ebpf.MapSpec{Name: metadataPin, Type: ebpf.Array, KeySize: 4, ValueSize: metadataSize, MaxEntries: 1})
	if err != nil {
		return err
	}
	defer m.Close()
	return errors.Join(m.Pin(filepath.Join(p.draftDirectory(), metadataPin)), writeMetadata(p.draftDirectory(), metadata))
}

func writeMetadata(directory string, metadata pinMetadata) error {
	text, err := json.Marshal(metadata)
	if err != nil {
		return err
	}
	if len(text) > metadataSize {
		return fmt.Errorf("metadata of a recording has %d bytes, more than %d", len(text), metadataSize)
	}
	m, err := ebpf.LoadPinnedMap(filepath.Join(directory, metadataPin), nil)
	if err != nil {
		return fmt.Errorf("opening the metadata of a pinned recording: %w", err)
	}
	defer m.Close()
	if err := m.Put(uint32(0), append(text, make([]byte, metadataSize-len(text))...)); err != nil {
		return fmt.Errorf("writing the metadata of a pinned recording: %w", err)
	}
	return nil
}

func readMetadata(directory string) (metadata pinMetadata, err error) {
	m, err := ebpf.LoadPinnedMap(filepath.Join(directory, metadataPin), &ebpf.LoadPinOptions{ReadOnly: true})
	if errors.Is(err, fs.ErrNotExist) {
		return metadata, fmt.Errorf("%s: %w", directory, ErrPinsOfAnotherForm)
	}
	if err != nil {
		return metadata, fmt.Errorf("opening the metadata of a pinned recording: %w", err)
	}
	defer m.Close()
	var value []byte
	if err := m.Lookup(uint32(0), &value); err != nil {
		return metadata, fmt.Errorf("reading the metadata of a pinned recording: %w", err)
	}
	if err := json.Unmarshal([]byte(cString(value)), &metadata); err != nil {
		return metadata, fmt.Errorf("reading the metadata of a pinned recording: %w", err)
	}
	return metadata, nil
}

// fingerprint returns a hash of the compiled programs, of their configuration for this kernel, and of the options. A
// process can resume only a recording with its own fingerprint.
func (o loadOptions) fingerprint() string {
	compiled, hash := bpf.Fingerprint(), sha256.New()
	hash.Write(compiled[:])
	for _, part := range []any{o.config, o.callRules, o.compatCallRules, o.fileRules, o.compatFileRules} {
		_ = binary.Write(hash, binary.NativeEndian, part) // a hash accepts all data, and the sizes are fixed
	}
	fmt.Fprint(hash, o.options.Hook, o.options.MaxChecks, o.options.MaxContainers)
	return fmt.Sprintf("%x", hash.Sum(nil)[:8])
}

// recordTypes are the types of the maps' keys and values.
var recordTypes = []string{
	"container", "check_key", "check_value", "execution_key", "execution_value",
	"call_key", "call_value", "file_key", "file_value", "check_cache",
}

// addLayout stores the layout of the maps. The kernel has it as well, but returns it only to processes with
// CAP_SYS_ADMIN (BPF_BTF_GET_FD_BY_ID, kernel/bpf/syscall.c).
func (p *pinDirectory) addLayout() error {
	spec, err := bpf.LoadCapmon()
	if err != nil {
		return fmt.Errorf("reading the programs: %w", err)
	}
	builder, err := btf.NewBuilder(nil)
	if err != nil {
		return err
	}
	for _, name := range recordTypes {
		var of *btf.Struct
		if err := spec.Types.TypeByName(name, &of); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if _, err := builder.Add(of); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	layout, err := builder.Marshal(nil, nil)
	if err != nil {
		return err
	}
	m, err := ebpf.NewMap(&ebpf.MapSpec{Name: layoutPin, Type: ebpf.Array, KeySize: 4, ValueSize: uint32(len(layout)), MaxEntries: 1})
	if err != nil {
		return err
	}
	defer m.Close()
	return errors.Join(m.Put(uint32(0), layout), m.Pin(filepath.Join(p.draftDirectory(), layoutPin)))
}

func readLayout(directory string) (*btf.Spec, error) {
	m, err := ebpf.LoadPinnedMap(filepath.Join(directory, layoutPin), nil)
	if err != nil {
		return nil, fmt.Errorf("opening the layout of a pinned recording: %w", err)
	}
	defer m.Close()
	var layout []byte
	if err := m.Lookup(uint32(0), &layout); err != nil {
		return nil, fmt.Errorf("reading the layout of a pinned recording: %w", err)
	}
	return btf.LoadSpecFromReader(bytes.NewReader(layout))
}

// resume continues a pinned recording.
func (m *Monitor) resume(p *pinDirectory, options loadOptions) error {
	metadata, err := readMetadata(p.directory)
	if err != nil {
		return err
	}
	m.attached = &attachedPrograms{hook: metadata.Hook, outcomes: options.options.Outcomes}
	if err := p.open(m.attached); err != nil {
		return errors.Join(err, m.attached.close())
	}
	m.id, m.start, m.reportedUntil, m.clock = metadata.ID, metadata.Start, metadata.ReportedUntil, kernel.ClockOf(metadata.Boot)
	for index := range m.seccompSelectors {
		if err := m.attached.maps.SeccompCalls.Lookup(uint32(index), &m.seccompSelectors[index]); err != nil {
			return errors.Join(fmt.Errorf("reading which system calls are recorded: %w", err), m.attached.close())
		}
	}
	err = m.attached.repairSyscallExits(len(m.SelectedSeccompCalls()) > 0)
	if err == nil {
		err = m.finishUpgrade()
	}
	if err == nil {
		err = m.finishRemoval()
	}
	if err != nil {
		return errors.Join(err, m.carriedOver.close(), m.attached.close())
	}
	m.collectionDue <- struct{}{} // no process has received events about entries that were added in between
	return nil
}

// metadata returns the metadata of this recording.
func (m *Monitor) metadata() pinMetadata {
	return pinMetadata{ID: m.id, Hook: m.attached.hook, Start: m.start, Boot: m.clock.Boot(), ReportedUntil: m.reportedUntil}
}

// ReportedUntil returns the time that the previous process passed to [Monitor.SetReportedUntil]; the zero time if there
// is none.
func (m *Monitor) ReportedUntil() time.Time { return m.reportedUntil }

// SetReportedUntil stores a time for later processes: this process has reported everything that was recorded until
// then. It has no effect if the recording is not pinned.
func (m *Monitor) SetReportedUntil(until time.Time) error {
	m.reading.Lock()
	defer m.reading.Unlock()
	if m.pins == nil || m.ended() {
		return nil
	}
	metadata := m.metadata()
	metadata.ReportedUntil = until
	return writeMetadata(m.pins.directory, metadata)
}

// newID returns an ID that is unique among all recordings.
func newID() string { return rand.Text() }

// finishUpgrade completes the takeover from the recording of another version, if there is one. It then reads the counts
// that are carried over.
func (m *Monitor) finishUpgrade() error {
	before, err := m.pins.predecessor()
	if err == nil && before != "" {
		err = m.takeOverFrom(before)
	}
	if err != nil {
		return err
	}
	return m.carryOver()
}
