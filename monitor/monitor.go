// Package monitor records the capability checks of containers in the kernel and
// reads them back.
//
// Recording happens in the kernel, in maps: a Monitor is fed no event per check,
// so nothing is lost when user space is slow. What found no room there is counted
// in Losses.
package monitor

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
	"github.com/cilium/ebpf/rlimit"

	"github.com/capmon/capmon/bpf"
	"github.com/capmon/capmon/internal/kernel"
)

// Options of Start. The zero value chooses everything by itself.
type Options struct {
	// Hook forces one way to be called; "" tries all in order.
	Hook Hook
	// BTF is the path of the kernel's type information, by default
	// /sys/kernel/btf/vmlinux.
	BTF string
	// MaxChecks and MaxContainers bound the maps, by default 32768 kinds of
	// check and 4096 containers. What finds no room is counted in Losses.
	MaxChecks, MaxContainers uint32
}

// Monitor records until it is closed.
type Monitor struct {
	attached *attached
	failed   []*HookError
	symbols  *kernel.Symbols
	clock    kernel.Clock
	arch     kernel.Arch
	cgroups  kernel.Cgroups
	events   *ringbuf.Reader

	mu     sync.Mutex
	closed bool
}

// Start attaches to the kernel. When it returns, every check of every container
// is being recorded.
//
// The error is a *NoHookError if no hook could be used; os.ErrPermission is in
// its tree if rights are missing.
func Start(options Options) (*Monitor, error) {
	if err := rlimit.RemoveMemlock(); err != nil && !errors.Is(err, os.ErrPermission) {
		return nil, fmt.Errorf("lifting the limit on locked memory: %w", err)
	}
	m := &Monitor{arch: kernel.NativeArch()}
	var err error
	if m.clock, err = kernel.NewClock(); err != nil {
		return nil, err
	}
	if m.cgroups, err = kernel.DetectCgroups(); err != nil {
		return nil, err
	}
	if m.symbols, err = kernel.LoadSymbols(); err != nil {
		return nil, err
	}
	load, err := m.loader(options)
	if err != nil {
		return nil, err
	}
	hooks := Hooks()
	if options.Hook != "" {
		hooks = []Hook{options.Hook}
	}
	if m.attached, m.failed, err = attachFirst(hooks, load); err != nil {
		return nil, err
	}
	if err := m.adopt(); err != nil {
		m.attached.close()
		return nil, err
	}
	if m.events, err = ringbuf.NewReader(m.attached.maps.Events); err != nil {
		m.attached.close()
		return nil, fmt.Errorf("opening the ring buffer: %w", err)
	}
	return m, nil
}

// loader returns a function that makes a fresh specification with options and
// kernel facts filled in, one for each hook that is tried.
func (m *Monitor) loader(options Options) (func() (*ebpf.CollectionSpec, error), error) {
	types, err := kernel.LoadBTF(options.BTF)
	if err != nil {
		return nil, err
	}
	settings := bpf.CapmonConfig{Subsys: -1}
	if m.cgroups.Controller != "" {
		index, err := kernel.SubsysIndex(types, m.cgroups.SubsysName)
		if err != nil {
			return nil, err
		}
		settings.Subsys = int32(index)
	}
	start, end, ok := m.symbols.Range("cap_capable")
	if !ok {
		return nil, errors.New("the kernel's symbol table has no cap_capable: is this a Linux kernel with capabilities?")
	}
	settings.AskerStart, settings.AskerEnd = start, end
	calls := callTable(m.arch)

	return func() (*ebpf.CollectionSpec, error) {
		spec, err := bpf.LoadCapmon()
		if err != nil {
			return nil, fmt.Errorf("reading the programs: %w", err)
		}
		if err := errors.Join(spec.Variables["settings"].Set(settings), spec.Variables["call_rules"].Set(calls)); err != nil {
			return nil, fmt.Errorf("configuring the programs: %w", err)
		}
		if options.MaxChecks != 0 {
			spec.Maps["checks"].MaxEntries = options.MaxChecks
		}
		if options.MaxContainers != 0 {
			spec.Maps["containers"].MaxEntries = options.MaxContainers
		}
		return spec, nil
	}, nil
}

// Hook tells which hook is in use.
func (m *Monitor) Hook() Hook { return m.attached.hook }

// Failed tells which hooks were tried before Hook, and why they failed.
func (m *Monitor) Failed() []*HookError { return m.failed }

// Stop ends the recording. What was recorded can still be read.
func (m *Monitor) Stop() error { return m.attached.detach() }

// Close ends the recording and frees everything; it may be called again.
func (m *Monitor) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil
	}
	m.closed = true
	return errors.Join(m.events.Close(), m.attached.close())
}
