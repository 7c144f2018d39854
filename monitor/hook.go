package monitor

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/capmon/capmon/bpf"
)

// Hook is a way to be called on every cap_capable.
type Hook string

// The hooks in the order of preference.
const (
	// Fexit attaches to the end of cap_capable. It sees the opts argument.
	Fexit Hook = "fexit"
	// Tracepoint is capability:cap_capable as a BTF tracepoint, in kernels since
	// 6.14. It works where tracing programs on functions are refused.
	Tracepoint Hook = "tp_btf"
	// Kprobe is a probe on the entry of cap_capable; the answer is computed from
	// the credential, so that no return probe is needed.
	Kprobe Hook = "kprobe"
)

// Hooks lists all hooks in the order in which they are tried.
func Hooks() []Hook { return []Hook{Fexit, Tracepoint, Kprobe} }

// ParseHook reads a hook's name; "" and "auto" mean that Start chooses.
func ParseHook(s string) (Hook, error) {
	if s == "" || s == "auto" {
		return "", nil
	}
	for _, hook := range Hooks() {
		if string(hook) == s {
			return hook, nil
		}
	}
	return "", fmt.Errorf("unknown hook %q: choose auto, fexit, tp_btf or kprobe", s)
}

// HookError tells why one hook could not be used.
type HookError struct {
	Hook Hook
	Err  error
}

func (e *HookError) Error() string { return fmt.Sprintf("%s: %v", e.Hook, e.Err) }
func (e *HookError) Unwrap() error { return e.Err }

// NoHookError says that no hook could be attached, and why each failed.
type NoHookError struct{ Tried []*HookError }

func (e *NoHookError) Error() string {
	var reasons []string
	for _, tried := range e.Tried {
		reasons = append(reasons, tried.Error())
	}
	return "no hook on the kernel's capability check could be attached: " + strings.Join(reasons, "; ")
}

// Unwrap gives every hook's error, so that errors.Is finds a cause.
func (e *NoHookError) Unwrap() []error {
	var all []error
	for _, tried := range e.Tried {
		all = append(all, tried)
	}
	return all
}

// attached is a loaded collection with all its programs attached.
type attached struct {
	hook     Hook
	programs bpf.CapmonPrograms
	maps     bpf.CapmonMaps
	links    []link.Link
}

// attachFirst tries the hooks in order and keeps the first that works. The
// errors of those tried before are returned with it.
func attachFirst(hooks []Hook, load func() (*ebpf.CollectionSpec, error)) (*attached, []*HookError, error) {
	var failed []*HookError
	for _, hook := range hooks {
		spec, err := load()
		if err != nil {
			return nil, failed, err
		}
		a, err := attach(hook, spec)
		if err == nil {
			return a, failed, nil
		}
		failed = append(failed, &HookError{hook, err})
	}
	return nil, failed, &NoHookError{failed}
}

// programOf names the program of each hook; the others are not loaded, since a
// kernel without their attach point refuses them.
var programOf = map[Hook]string{
	Fexit:      "check_fexit",
	Tracepoint: "check_tracepoint",
	Kprobe:     "check_kprobe",
}

func attach(hook Hook, spec *ebpf.CollectionSpec) (_ *attached, err error) {
	for other, name := range programOf {
		if other != hook {
			delete(spec.Programs, name)
		}
	}
	collection, err := ebpf.NewCollection(spec)
	if err != nil {
		return nil, fmt.Errorf("loading: %w", err)
	}
	defer collection.Close()

	a := &attached{hook: hook}
	defer func() {
		if err != nil {
			a.close()
		}
	}()
	if err := collection.Assign(&a.maps); err != nil {
		return nil, fmt.Errorf("loading: %w", err)
	}
	a.programs = bpf.CapmonPrograms{
		Forked:          collection.DetachProgram("forked"),
		Executed:        collection.DetachProgram("executed"),
		Exited:          collection.DetachProgram("exited"),
		CheckFexit:      collection.DetachProgram("check_fexit"),
		CheckTracepoint: collection.DetachProgram("check_tracepoint"),
		CheckKprobe:     collection.DetachProgram("check_kprobe"),
	}
	return a, a.link()
}

// link attaches what follows processes first, so that no check comes from a task
// whose fork or exec was missed.
func (a *attached) link() error {
	for _, program := range []*ebpf.Program{a.programs.Forked, a.programs.Executed, a.programs.Exited} {
		l, err := link.AttachTracing(link.TracingOptions{Program: program})
		if err != nil {
			return fmt.Errorf("attaching %v: %w", program, err)
		}
		a.links = append(a.links, l)
	}
	l, err := a.linkCheck()
	if err != nil {
		return fmt.Errorf("attaching: %w", err)
	}
	a.links = append(a.links, l)
	return nil
}

func (a *attached) linkCheck() (link.Link, error) {
	switch a.hook {
	case Fexit:
		return link.AttachTracing(link.TracingOptions{Program: a.programs.CheckFexit})
	case Tracepoint:
		return link.AttachTracing(link.TracingOptions{Program: a.programs.CheckTracepoint})
	default:
		return link.Kprobe("cap_capable", a.programs.CheckKprobe, nil)
	}
}

// missed counts the runs that the kernel skipped because the same program was
// already running on that CPU.
func (a *attached) missed() (uint64, error) {
	var sum uint64
	for _, program := range a.all() {
		stats, err := program.Stats()
		if err != nil {
			if errors.Is(err, ebpf.ErrNotSupported) {
				continue
			}
			return 0, fmt.Errorf("reading a program's statistics: %w", err)
		}
		sum += stats.RecursionMisses
	}
	return sum, nil
}

func (a *attached) all() []*ebpf.Program {
	var all []*ebpf.Program
	for _, program := range []*ebpf.Program{a.programs.Forked, a.programs.Executed, a.programs.Exited,
		a.programs.CheckFexit, a.programs.CheckTracepoint, a.programs.CheckKprobe} {
		if program != nil {
			all = append(all, program)
		}
	}
	return all
}

// detach stops recording; what was recorded stays readable until close.
func (a *attached) detach() error {
	var errs []error
	for _, l := range a.links {
		errs = append(errs, l.Close())
	}
	a.links = nil
	return errors.Join(errs...)
}

func (a *attached) close() error {
	return errors.Join(a.detach(), a.programs.Close(), a.maps.Close())
}
