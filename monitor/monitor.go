// Package monitor records the capability checks of containers in the kernel and
// reads them back.
//
// Recording happens in the kernel, in maps: a Monitor is fed no event per check,
// so nothing is lost when user space is slow. What found no room there is counted
// in Losses.
package monitor

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/ringbuf"
	"github.com/cilium/ebpf/rlimit"

	"github.com/capmon/capmon/bpf"
	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/kernel"
)

// Options of Start. The zero value chooses everything by itself.
type Options struct {
	// Hook forces one way to be called; "" tries all in order.
	Hook Hook
	// BTF is the path of the kernel's type information, by default
	// /sys/kernel/btf/vmlinux.
	BTF string
	// MaxChecks and MaxContainers bound the maps, by default 131072 kinds of
	// check and 4096 containers. What finds no room is counted in Losses.
	MaxChecks, MaxContainers uint32
	// Outcomes: learn how the system calls end in which a check is refused. That costs
	// every system call of the machine some 0.15 µs.
	Outcomes bool
	// Pins is a directory in the BPF file system (/sys/fs/bpf/…) where the recording is
	// pinned: it goes on when this process ends, in whatever way, and a later Start with the
	// same options takes it up. "" for a recording that ends with the process.
	PinDirectory string
	// Walk: walk the kernel's stack at every check, and tell no call site from memory. It
	// is slower and says the same.
	NoStackCache bool
}

// Monitor records until it is closed.
type Monitor struct {
	id            string        // unique among all recordings
	start         time.Time     // when the recording began
	continued     bool          // from an earlier process
	reportedUntil time.Time     // see Told
	pins          *pinDirectory // nil without Options.Pins
	attached      *attached
	failed        []*HookError
	clock         kernel.Clock
	arch          kernel.Arch
	version       kernel.Version
	cgroups       kernel.Cgroups
	events        *ringbuf.Reader
	outcomes      bool // as in Options
	// memoryStart and memoryEnd are the address range of security_vm_enough_memory_mm.
	memoryStart, memoryEnd uint64

	carriedOver carriedOver // from recordings of other versions

	registered map[uint64]bool // the cgroups of containers that ran before anything was recorded

	highWater chan struct{}
	unread    atomic.Pointer[kernel.UnreadError] // see Unread

	reading sync.Mutex // held, before mu, while all the maps are read, or some entries removed

	mu         sync.Mutex
	newEntries map[bpf.CapmonEventKind]uint32 // what Next has told to be new, by kind, since crowded was
	symbols    *kernel.Symbols
	closed     bool
	end        time.Time // of the recording; zero while it goes on
	// harvested are containers that have ended, by their cgroups' ids.
	collected map[uint64]*endedContainer
	// leaving are those that were handed over and that a Tally has not told of yet.
	unreported     map[uint64]*endedContainer
	hasDeltaReader bool // there is a Tally
	// atStop is what the containers' processes were permitted when it was stopped.
	permittedAtStop map[uint64]capability.Set
	selectors       [2 * maxCalls]bpf.CapmonCallWatch // as the kernel side has them
}

// Start attaches to the kernel. When it returns, every check of every container
// is being recorded.
//
// The error is a *NoHookError if no hook could be used; os.ErrPermission is in
// its tree if rights are missing. What the kernel does not tell is reported before:
// kernel.ErrNoBTF, kernel.ErrSymbolsHidden.
func Start(options Options) (*Monitor, error) {
	m, programs, err := prepare(options)
	if err != nil {
		return nil, err
	}
	if options.PinDirectory != "" {
		err = m.startPinned(programs)
	} else {
		err = m.startNew(programs)
	}
	if err != nil {
		return nil, errors.Join(err, m.pins.release())
	}
	if m.events, err = ringbuf.NewReader(m.attached.maps.Events); err != nil {
		return nil, errors.Join(fmt.Errorf("opening the ring buffer: %w", err), m.attached.close(), m.pins.release())
	}
	return m, nil
}

// begin begins a recording.
func (m *Monitor) startNew(programs loadOptions) (err error) {
	hooks := Hooks()
	if programs.options.Hook != "" {
		hooks = []Hook{programs.options.Hook}
	}
	if m.attached, m.failed, err = attachFirst(hooks, programs, m.registerRunning); err != nil {
		return err
	}
	if err := m.registerLate(m.clock.Now()); err != nil {
		return errors.Join(err, m.attached.close())
	}
	m.id, m.start = newID(), m.Now()
	return nil
}

// beginPinned takes a recording up that is pinned, or begins one and pins it.
func (m *Monitor) startPinned(programs loadOptions) (err error) {
	if m.pins, err = lockPins(programs.options.PinDirectory); err != nil {
		return err
	}
	if err := m.pins.finishRetiring(); err != nil {
		return err
	}
	same, err := m.pins.selectRecording(programs.fingerprint())
	if err != nil {
		return err
	}
	if same {
		m.continued = true
		return m.resume(m.pins, programs)
	}
	what, err := m.readPredecessor()
	if err != nil {
		return err
	}
	programs.startDisabled = what != nil
	if err := m.startNew(programs); err != nil {
		return errors.Join(err, m.carriedOver.close())
	}
	if m.continued = what != nil; m.continued {
		m.id, m.start, m.reportedUntil = what.ID, what.Start, what.ReportedUntil
	}
	err = m.pins.pin(m.attached, m.metadata())
	if err == nil {
		err = errors.Join(m.carriedOver.close(), m.finishUpgrade())
	}
	if err != nil {
		return errors.Join(err, m.carriedOver.close(), m.attached.close())
	}
	return nil
}

// expectations reads what there is to inherit while it is still growing, so that the
// containers that run go on as they began. The note is nil if there is nothing.
func (m *Monitor) readPredecessor() (*pinMetadata, error) {
	before, err := m.pins.predecessor()
	if err != nil || before == "" {
		return nil, err
	}
	what, err := readMetadata(before)
	if err != nil {
		return nil, err
	}
	m.carriedOver = newCarriedOver()
	if err := m.carriedOver.read(before); err != nil {
		return nil, fmt.Errorf("reading what another version of capmon has recorded in %s (serve it with that version, or remove it): %w", before, err)
	}
	m.clock = kernel.ClockOf(what.Boot)
	return &what, nil
}

// ID is the recording's, unique among all. One that is taken up keeps it.
func (m *Monitor) ID() string { return m.id }

// Began is when the recording began, which may have been in an earlier process.
func (m *Monitor) Began() time.Time { return m.start }

// TakenUp reports whether the recording was begun by an earlier process, perhaps with other
// programs in the kernel.
func (m *Monitor) Continued() bool { return m.continued }

// Cgroups is the hierarchy by which containers are told apart.
func (m *Monitor) Cgroups() kernel.Cgroups { return m.cgroups }

// TryHooks attaches each hook in turn, takes it away again and tells what came
// of it: nil for those that work. The second error is about what all hooks need.
func TryHooks(options Options) (map[Hook]error, error) {
	_, programs, err := prepare(options)
	if err != nil {
		return nil, err
	}
	tried := make(map[Hook]error)
	for _, hook := range Hooks() {
		attached, err := attach(hook, programs, func(bpf.CapmonMaps) error { return nil })
		if err == nil {
			err = attached.close()
		}
		tried[hook] = err
	}
	return tried, nil
}

// prepare learns what has to be known of the kernel before anything is loaded.
func prepare(options Options) (*Monitor, loadOptions, error) {
	if err := rlimit.RemoveMemlock(); err != nil && !errors.Is(err, os.ErrPermission) {
		return nil, loadOptions{}, fmt.Errorf("lifting the limit on locked memory: %w", err)
	}
	m := &Monitor{
		arch:       kernel.NativeArch(),
		outcomes:   options.Outcomes,
		highWater:  make(chan struct{}, 1),
		newEntries: make(map[bpf.CapmonEventKind]uint32),
		collected:  make(map[uint64]*endedContainer),
		unreported: make(map[uint64]*endedContainer),
	}
	var err error
	if m.version, err = kernel.RunningVersion(); err != nil {
		return nil, loadOptions{}, err
	}
	if m.clock, err = kernel.NewClock(); err != nil {
		return nil, loadOptions{}, err
	}
	if m.cgroups, err = kernel.DetectCgroups(); err != nil {
		return nil, loadOptions{}, err
	}
	var types *btf.Spec
	var typesErr error
	var reading sync.WaitGroup
	reading.Go(func() { types, typesErr = kernel.LoadBTF(options.BTF) })
	m.symbols, err = kernel.LoadSymbols()
	reading.Wait()
	if err := cmp.Or(err, typesErr); err != nil {
		return nil, loadOptions{}, err
	}
	settings, err := m.kernelConfig(types, options)
	if err != nil {
		return nil, loadOptions{}, err
	}
	return m, loadOptions{
		types: types, options: options, config: settings,
		callRules: callTable(m.arch), compatCallRules: callTable(m.arch.Compat()),
		fileRules: fileTable(m.arch), compatFileRules: fileTable(m.arch.Compat()),
	}, nil
}

// settings are what the programs have to know of this kernel.
func (m *Monitor) kernelConfig(types *btf.Spec, options Options) (bpf.CapmonConfig, error) {
	last, err := kernel.LastCapability()
	if err != nil {
		return bpf.CapmonConfig{}, err
	}
	known := capability.Known(last)
	host, err := kernel.HostCapabilities()
	if err != nil {
		return bpf.CapmonConfig{}, err
	}
	settings := bpf.CapmonConfig{Subsys: -1, Known: uint64(known), Host: uint64(host & known), PageSize: uint32(os.Getpagesize())}
	if m.cgroups.Controller != "" {
		index, err := kernel.SubsysIndex(types, m.cgroups.SubsysName)
		if err != nil {
			return settings, err
		}
		settings.Subsys = int32(index)
	}
	start, end, ok := m.symbols.Range("cap_capable")
	if !ok {
		return settings, errors.New("the kernel's symbol table has no cap_capable: is this a Linux kernel with capabilities?")
	}
	settings.AskerStart, settings.AskerEnd = start, end
	if settings.Capset, _, ok = m.symbols.Range("cap_capset"); !ok {
		return settings, errors.New("the kernel's symbol table has no cap_capset")
	}
	if settings.TaskPrctl, _, ok = m.symbols.Range("cap_task_prctl"); !ok {
		return settings, errors.New("the kernel's symbol table has no cap_task_prctl")
	}
	m.memoryStart, m.memoryEnd, _ = m.symbols.Range("security_vm_enough_memory_mm")
	settings.MemoryStart, settings.MemoryEnd = m.memoryStart, m.memoryEnd
	// Inside, as return addresses are.
	settings.Capset++
	settings.TaskPrctl++
	if options.Outcomes {
		settings.Outcomes = 1
	}
	var text bool
	settings.TextStart, settings.TextEnd, text = m.symbols.Text()
	if orc, ok := m.symbols.OrcTables(); ok && text && !options.NoStackCache {
		settings.OrcIps, settings.Orcs, settings.OrcCount = orc.IPs, orc.Entries, orc.Count
		if kernel.HasTracepoint(types, "module_free") {
			settings.Modules = orc.Modules
		}
	}
	return settings, nil
}

// Hook tells which hook is in use.
func (m *Monitor) Hook() Hook { return m.attached.hook }

// Failed tells which hooks were tried before Hook, and why they failed.
func (m *Monitor) FailedHooks() []*HookError { return m.failed }

// Now is this moment on the clock that all times of a Monitor are of. It shows the wall
// clock's time of when the Monitor was started and what has passed since, the computer's
// sleep included, however the wall clock is set meanwhile.
func (m *Monitor) Now() time.Time { return m.clock.Time(m.clock.Now()) }

// over reports whether the recording has ended, or been closed.
func (m *Monitor) ended() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.stopped() || m.closed
}

// stopped reports whether the recording has ended. The caller holds mu.
func (m *Monitor) stopped() bool { return !m.end.IsZero() }

// Stop ends the recording, also one that is pinned. What was recorded can still be read.
func (m *Monitor) Stop() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stopped() || m.closed {
		return nil
	}
	var err error
	m.permittedAtStop, err = m.permittedNow() // who ends from now on is not seen
	err = errors.Join(err, m.attached.detach())
	m.end = m.Now()
	return err
}

// Close ends the recording, unless it is pinned, and frees everything; it may be called
// again.
func (m *Monitor) Close() error {
	m.reading.Lock()
	defer m.reading.Unlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil
	}
	m.closed = true
	return errors.Join(m.events.Close(), m.carriedOver.close(), m.attached.close(), m.pins.release())
}
