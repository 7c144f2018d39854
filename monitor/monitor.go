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
	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/kernel"
	"github.com/capmon/capmon/syscalls"
)

// Options configures [Start]. The zero value records with the first hook that works, until the process ends.
type Options struct {
	// Hook selects one hook. "" tries all [Hooks] in order.
	Hook Hook
	// BTF is the path of the kernel's type information. "" means /sys/kernel/btf/vmlinux.
	BTF string
	// MaxChecks and MaxContainers limit the size of the kernel's maps. 0 means 131072 kinds of check and 4096
	// containers. Checks that do not fit are counted in [Losses].
	MaxChecks, MaxContainers uint32
	// Outcomes also records how system calls with a denied check end. This adds about 0.15 µs to every system call on
	// the host.
	Outcomes bool
	// PinDirectory is a directory in the BPF file system (/sys/fs/bpf/…) in which capmon pins the recording. A pinned
	// recording continues after this process ends, even if it is killed. A later Start with the same directory
	// continues it. "" means that the recording ends with the process.
	PinDirectory string
	// NoStackCache walks the kernel's stack at every check instead of using cached call sites. Checks take more time,
	// and the results are the same.
	NoStackCache bool
	// NoRuntime allows [Monitor.AddCommand] and [Monitor.AddUnit]. This costs one more map lookup at each check of the
	// host.
	NoRuntime bool
	// FollowsCommand allows [Monitor.FollowCommand]. This costs one more map lookup at each fork and execve of the
	// host.
	FollowsCommand bool
}

// Monitor is a recording, from [Start] to [Monitor.Close]. Its methods are safe for concurrent use. The zero value is
// not usable.
type Monitor struct {
	id            string        // unique among all recordings
	start         time.Time     // when the recording began
	continued     bool          // an earlier process began the recording
	reportedUntil time.Time     // see ReportedUntil
	pins          *pinDirectory // nil without Options.PinDirectory
	attached      *attachedPrograms
	failed        []*HookError
	clock         kernel.Clock
	arch          syscalls.Arch
	version       kernel.Version
	cgroups       kernel.Cgroups
	events        *ringbuf.Reader
	outcomes      bool // as in Options
	noRuntime     bool // as in Options
	// memoryStart and memoryEnd are the address range of security_vm_enough_memory_mm.
	memoryStart, memoryEnd uint64

	carriedOver carriedOver // from recordings of other versions

	registered map[uint64]bool // the cgroups of the containers that ran before the recording began

	collectionDue chan struct{}
	unread        atomic.Pointer[kernel.UnreadError] // see UnreadCgroups

	expected expectedContainers // announced with ExpectContainer

	adding  sync.Mutex // locked before mu, while AddContainer adds a container
	reading sync.Mutex // locked before mu, while all maps are read or entries are removed

	mu         sync.Mutex
	newEntries map[bpf.CapmonEventKind]uint32 // number of events that Next has returned since the last value in collectionDue
	symbols    *kernel.Symbols
	closed     bool
	end        time.Time // of the recording; zero while it is active
	// collected has the containers that CollectEnded has moved out of the maps, by cgroup id.
	collected map[uint64]*endedContainer
	// awaitingDeltaReader has the containers that SaveEnded has passed on, but a DeltaReader has not reported yet.
	awaitingDeltaReader map[uint64]*endedContainer
	hasDeltaReader      bool // NewDeltaReader was called
	// permittedAtStop has the capabilities that the processes of each container were permitted when Stop was called.
	permittedAtStop  map[uint64]capability.Set
	seccompSelectors [2 * maxCalls]bpf.CapmonSeccompCall // as in the kernel's map
}

// Start loads and attaches the programs. When it returns, the kernel records every check of every container. Start
// needs Linux 5.15 or later, and CAP_BPF, CAP_PERFMON and CAP_SYSLOG or root.
//
// The error is a [*NoHookError] if no hook works; it wraps [os.ErrPermission] if rights are missing. If the kernel has
// no type information or hides its symbols, the error wraps [ErrNoBTF] or [ErrSymbolsHidden]. If another process
// uses [Options.PinDirectory], the error wraps [ErrPinsInUse]; if a recording there cannot be continued,
// [ErrPinsOfAnotherForm].
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
	if err := m.expected.begin(m.attached.maps.ExpectedContainers); err != nil {
		return nil, errors.Join(err, m.attached.close(), m.pins.release())
	}
	if m.events, err = ringbuf.NewReader(m.attached.maps.Events); err != nil {
		return nil, errors.Join(fmt.Errorf("opening the ring buffer: %w", err), m.attached.close(), m.pins.release())
	}
	return m, nil
}

// startNew begins a recording.
func (m *Monitor) startNew(options loadOptions) (err error) {
	hooks := Hooks()
	if options.options.Hook != "" {
		hooks = []Hook{options.options.Hook}
	}
	if m.attached, m.failed, err = attachFirst(hooks, options, m.registerRunningContainers); err != nil {
		return err
	}
	if err := m.registerContainersStartedDuringAttach(m.clock.Now()); err != nil {
		return errors.Join(err, m.attached.close())
	}
	m.id, m.start = newID(), m.Now()
	return nil
}

// startPinned continues the pinned recording, or begins a recording and pins it.
func (m *Monitor) startPinned(options loadOptions) (err error) {
	if m.pins, err = lockPins(options.options.PinDirectory); err != nil {
		return err
	}
	if err := m.pins.finishRetiring(); err != nil {
		return err
	}
	same, err := m.pins.selectRecording(options.fingerprint())
	if err != nil {
		return err
	}
	if same {
		m.continued = true
		return m.resume(m.pins, options)
	}
	previous, err := m.readPredecessor()
	if err != nil {
		return err
	}
	options.startDisabled = previous != nil
	if err := m.startNew(options); err != nil {
		return errors.Join(err, m.carriedOver.close())
	}
	if m.continued = previous != nil; m.continued {
		m.id, m.start, m.reportedUntil = previous.ID, previous.Start, previous.ReportedUntil
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

// readPredecessor reads the recording of another version, if there is one, while that recording still counts. So capmon
// keeps what it knows about the start of running containers. readPredecessor returns nil if there is no such recording.
func (m *Monitor) readPredecessor() (*pinMetadata, error) {
	before, err := m.pins.predecessor()
	if err != nil || before == "" {
		return nil, err
	}
	previous, err := readMetadata(before)
	if err != nil {
		return nil, err
	}
	m.carriedOver = newCarriedOver()
	if err := m.carriedOver.read(before); err != nil {
		return nil, fmt.Errorf("reading the recording of another version of capmon in %s (run serve of that version, or remove the recording with serve --uninstall): %w", before, err)
	}
	m.clock = kernel.ClockOf(previous.Boot)
	return &previous, nil
}

// ID returns the ID of the recording, which is unique among all recordings. A recording that continues in another
// process keeps its ID.
func (m *Monitor) ID() string { return m.id }

// Began returns the time when the recording began, possibly in an earlier process.
func (m *Monitor) Began() time.Time { return m.start }

// Continued reports whether an earlier process began the recording. This Monitor has then resumed the recording, or has
// replaced its programs (see the package comment).
func (m *Monitor) Continued() bool { return m.continued }

// TryHooks attaches and detaches each hook, and returns the error of each; the error is nil for hooks that work. The
// second result is an error that concerns all hooks, such as missing type information.
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

// prepare reads everything about the kernel that must be known before the programs are loaded.
func prepare(options Options) (*Monitor, loadOptions, error) {
	if err := rlimit.RemoveMemlock(); err != nil && !errors.Is(err, os.ErrPermission) {
		return nil, loadOptions{}, fmt.Errorf("removing the limit on locked memory: %w", err)
	}
	m := &Monitor{
		arch:                syscalls.NativeArch(),
		outcomes:            options.Outcomes,
		noRuntime:           options.NoRuntime,
		collectionDue:       make(chan struct{}, 1),
		newEntries:          make(map[bpf.CapmonEventKind]uint32),
		collected:           make(map[uint64]*endedContainer),
		awaitingDeltaReader: make(map[uint64]*endedContainer),
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

// kernelConfig returns the part of the programs' configuration that describes this kernel.
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
	settings := bpf.CapmonConfig{Subsys: -1, KnownCaps: uint64(known), HostCaps: uint64(host & known), PageSize: uint32(os.Getpagesize())}
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
	settings.CapCapableStart, settings.CapCapableEnd = start, end
	if settings.CapsetSite, _, ok = m.symbols.Range("cap_capset"); !ok {
		return settings, errors.New("the kernel's symbol table has no cap_capset")
	}
	if settings.TaskPrctlSite, _, ok = m.symbols.Range("cap_task_prctl"); !ok {
		return settings, errors.New("the kernel's symbol table has no cap_task_prctl")
	}
	m.memoryStart, m.memoryEnd, _ = m.symbols.Range("security_vm_enough_memory_mm")
	settings.EnoughMemoryStart, settings.EnoughMemoryEnd = m.memoryStart, m.memoryEnd
	// The programs compare return addresses, which are after the start of a function, never at it.
	settings.CapsetSite++
	settings.TaskPrctlSite++
	if options.Outcomes {
		settings.Outcomes = 1
	}
	if options.NoRuntime {
		settings.FollowDescendants = 1
		settings.ExecutorInode, settings.ExecutorDevice = executor()
	}
	if options.FollowsCommand {
		settings.FollowCommand = 1
	}
	var text bool
	settings.TextStart, settings.TextEnd, text = m.symbols.Text()
	if orc, ok := m.symbols.OrcTables(); ok && text && !options.NoStackCache {
		settings.OrcIps, settings.OrcEntries, settings.OrcCount = orc.IPs, orc.Entries, orc.Count
		if kernel.HasTracepoint(types, "module_free") {
			settings.ModuleList = orc.Modules
		}
	}
	return settings, nil
}

// Hook returns the hook in use.
func (m *Monitor) Hook() Hook { return m.attached.hook }

// FailedHooks returns the errors of the hooks that Start tried before [Monitor.Hook].
func (m *Monitor) FailedHooks() []*HookError { return m.failed }

// Now returns the current time on the clock that all times of a Monitor refer to. It is the wall clock's time at Start
// plus the time since then, including system sleep. Later changes of the wall clock have no effect.
func (m *Monitor) Now() time.Time { return m.clock.Time(m.clock.Now()) }

// ended reports whether the recording has been stopped or closed.
func (m *Monitor) ended() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.stopped() || m.closed
}

// stopped reports whether Stop was called. The caller holds mu.
func (m *Monitor) stopped() bool { return !m.end.IsZero() }

// Stop ends the recording, even if it is pinned. Methods that read, such as [Monitor.Snapshot], still work. Further
// calls do nothing.
func (m *Monitor) Stop() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stopped() || m.closed {
		return nil
	}
	var err error
	m.permittedAtStop, err = m.permittedNow() // from now on capmon sees no process exit
	err = errors.Join(err, m.attached.detach())
	m.end = m.Now()
	return err
}

// Close frees all resources. It ends the recording, unless the recording is pinned. Most methods then return
// [ErrClosed]. Further calls do nothing.
func (m *Monitor) Close() error {
	m.reading.Lock()
	defer m.reading.Unlock()
	m.expected.end()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil
	}
	m.closed = true
	return errors.Join(m.events.Close(), m.carriedOver.close(), m.attached.close(), m.pins.release())
}
