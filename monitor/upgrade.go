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
	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/bpf"
)

// passOn has the one recording count from now on, and not the other one, as nearly at one moment
// as can be: by a program. In this order nothing is lost: a check that is just being made may
// count for both, one for each CPU at most.
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
	if err != nil { // as before 5.14
		return errors.Join(setEnabled(newer, 1), setEnabled(older, 0))
	}
	defer program.Close()
	_, err = program.Run(&ebpf.RunOptions{})
	return err
}

// setGate says whether the programs of a recording count.
func setEnabled(gate *ebpf.Map, open uint32) error {
	return gate.Put(uint32(0), binary.NativeEndian.AppendUint32(nil, open))
}

// predecessor is the directory of the recording that another version left, "" if there is
// none.
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

// named are the directories whose names begin so.
func (p *pinDirectory) withPrefix(prefix string) ([]string, error) {
	others, err := p.otherRecordings()
	return slices.DeleteFunc(others, func(directory string) bool { return !hasPrefix(directory, prefix) }), err
}

// isNamed reports whether a directory's name begins so.
func hasPrefix(directory, prefix string) bool {
	return strings.HasPrefix(filepath.Base(directory), prefix)
}

// succeed takes over from the recording in a directory: from one moment on this one counts.
// It may be called again if it was interrupted before it renamed the directory.
func (m *Monitor) takeOverFrom(directory string) error {
	older, err := ebpf.LoadPinnedMap(filepath.Join(directory, enabledPin), nil)
	if err != nil {
		return fmt.Errorf("opening the gate of the recording before: %w", err)
	}
	defer older.Close()
	if err := switchRecording(older, m.attached.enabled); err != nil {
		return fmt.Errorf("taking over from the recording before: %w", err)
	}
	// No version may take up a recording that has lost some of its programs.
	if err := os.Rename(directory, filepath.Join(m.pins.root, retiringPrefix+newID())); err != nil {
		return fmt.Errorf("taking over from the recording in %s: %w", directory, err)
	}
	return m.pins.finishRetiring()
}

// retire removes the programs of the recordings that another one has taken over from, and leaves
// what they have counted.
func (p *pinDirectory) finishRetiring() error {
	replaced, err := p.withPrefix(retiringPrefix)
	if err != nil {
		return err
	}
	for _, directory := range replaced {
		if err := freeze(directory); err != nil {
			return fmt.Errorf("ending the recording in %s, which another version of capmon began: %w", directory, err)
		}
		if err := os.Rename(directory, filepath.Join(p.root, frozenPrefix+newID())); err != nil {
			return fmt.Errorf("ending the recording in %s: %w", directory, err)
		}
	}
	return nil
}

// freeze removes the programs of a recording once they have noted what they were noting. It goes
// on where another process was interrupted.
func freeze(directory string) error {
	time.Sleep(deferredCheckTime)
	before := &attached{}
	if err := (&pinDirectory{directory: directory}).open(before); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(err, before.close())
	}
	skipped, err := before.skippedRuns()
	if err != nil {
		return errors.Join(err, before.close())
	}
	counters := [bpf.CapmonCounterCOUNTER_MAX]uint64{}
	if e, err := openOldRecording(directory); err == nil {
		_ = e.readCounters(&counters)
	}
	what, err := readMetadata(directory)
	if err == nil && what.Skipped == 0 {
		what.Skipped = skipped - min(skipped, counters[bpf.CapmonCounterCOUNTER_TAKEN_OVER])
		err = writeMetadata(directory, what)
	}
	for _, kind := range []string{linksPin, returnsPin} {
		err = errors.Join(err, os.RemoveAll(filepath.Join(directory, kind)))
	}
	err = errors.Join(err, before.close(), os.RemoveAll(filepath.Join(directory, programsPin)))
	if err == nil {
		_ = waitForPrograms() // where it cannot be waited, closing the links has waited
	}
	return err
}

// inherit reads all that is frozen.
func (m *Monitor) carryOver() error {
	m.carriedOver = newCarriedOver()
	estates, err := m.pins.withPrefix(frozenPrefix)
	if err != nil {
		return err
	}
	for _, directory := range estates {
		containers, err := ebpf.LoadPinnedMap(filepath.Join(directory, mapsPin, "containers"), nil)
		if err == nil {
			m.carriedOver.frozenContainers[directory] = containers
			err = m.carriedOver.read(directory)
		}
		if err != nil {
			return fmt.Errorf("reading what %s has counted: %w", directory, err)
		}
	}
	return m.carriedOver.removeFrozen(nil, m.pins.removeRecording) // those that have no containers any more
}
