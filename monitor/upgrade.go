package monitor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/bpf"
)

// switchRecording makes the newer recording count instead of the older one. A BPF program enables the newer one first,
// and immediately disables the older one. So no check is lost, and at most one check per CPU counts for both: a check
// that is in progress.
func switchRecording(older, newer *ebpf.Map) error {
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.Syscall, Flags: unix.BPF_F_SLEEPABLE, License: "GPL",
		Instructions: asm.Instructions{
			asm.LoadMapValue(asm.R1, newer.FD(), 0),
			asm.LoadMapValue(asm.R2, older.FD(), 0),
			asm.StoreImm(asm.R1, 0, 1, asm.Word),
			asm.StoreImm(asm.R2, 0, 0, asm.Word),
			asm.Mov.Imm(asm.R0, 0),
			asm.Return(),
		},
	})
	if err != nil { // before Linux 5.14
		return errors.Join(setEnabled(newer, 1), setEnabled(older, 0))
	}
	defer program.Close()
	_, err = program.Run(&ebpf.RunOptions{})
	return err
}

// setEnabled sets whether the programs of a recording count.
func setEnabled(flag *ebpf.Map, value uint32) error {
	return flag.Put(uint32(0), binary.NativeEndian.AppendUint32(nil, value))
}

// predecessor returns the directory of the recording of another version, or "" if there is none.
func (p *pinDirectory) predecessor() (string, error) {
	others, err := p.otherRecordings()
	if err != nil {
		return "", err
	}
	for _, directory := range others {
		if !hasPrefix(directory, frozenPrefix) && !hasPrefix(directory, retiringPrefix) {
			return directory, nil
		}
	}
	return "", nil
}

// withPrefix returns the directories whose names have a prefix.
func (p *pinDirectory) withPrefix(prefix string) ([]string, error) {
	others, err := p.otherRecordings()
	return slices.DeleteFunc(others, func(directory string) bool { return !hasPrefix(directory, prefix) }), err
}

// hasPrefix reports whether the name of a directory has a prefix.
func hasPrefix(directory, prefix string) bool {
	return strings.HasPrefix(filepath.Base(directory), prefix)
}

// takeOverFrom makes this recording count instead of the recording in a directory. After an interruption before the
// rename of the directory, it can be called again.
func (m *Monitor) takeOverFrom(directory string) error {
	older, err := ebpf.LoadPinnedMap(filepath.Join(directory, enabledPin), nil)
	if err != nil {
		return fmt.Errorf("opening the enabled flag of the old recording: %w", err)
	}
	defer older.Close()
	if err := switchRecording(older, m.attached.enabled); err != nil {
		return fmt.Errorf("switching from the old recording: %w", err)
	}
	// From here on, no version may resume that recording: it will soon lack some of its programs.
	if err := os.Rename(directory, filepath.Join(m.pins.root, retiringPrefix+newID())); err != nil {
		return fmt.Errorf("taking over from the recording in %s: %w", directory, err)
	}
	return m.pins.finishRetiring()
}

// finishRetiring removes the programs of the recordings that no longer count. Their maps stay.
func (p *pinDirectory) finishRetiring() error {
	replaced, err := p.withPrefix(retiringPrefix)
	if err != nil {
		return err
	}
	for _, directory := range replaced {
		if err := freeze(directory); err != nil {
			return fmt.Errorf("removing the programs of the recording in %s, which another version of capmon began: %w", directory, err)
		}
		if err := os.Rename(directory, filepath.Join(p.root, frozenPrefix+newID())); err != nil {
			return fmt.Errorf("freezing the recording in %s: %w", directory, err)
		}
	}
	return nil
}

// freeze removes the programs of a recording, after they have recorded their deferred checks. It also completes a
// removal that another process has begun. The other version may have other maps and other programs.
func freeze(directory string) error {
	time.Sleep(deferredCheckTime)
	older := &ebpf.Collection{Programs: make(map[string]*ebpf.Program)}
	defer older.Close()
	var links []link.Link
	err := (&pinDirectory{directory: directory}).openPrograms(older.Programs, &links, &links)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(err, closeLinks(links))
	}
	skipped, err := skippedRuns(firstCopies(older.Programs))
	if err != nil {
		return errors.Join(err, closeLinks(links))
	}
	counters := [bpf.CapmonCounterCOUNTER_MAX]uint64{}
	if old, err := openOldRecording(directory); err == nil {
		_ = old.readCounters(&counters)
	}
	metadata, err := readMetadata(directory)
	if err == nil && metadata.Skipped == 0 {
		metadata.Skipped = skipped - min(skipped, counters[bpf.CapmonCounterCOUNTER_FALLBACK_RUNS])
		err = writeMetadata(directory, metadata)
	}
	for _, kind := range []string{linksPin, syscallExitsPin} {
		err = errors.Join(err, os.RemoveAll(filepath.Join(directory, kind)))
	}
	err = errors.Join(err, closeLinks(links), os.RemoveAll(filepath.Join(directory, programsPin)))
	if err == nil {
		_ = waitForPrograms() // if waiting is not possible, closing the links has waited
	}
	return err
}

// carryOver reads all frozen recordings.
func (m *Monitor) carryOver() error {
	m.carriedOver = newCarriedOver()
	directories, err := m.pins.withPrefix(frozenPrefix)
	if err != nil {
		return err
	}
	for _, directory := range directories {
		containers, err := ebpf.LoadPinnedMap(filepath.Join(directory, mapsPin, "containers"), nil)
		if err == nil {
			m.carriedOver.frozenContainers[directory] = containers
			err = m.carriedOver.read(directory)
		}
		if err != nil {
			return fmt.Errorf("reading the old recording in %s: %w", directory, err)
		}
	}
	return m.carriedOver.removeFrozen(nil, m.pins.removeRecording) // removes recordings without containers
}
