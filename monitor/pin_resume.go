package monitor

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/capmon/capmon/bpf"
	"github.com/capmon/capmon/internal/kernel"
)

// note is what a later process has to know to go on with a recording.
type pinMetadata struct {
	// ID is unique among all recordings.
	ID    string    `json:"id"`
	Hook  Hook      `json:"hook"`
	Start time.Time `json:"start"`
	Boot  time.Time `json:"boot"` // of the clock
	// Told as Monitor.Told.
	ReportedUntil time.Time `json:"told,omitzero"`
	// Skipped counts the runs that the kernel left out of programs that are gone.
	Skipped uint64 `json:"skipped,omitempty"`
}

// noteSize is how many bytes a note may take.
const metadataSize = 512

// addNote keeps the note in a map: the BPF file system has no other files.
func (p *pinDirectory) addMetadata(what pinMetadata) error {
	m, err := ebpf.NewMap(&ebpf.MapSpec{Name: metadataPin, Type: ebpf.Array, KeySize: 4, ValueSize: metadataSize, MaxEntries: 1})
	if err != nil {
		return err
	}
	defer m.Close()
	return errors.Join(m.Pin(filepath.Join(p.draftDirectory(), metadataPin)), writeMetadata(p.draftDirectory(), what))
}

func writeMetadata(directory string, what pinMetadata) error {
	text, err := json.Marshal(what)
	if err != nil {
		return err
	}
	if len(text) > metadataSize {
		return fmt.Errorf("a note of %d bytes", len(text))
	}
	m, err := ebpf.LoadPinnedMap(filepath.Join(directory, metadataPin), nil)
	if err != nil {
		return fmt.Errorf("opening the note of a pinned recording: %w", err)
	}
	defer m.Close()
	if err := m.Put(uint32(0), append(text, make([]byte, metadataSize-len(text))...)); err != nil {
		return fmt.Errorf("writing the note of a pinned recording: %w", err)
	}
	return nil
}

func readMetadata(directory string) (what pinMetadata, err error) {
	m, err := ebpf.LoadPinnedMap(filepath.Join(directory, metadataPin), &ebpf.LoadPinOptions{ReadOnly: true})
	if err != nil {
		return what, fmt.Errorf("opening the note of a pinned recording: %w", err)
	}
	defer m.Close()
	var value []byte
	if err := m.Lookup(uint32(0), &value); err != nil {
		return what, fmt.Errorf("reading the note of a pinned recording: %w", err)
	}
	if err := json.Unmarshal([]byte(cString(value)), &what); err != nil {
		return what, fmt.Errorf("reading the note of a pinned recording: %w", err)
	}
	return what, nil
}

// fingerprint tells recordings apart that cannot be taken up by the same process: by what was
// compiled, and by what it was told of the kernel and of what is wanted.
func (p loadOptions) fingerprint() string {
	compiled, told := bpf.Fingerprint(), sha256.New()
	told.Write(compiled[:])
	for _, part := range []any{p.config, p.callRules, p.compatCallRules, p.fileRules, p.compatFileRules} {
		_ = binary.Write(told, binary.NativeEndian, part) // a hash takes all, and these have fixed sizes
	}
	fmt.Fprint(told, p.options.Hook, p.options.MaxChecks, p.options.MaxContainers)
	return fmt.Sprintf("%x", told.Sum(nil)[:8])
}

// recordTypes are what the maps hold.
var recordTypes = []string{
	"container", "check_key", "check_value", "execution_key", "execution_value",
	"call_key", "call_value", "file_key", "file_value", "remembered",
}

// addLayout keeps how the maps are laid out. The kernel knows it, too, but tells only who has
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

// takeUp goes on with a recording that is pinned.
func (m *Monitor) resume(p *pinDirectory, options loadOptions) error {
	what, err := readMetadata(p.directory)
	if err != nil {
		return err
	}
	m.attached = &attached{hook: what.Hook, outcomes: options.options.Outcomes}
	if err := p.open(m.attached); err != nil {
		return errors.Join(err, m.attached.close())
	}
	m.id, m.start, m.reportedUntil, m.clock = what.ID, what.Start, what.ReportedUntil, kernel.ClockOf(what.Boot)
	for index := range m.selectors {
		if err := m.attached.maps.CallWatches.Lookup(uint32(index), &m.selectors[index]); err != nil {
			return errors.Join(fmt.Errorf("reading which system calls are recorded: %w", err), m.attached.close())
		}
	}
	err = m.attached.repairReturns(len(m.SelectedCalls()) > 0)
	if err == nil {
		err = m.finishUpgrade()
	}
	if err == nil {
		err = m.finishFlush()
	}
	if err != nil {
		return errors.Join(err, m.carriedOver.close(), m.attached.close())
	}
	m.highWater <- struct{}{} // what filled the maps while nobody ran was told to nobody
	return nil
}

// newNote is of a recording that begins now.
func (m *Monitor) metadata() pinMetadata {
	return pinMetadata{ID: m.id, Hook: m.attached.hook, Start: m.start, Boot: m.clock.Boot(), ReportedUntil: m.reportedUntil}
}

// Told is until when everything has been told of that was recorded by earlier processes, as the
// last one of them said; zero if none has said so.
func (m *Monitor) ReportedUntil() time.Time { return m.reportedUntil }

// NoteTold notes for later processes that everything has been told of that was recorded until
// a moment, if the recording is pinned.
func (m *Monitor) SetReportedUntil(until time.Time) error {
	m.reading.Lock()
	defer m.reading.Unlock()
	if m.pins == nil || m.ended() {
		return nil
	}
	what := m.metadata()
	what.ReportedUntil = until
	return writeMetadata(m.pins.directory, what)
}

// newID is unique among all recordings.
func newID() string { return rand.Text() }

// finishSuccession takes over from the recording of another version, if there is one whose
// place this one has not wholly taken, and reads what was inherited.
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
