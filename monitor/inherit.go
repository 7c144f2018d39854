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
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/bpf"
)

// When a capmon comes whose programs differ from those of the pinned recording, both are
// attached, and the gates (recording in bpf/maps.h) say at one moment that the new ones count
// from now on. What the old ones have counted stays in their maps, which are pinned on,
// frozen, until the containers in them have ended and been handed over: the sum is what
// there is of a container.

const (
	gateMap = ".data.recording" // as it is called in the object
	gatePin = "gate"            // without the dot, which the BPF file system refuses
	frozen  = "frozen-"         // begins the names of directories of recordings that count no more
	// settling is how long an execve that the runtime began before the gates changed may take
	// until the old programs note what was asked in it.
	settling = 100 * time.Millisecond
)

// inherited is what earlier recordings have counted that this one goes on with. The zero
// value is of one that has inherited nothing.
type inherited struct {
	containers map[uint64]bpf.CapmonContainer
	checks     countedChecks
	executions map[bpf.CapmonExecutionKey]bpf.CapmonExecutionValue
	calls      map[bpf.CapmonCallKey]bpf.CapmonCallValue
	files      map[bpf.CapmonFileKey]bpf.CapmonFileValue
	counters   [bpf.CapmonCounterCOUNTER_MAX]uint64
	skipped    uint64
	// estates are the frozen directories, with their maps of containers.
	estates map[string]*ebpf.Map
}

func newInherited() inherited {
	return inherited{
		containers: make(map[uint64]bpf.CapmonContainer), checks: make(countedChecks),
		executions: make(map[bpf.CapmonExecutionKey]bpf.CapmonExecutionValue),
		calls:      make(map[bpf.CapmonCallKey]bpf.CapmonCallValue),
		files:      make(map[bpf.CapmonFileKey]bpf.CapmonFileValue),
		estates:    make(map[string]*ebpf.Map),
	}
}

func addContainer(value, more *bpf.CapmonContainer) {
	value.LastNs = max(value.LastNs, more.LastNs)
	value.Processes += more.Processes
	value.Lost += more.Lost
	value.Used |= more.Used
	value.Kept |= more.Kept
	for i := range value.Files {
		value.Files[i] += more.Files[i]
		value.Unlisted[i] += more.Unlisted[i]
	}
	if value.WorkloadNs == 0 {
		value.WorkloadNs, value.Existed, value.BaseUserns, value.Keyring = more.WorkloadNs, more.Existed, more.BaseUserns, more.Keyring
		value.Bounding, value.Permitted, value.Uid = more.Bounding, more.Permitted, more.Uid
	}
}

func addCheck(value, more *bpf.CapmonCheckValue) {
	value.Count += more.Count
	value.Overruled += more.Overruled
	value.Succeeded += more.Succeeded
	value.Forbidden += more.Forbidden
	value.Failed += more.Failed
	value.LastNs = max(value.LastNs, more.LastNs)
}

func addExecution(value, more *bpf.CapmonExecutionValue) {
	value.Count += more.Count
	value.LastNs = max(value.LastNs, more.LastNs)
}

func addCall(value, more *bpf.CapmonCallValue) {
	value.Count += more.Count
	value.LastNs = max(value.LastNs, more.LastNs)
}

func addFile(value, more *bpf.CapmonFileValue) {
	value.Count += more.Count
	value.LastNs = max(value.LastNs, more.LastNs)
}

// whole hands every entry of a map to use, with what was inherited of it, and then what was
// inherited besides.
func whole[K comparable, V any](m *ebpf.Map, what string, earlier map[K]V, add func(value, more *V), use func(*K, *V)) error {
	if len(earlier) == 0 {
		return entries(m, what, use)
	}
	both := make(map[K]bool)
	err := entries(m, what, func(key *K, value *V) {
		if old, ok := earlier[*key]; ok {
			both[*key] = true
			add(&old, value)
			value = &old
		}
		use(key, value)
	})
	for key, value := range earlier {
		if !both[key] {
			use(&key, &value)
		}
	}
	return err
}

func (m *Monitor) eachContainer(use func(*uint64, *bpf.CapmonContainer)) error {
	return whole(m.attached.maps.Containers, "containers", m.inherited.containers, addContainer, use)
}

func (m *Monitor) eachExecution(use func(*bpf.CapmonExecutionKey, *bpf.CapmonExecutionValue)) error {
	return whole(m.attached.maps.Executions, "executions", m.inherited.executions, addExecution, use)
}

func (m *Monitor) eachCall(use func(*bpf.CapmonCallKey, *bpf.CapmonCallValue)) error {
	return whole(m.attached.maps.Calls, "system calls", m.inherited.calls, addCall, use)
}

func (m *Monitor) eachFile(use func(*bpf.CapmonFileKey, *bpf.CapmonFileValue)) error {
	return whole(m.attached.maps.Files, "files", m.inherited.files, addFile, use)
}

// addTo adds the inherited checks of the wanted containers.
func (h *inherited) addTo(counted countedChecks, wanted func(cgroup uint64) bool) {
	for key, value := range h.checks {
		if !wanted(key.Container) {
			continue
		}
		if more, ok := counted[key]; ok {
			addCheck(&value, &more)
		}
		counted[key] = value
	}
}

// lookUpContainer is the entry of one, with what was inherited of it.
func (m *Monitor) lookUpContainer(cgroup uint64, value *bpf.CapmonContainer) error {
	old, known := m.inherited.containers[cgroup]
	err := m.attached.maps.Containers.Lookup(cgroup, value)
	switch {
	case known && errors.Is(err, ebpf.ErrKeyNotExist):
		*value, err = old, nil
	case known && err == nil:
		addContainer(&old, value)
		*value = old
	}
	return err
}

// forget removes what was inherited of containers, for good.
func (h *inherited) forget(cgroups map[uint64]bool, discard func(directory string) error) error {
	for directory, containers := range h.estates {
		for cgroup := range cgroups {
			if err := containers.Delete(cgroup); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
				return fmt.Errorf("removing an inherited container: %w", err)
			}
		}
		empty, err := isEmpty(containers)
		if empty {
			err = errors.Join(discard(directory), containers.Close())
			delete(h.estates, directory)
		}
		if err != nil {
			return fmt.Errorf("removing an inherited recording: %w", err)
		}
	}
	deleteOf(h.containers, cgroups, func(cgroup uint64) uint64 { return cgroup })
	deleteOf(h.checks, cgroups, func(key bpf.CapmonCheckKey) uint64 { return key.Container })
	deleteOf(h.executions, cgroups, func(key bpf.CapmonExecutionKey) uint64 { return key.Container })
	deleteOf(h.calls, cgroups, func(key bpf.CapmonCallKey) uint64 { return key.Container })
	deleteOf(h.files, cgroups, func(key bpf.CapmonFileKey) uint64 { return key.Container })
	return nil
}

func deleteOf[K comparable, V any](m map[K]V, cgroups map[uint64]bool, of func(K) uint64) {
	for key := range m {
		if cgroups[of(key)] {
			delete(m, key)
		}
	}
}

func isEmpty(m *ebpf.Map) (bool, error) {
	var key []byte
	err := m.NextKey(nil, &key)
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return true, nil
	}
	return false, err
}

func (h *inherited) close() error {
	var errs []error
	for _, containers := range h.estates {
		errs = append(errs, containers.Close())
	}
	return errors.Join(errs...)
}

// estate is a recording that another version of capmon has made.
type estate struct {
	directory    string
	older, newer *btf.Spec
}

func openEstate(directory string) (*estate, error) {
	older, err := readLayout(directory)
	if err != nil {
		return nil, err
	}
	spec, err := bpf.LoadCapmon()
	if err != nil {
		return nil, fmt.Errorf("reading the programs: %w", err)
	}
	return &estate{directory, older, spec.Types}, nil
}

// open opens one of its maps.
func (e *estate) open(name string) (*ebpf.Map, error) {
	return ebpf.LoadPinnedMap(filepath.Join(e.directory, mapPins, name), nil)
}

// translator is of a type that both versions have.
func (e *estate) translator(name string) (*translator, error) {
	var older, newer *btf.Struct
	if err := errors.Join(e.older.TypeByName(name, &older), e.newer.TypeByName(name, &newer)); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return newTranslator(older, newer)
}

// readEstate reads a map of structures into one of this version's.
func readEstate[K comparable, V any](e *estate, name string, key, value string, into map[K]V, add func(value, more *V)) error {
	m, err := e.open(name)
	if err != nil {
		return err
	}
	defer m.Close()
	ofKey, ofValue := &translator{size: 8, moves: []move{{0, 0, 8}}}, (*translator)(nil)
	if key != "" {
		if ofKey, err = e.translator(key); err != nil {
			return err
		}
	}
	if ofValue, err = e.translator(value); err != nil {
		return err
	}
	rawKey, rawValue := make([]byte, m.KeySize()), make([]byte, m.ValueSize())
	all := m.Iterate()
	for all.Next(&rawKey, &rawValue) {
		var k K
		var v V
		if err := errors.Join(decode(ofKey.translate(rawKey), &k), decode(ofValue.translate(rawValue), &v)); err != nil {
			return err
		}
		if old, ok := into[k]; ok {
			add(&old, &v)
			v = old
		}
		into[k] = v
	}
	return all.Err()
}

func decode(raw []byte, into any) error {
	_, err := binary.Decode(raw, binary.NativeEndian, into)
	return err
}

// read adds all that a recording has counted.
func (h *inherited) read(directory string) error {
	e, err := openEstate(directory)
	if err != nil {
		return err
	}
	containers := make(map[uint64]bpf.CapmonContainer)
	if err := readEstate(e, "containers", "", "container", containers, addContainer); err != nil {
		return err
	}
	err = errors.Join(
		readEstate(e, "checks", "check_key", "check_value", h.checks, addCheck),
		readEstate(e, "executions", "execution_key", "execution_value", h.executions, addExecution),
		readEstate(e, "calls", "call_key", "call_value", h.calls, addCall),
		readEstate(e, "files", "file_key", "file_value", h.files, addFile),
		e.readMemos(h.checks), e.readCounters(&h.counters))
	if err != nil {
		return err
	}
	for cgroup, value := range containers {
		if old, ok := h.containers[cgroup]; ok {
			addContainer(&old, &value)
			value = old
		}
		h.containers[cgroup] = value
	}
	deleteUnknown(h)
	what, err := readNote(directory)
	h.skipped += what.Skipped
	return err
}

// deleteUnknown removes what is of no container: it has been handed over.
func deleteUnknown(h *inherited) {
	unknown := make(map[uint64]bool)
	note := func(cgroup uint64) {
		if _, ok := h.containers[cgroup]; !ok {
			unknown[cgroup] = true
		}
	}
	for key := range h.checks {
		note(key.Container)
	}
	for key := range h.executions {
		note(key.Container)
	}
	for key := range h.calls {
		note(key.Container)
	}
	for key := range h.files {
		note(key.Container)
	}
	_ = (&inherited{containers: h.containers, checks: h.checks, executions: h.executions, calls: h.calls, files: h.files}).forget(unknown, nil) // without estates nothing fails
}

// readMemos adds what the CPUs remembered beside the map of checks.
func (e *estate) readMemos(checks countedChecks) error {
	m, err := e.open("memos")
	if err != nil {
		return err
	}
	defer m.Close()
	var remembered, memo *btf.Struct
	if err := errors.Join(e.older.TypeByName("remembered", &remembered), e.older.TypeByName("memo", &memo)); err != nil {
		return err
	}
	memos, key := memberOf(remembered, "memo"), memberOf(memo, "key")
	array, ok := memos.Type.(*btf.Array)
	if !ok {
		return errors.New("what the CPUs remember is laid out in an unknown way")
	}
	ofKey, err := e.translator("check_key")
	if err != nil {
		return err
	}
	ofValue, err := newTranslator(
		&btf.Struct{Size: memo.Size, Members: []btf.Member{memberOf(memo, "count"), memberOf(memo, "last_ns")}},
		&btf.Struct{Size: 16, Members: []btf.Member{{Name: "count", Type: u64}, {Name: "last_ns", Type: u64, Offset: 64}}})
	if err != nil {
		return err
	}
	var perCPU [][]byte
	if err := m.Lookup(uint32(0), &perCPU); err != nil {
		return err
	}
	for _, raw := range perCPU {
		for i := range array.Nelems {
			one := raw[memos.Offset.Bytes()+i*memo.Size:]
			var kind bpf.CapmonCheckKey
			var counted struct{ Count, LastNs uint64 }
			if err := errors.Join(decode(ofKey.translate(one[key.Offset.Bytes():]), &kind), decode(ofValue.translate(one), &counted)); err != nil {
				return err
			}
			if known, ok := checks[kind]; ok && counted.Count > 0 { // else it has been handed over
				addCheck(&known, &bpf.CapmonCheckValue{Count: counted.Count, LastNs: counted.LastNs})
				checks[kind] = known
			}
		}
	}
	return nil
}

var u64 = &btf.Int{Name: "__u64", Size: 8}

// memberOf is the member of a structure with a name; without a type if it has none.
func memberOf(of *btf.Struct, name string) btf.Member {
	i := slices.IndexFunc(of.Members, func(member btf.Member) bool { return member.Name == name })
	if i < 0 {
		return btf.Member{Name: name}
	}
	return of.Members[i]
}

// readCounters adds the counters, whose numbers are the same in all versions.
func (e *estate) readCounters(counters *[bpf.CapmonCounterCOUNTER_MAX]uint64) error {
	m, err := e.open("counters")
	if err != nil {
		return err
	}
	defer m.Close()
	if int(m.MaxEntries()) > len(counters) {
		return fmt.Errorf("%d counters, of which %d are known", m.MaxEntries(), len(counters))
	}
	for which := range m.MaxEntries() {
		var perCPU []uint64
		if err := m.Lookup(which, &perCPU); err != nil {
			return err
		}
		for _, n := range perCPU {
			counters[which] += n
		}
	}
	return nil
}

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
		if !strings.HasPrefix(filepath.Base(directory), frozen) {
			return directory, nil
		}
	}
	return "", nil
}

// succeed takes over from the recording in a directory: from one moment on this one counts.
// It may be called again for what it has not brought to its end.
func (m *Monitor) succeed(directory string) error {
	older, err := ebpf.LoadPinnedMap(filepath.Join(directory, gatePin), nil)
	if err != nil {
		return fmt.Errorf("opening the gate of the recording before: %w", err)
	}
	defer older.Close()
	if err := passOn(older, m.attached.gate); err != nil {
		return fmt.Errorf("taking over from the recording before: %w", err)
	}
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
		err = os.Rename(directory, filepath.Join(m.pins.root, frozen+newID()))
	}
	if err != nil {
		return fmt.Errorf("taking over from the recording in %s: %w", directory, err)
	}
	return nil
}

// inherit reads all that is frozen.
func (m *Monitor) inherit() error {
	m.inherited = newInherited()
	others, err := m.pins.others()
	if err != nil {
		return err
	}
	for _, directory := range others {
		if !strings.HasPrefix(filepath.Base(directory), frozen) {
			continue
		}
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
