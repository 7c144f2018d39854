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
func passOn(older, newer *ebpf.Map) error {
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
		return errors.Join(setGate(newer, 1), setGate(older, 0))
	}
	defer program.Close()
	_, err = program.Run(&ebpf.RunOptions{})
	return err
}

// setGate says whether the programs of a recording count.
func setGate(gate *ebpf.Map, open uint32) error {
	return gate.Put(uint32(0), binary.NativeEndian.AppendUint32(nil, open))
}

// predecessor is the directory of the recording that another version left, "" if there is
// none.
func (p *pins) predecessor() (string, error) {
	others, err := p.others()
	if err != nil {
		return "", err
	}
	for _, directory := range others {
		if !isNamed(directory, frozen) && !isNamed(directory, retiring) {
			return directory, nil
		}
	}
	return "", nil
}

// named are the directories whose names begin so.
func (p *pins) named(prefix string) ([]string, error) {
	others, err := p.others()
	return slices.DeleteFunc(others, func(directory string) bool { return !isNamed(directory, prefix) }), err
}

// isNamed reports whether a directory's name begins so.
func isNamed(directory, prefix string) bool {
	return strings.HasPrefix(filepath.Base(directory), prefix)
}

// succeed takes over from the recording in a directory: from one moment on this one counts.
// It may be called again if it was interrupted before it renamed the directory.
func (m *Monitor) succeed(directory string) error {
	older, err := ebpf.LoadPinnedMap(filepath.Join(directory, gatePin), nil)
	if err != nil {
		return fmt.Errorf("opening the gate of the recording before: %w", err)
	}
	defer older.Close()
	if err := passOn(older, m.attached.gate); err != nil {
		return fmt.Errorf("taking over from the recording before: %w", err)
	}
	// No version may take up a recording that has lost some of its programs.
	if err := os.Rename(directory, filepath.Join(m.pins.root, retiring+newID())); err != nil {
		return fmt.Errorf("taking over from the recording in %s: %w", directory, err)
	}
	return m.pins.retire()
}

// retire removes the programs of the recordings that another one has taken over from, and leaves
// what they have counted.
func (p *pins) retire() error {
	replaced, err := p.named(retiring)
	if err != nil {
		return err
	}
	for _, directory := range replaced {
		if err := freeze(directory); err != nil {
			return fmt.Errorf("ending the recording in %s, which another version of capmon began: %w", directory, err)
		}
		if err := os.Rename(directory, filepath.Join(p.root, frozen+newID())); err != nil {
			return fmt.Errorf("ending the recording in %s: %w", directory, err)
		}
	}
	return nil
}

// freeze removes the programs of a recording once they have noted what they were noting. It goes
// on where another process was interrupted.
func freeze(directory string) error {
	time.Sleep(settling)
	before := &attached{}
	if err := (&pins{directory: directory}).load(before); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(err, before.close())
	}
	skipped, err := before.missed()
	if err != nil {
		return errors.Join(err, before.close())
	}
	counters := [bpf.CapmonCounterCOUNTER_MAX]uint64{}
	if e, err := openEstate(directory); err == nil {
		_ = e.readCounters(&counters)
	}
	what, err := readNote(directory)
	if err == nil && what.Skipped == 0 {
		what.Skipped = skipped - min(skipped, counters[bpf.CapmonCounterCOUNTER_TAKEN_OVER])
		err = writeNote(directory, what)
	}
	for _, kind := range []string{linkPins, returnPins} {
		err = errors.Join(err, os.RemoveAll(filepath.Join(directory, kind)))
	}
	err = errors.Join(err, before.close(), os.RemoveAll(filepath.Join(directory, programPins)))
	if err == nil {
		_ = waitForPrograms() // where it cannot be waited, closing the links has waited
	}
	return err
}

// inherit reads all that is frozen.
func (m *Monitor) inherit() error {
	m.inherited = newInherited()
	estates, err := m.pins.named(frozen)
	if err != nil {
		return err
	}
	for _, directory := range estates {
		containers, err := ebpf.LoadPinnedMap(filepath.Join(directory, mapPins, "containers"), nil)
		if err == nil {
			m.inherited.estates[directory] = containers
			err = m.inherited.read(directory)
		}
		if err != nil {
			return fmt.Errorf("reading what %s has counted: %w", directory, err)
		}
	}
	return m.inherited.forget(nil, m.pins.discard) // those that have no containers any more
}
