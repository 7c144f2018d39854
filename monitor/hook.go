package monitor

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/bpf"
	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/kernel"
)

// Hook is a place in the kernel where a program can run at every call of cap_capable. "" means that [Start] chooses.
type Hook string

// The hooks, in the order of preference.
const (
	// Fexit runs at the end of cap_capable. The program sees the opts argument. It requires BPF trampolines.
	Fexit Hook = "fexit"
	// Tracepoint is capability:cap_capable as a BTF tracepoint, since Linux 6.14. It also works if the kernel does not
	// allow programs to attach to functions.
	Tracepoint Hook = "tp_btf"
	// Kprobe runs at the entry of cap_capable. The program computes the answer from the credential, so it needs no
	// return probe.
	Kprobe Hook = "kprobe"
)

// Hooks returns all hooks in the order in which [Start] tries them.
func Hooks() []Hook { return []Hook{Fexit, Tracepoint, Kprobe} }

// ParseHook returns the hook with a name. For "" and "auto" it returns "": [Start] chooses.
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

// HookError is the reason why a hook does not work.
type HookError struct {
	Hook Hook
	Err  error
}

// Error returns the name of the hook and the reason.
func (e *HookError) Error() string { return fmt.Sprintf("%s: %v", e.Hook, e.Err) }

// Unwrap returns the reason.
func (e *HookError) Unwrap() error { return e.Err }

// NoHookError means that no hook works. Tried has the error of each hook that Start tried.
type NoHookError struct{ Tried []*HookError }

// Error returns the reasons for all hooks.
func (e *NoHookError) Error() string {
	var reasons []string
	for _, tried := range e.Tried {
		reasons = append(reasons, tried.Error())
	}
	return "no hook on the kernel's capability check could be attached: " + strings.Join(reasons, "; ")
}

// Unwrap returns the errors of all hooks, so that [errors.Is] finds each cause.
func (e *NoHookError) Unwrap() []error {
	var all []error
	for _, tried := range e.Tried {
		all = append(all, tried)
	}
	return all
}

// attachedPrograms is a loaded collection whose programs are attached.
type attachedPrograms struct {
	hook     Hook
	programs bpf.CapmonPrograms
	maps     bpf.CapmonMaps
	// fallbacks has the second copies of programs that the kernel can skip; see bpf/preempt.h. They are nil if the
	// kernel skips none.
	fallbacks map[*ebpf.Program]*ebpf.Program
	// programsByName has all programs by their names in C.
	programsByName   map[string]*ebpf.Program
	links            []link.Link
	outcomes         bool
	syscallExitLinks []link.Link   // of the program at the end of system calls; nil while it is not attached
	pins             *pinDirectory // nil if the recording ends with this process
	enabled          *ebpf.Map     // whether the programs count
	attachedAt       *ebpf.Map     // the time since which forks are seen, attached_ns in bpf/phase.h; nil in a resumed recording
	saved            *ebpf.Map     // cgroup ids, see Monitor.collect; nil without pins
}

// loadOptions has everything that is needed to load the programs of a hook.
type loadOptions struct {
	types         *btf.Spec
	options       Options
	config        bpf.CapmonConfig
	startDisabled bool // the programs count only after setEnabled
	// Rules by system call number, for the native architecture and for 32-bit programs.
	callRules, compatCallRules [maxCalls]bpf.CapmonCallRule
	fileRules, compatFileRules [maxCalls]bpf.CapmonFileRule
}

// tryTrampoline loads an fexit program that does nothing. Some kernels reject all programs that attach to functions.
// This program finds that out faster than the programs of capmon.
func tryTrampoline(types *btf.Spec) error {
	program, err := ebpf.NewProgramWithOptions(&ebpf.ProgramSpec{
		Type: ebpf.Tracing, AttachType: ebpf.AttachTraceFExit, AttachTo: "cap_capable", License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	}, ebpf.ProgramOptions{KernelTypes: types})
	if err != nil {
		return loadError(err)
	}
	return program.Close()
}

// load creates the maps and loads the programs of a hook. It leaves out the programs of other hooks, because a kernel
// without their attach point rejects them.
func (o loadOptions) load(hook Hook) (*ebpf.Collection, error) {
	spec, err := bpf.LoadCapmon()
	if err != nil {
		return nil, fmt.Errorf("reading the programs: %w", err)
	}
	preemption, err := kernel.PreemptionOfPrograms()
	if err != nil {
		return nil, err
	}
	// Every hook has programs on tracepoints, but only Fexit has programs on trampolines. If the kernel can preempt a
	// program, it may skip other runs of the program (bpf/preempt.h). Since 6.10, programs can disable preemption: then
	// a program has its CPU for itself while it runs, but it needs a fallback. Before 6.10, the programs get no
	// fallbacks, and do not use per-CPU caches.
	preemptible := preemption.Tracepoints || preemption.Trampolines && hook == Fexit
	if preemptible && preemption.CanDisable {
		o.config.Preemptible = 1
	}
	if !preemptible || preemption.CanDisable {
		o.config.CpuExclusive = 1
	}
	if kernel.HasFunction(o.types, "bpf_rdonly_cast") {
		o.config.HasRdonlyCast = 1
	}
	if o.options.MaxChecks != 0 {
		spec.Maps["checks"].MaxEntries = o.options.MaxChecks
	}
	if o.options.MaxContainers != 0 {
		spec.Maps["containers"].MaxEntries = o.options.MaxContainers
		spec.Maps["grants"].MaxEntries = o.options.MaxContainers
		spec.Maps["container_slots"].MaxEntries = max(1, o.options.MaxContainers/2)
		spec.Maps["expected_containers"].MaxEntries = o.options.MaxContainers
	}
	o.config.Capacity = specShareSizes(spec)
	if err := errors.Join(
		spec.Variables["config"].Set(o.config),
		spec.Variables["call_rules"].Set(o.callRules),
		spec.Variables["compat_call_rules"].Set(o.compatCallRules),
		spec.Variables["file_rules"].Set(o.fileRules),
		spec.Variables["compat_file_rules"].Set(o.compatFileRules),
	); err != nil {
		return nil, fmt.Errorf("configuring the programs: %w", err)
	}
	if o.startDisabled {
		if err := spec.Variables["enabled"].Set(uint32(0)); err != nil {
			return nil, fmt.Errorf("configuring the programs: %w", err)
		}
	}
	for other, names := range hookPrograms {
		if other == hook {
			continue
		}
		for _, name := range names {
			delete(spec.Programs, name)
		}
	}
	if !kernel.HasTracepoint(o.types, "sys_exit") {
		delete(spec.Programs, "capmon_sys_exit")
	}
	if o.config.ModuleList == 0 {
		delete(spec.Programs, "capmon_mod_free")
	}
	for name := range spec.Programs {
		original, fallback := strings.CutSuffix(name, fallbackSuffix)
		if fallback && (o.config.Preemptible == 0 || spec.Programs[original] == nil) {
			delete(spec.Programs, name)
		}
	}
	if o.config.Preemptible == 0 {
		spec.Maps["fallback_marks"].MaxEntries = 1
	}
	replaceMissingKfuncs(spec, o.types)
	collection, err := loadInParallel(spec, ebpf.CollectionOptions{Programs: ebpf.ProgramOptions{KernelTypes: o.types}})
	if err != nil {
		return nil, loadError(err)
	}
	return collection, nil
}

// loadInParallel is like [ebpf.NewCollectionWithOptions], but the kernel verifies all programs in parallel.
// Verification takes most of the time of Start.
func loadInParallel(spec *ebpf.CollectionSpec, options ebpf.CollectionOptions) (*ebpf.Collection, error) {
	programs := spec.Programs
	spec.Programs = nil
	collection, err := ebpf.NewCollectionWithOptions(spec, options)
	if err != nil {
		return nil, err
	}
	options.MapReplacements = collection.Maps
	collection.Programs = make(map[string]*ebpf.Program)
	var mu sync.Mutex // guards collection.Programs
	var group errgroup.Group
	for name, program := range programs {
		one := spec.Copy()
		one.Programs = map[string]*ebpf.ProgramSpec{name: program}
		group.Go(func() error {
			loaded, err := ebpf.NewCollectionWithOptions(one, options)
			if err != nil {
				return err
			}
			defer loaded.Close()
			mu.Lock()
			defer mu.Unlock()
			collection.Programs[name] = loaded.DetachProgram(name)
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		collection.Close()
		return nil, err
	}
	return collection, nil
}

// loadError explains why the kernel rejected a program. Without the rights to load programs, the error is always EPERM
// (see hasLoadRights).
func loadError(err error) error {
	if errors.Is(err, unix.EPERM) || !hasLoadRights() {
		// The error of cilium/ebpf suggests to raise the limit on locked memory, which does not help.
		return fmt.Errorf("the kernel refuses to load the program: %w", unix.EPERM)
	}
	return fmt.Errorf("loading the programs: %w", err)
}

// replaceMissingKfuncs replaces the calls of kernel functions that this kernel lacks with an instruction without
// effect. On such a kernel, the programs never reach these calls. But cilium/ebpf would search the kernel's modules for
// the functions, which requires CAP_SYS_ADMIN.
func replaceMissingKfuncs(spec *ebpf.CollectionSpec, types *btf.Spec) {
	for _, program := range spec.Programs {
		for i, instruction := range program.Instructions {
			if instruction.IsKfuncCall() && !kernel.HasFunction(types, instruction.Reference()) {
				program.Instructions[i] = asm.Mov.Imm(asm.R0, 0).WithSymbol(instruction.Symbol())
			}
		}
	}
}

// hasLoadRights reports whether this process has a capability that allows it to load programs (bpf_capable,
// include/linux/capability.h). Without one, the kernel's error depends on what is loaded first. For example, it is
// EINVAL for a task storage map with BTF.
func hasLoadRights() bool {
	have, err := kernel.EffectiveCapabilities()
	return err != nil || have.Has(capability.BPF) || have.Has(capability.SysAdmin)
}

// fallbackSuffix is the end of the names of fallbacks (bpf/preempt.h).
const fallbackSuffix = "_fallback"

// hookPrograms has the programs that only one hook needs.
var hookPrograms = map[Hook][]string{
	Fexit:      {"capmon_fexit", "capmon_capset", "capmon_prctl"},
	Tracepoint: {"capmon_tp_btf"},
	Kprobe:     {"capmon_kprobe", "capmon_capset_kretprobe", "capmon_prctl_kretprobe"},
}

// attachFirst attaches the first hook that works. It also returns the errors of the hooks that it tried before.
func attachFirst(hooks []Hook, options loadOptions, begin func(bpf.CapmonMaps) error) (*attachedPrograms, []*HookError, error) {
	var failed []*HookError
	for _, hook := range hooks {
		a, err := attach(hook, options, begin)
		if err == nil {
			return a, failed, nil
		}
		failed = append(failed, &HookError{hook, err})
	}
	return nil, failed, &NoHookError{failed}
}

// checkSupport returns an error if the kernel lacks the attach point of a hook. The kernel's own errors are hard to
// understand.
func (h Hook) checkSupport(types *btf.Spec) error {
	switch {
	case h == Fexit && !kernel.HasFunction(types, "cap_capable"):
		return errors.New("the kernel's type information does not describe cap_capable")
	case h == Tracepoint && !kernel.HasTracepoint(types, "cap_capable"):
		return errors.New("the kernel has no tracepoint capability:cap_capable, as 6.14 and later have")
	case h == Kprobe && !kernel.HasKprobes():
		return errors.New("the kernel has no kprobes: it was built without CONFIG_KPROBE_EVENTS, or tracefs is not mounted")
	}
	return nil
}

// attach loads and attaches the programs of a hook. Before it attaches them, it calls begin with the maps, so that
// begin can fill the maps while no program writes to them.
func attach(hook Hook, options loadOptions, begin func(bpf.CapmonMaps) error) (_ *attachedPrograms, err error) {
	if err := hook.checkSupport(options.types); err != nil {
		return nil, err
	}
	if hook == Fexit {
		if err := tryTrampoline(options.types); err != nil {
			return nil, err
		}
	}
	collection, err := options.load(hook)
	if err != nil {
		return nil, err
	}
	defer collection.Close()

	a := &attachedPrograms{hook: hook, outcomes: options.options.Outcomes}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.close())
		}
	}()
	if err := a.assign(collection); err != nil {
		return nil, err
	}
	if err := begin(a.maps); err != nil {
		return nil, err
	}
	return a, a.attachPrograms()
}

// assign moves the maps and programs from a loaded collection into a.
func (a *attachedPrograms) assign(collection *ebpf.Collection) error {
	if err := collection.Assign(&a.maps); err != nil {
		return fmt.Errorf("loading the maps: %w", err)
	}
	a.enabled = collection.DetachMap(enabledMap)
	a.attachedAt = collection.DetachMap(".data.attached")
	a.programsByName = maps.Clone(collection.Programs)
	a.programs = bpf.CapmonPrograms{
		CapmonFork:            collection.DetachProgram("capmon_fork"),
		CapmonExec:            collection.DetachProgram("capmon_exec"),
		CapmonExit:            collection.DetachProgram("capmon_exit"),
		CapmonFexit:           collection.DetachProgram("capmon_fexit"),
		CapmonTpBtf:           collection.DetachProgram("capmon_tp_btf"),
		CapmonKprobe:          collection.DetachProgram("capmon_kprobe"),
		CapmonCapset:          collection.DetachProgram("capmon_capset"),
		CapmonCapsetKretprobe: collection.DetachProgram("capmon_capset_kretprobe"),
		CapmonPrctl:           collection.DetachProgram("capmon_prctl"),
		CapmonPrctlKretprobe:  collection.DetachProgram("capmon_prctl_kretprobe"),
		CapmonCgroupMkdir:     collection.DetachProgram("capmon_cgroup_mkdir"),
		CapmonSysExit:         collection.DetachProgram("capmon_sys_exit"),
		CapmonModFree:         collection.DetachProgram("capmon_mod_free"),
	}
	a.fallbacks = map[*ebpf.Program]*ebpf.Program{
		a.programs.CapmonFork:    collection.DetachProgram("capmon_fork_fallback"),
		a.programs.CapmonExec:    collection.DetachProgram("capmon_exec_fallback"),
		a.programs.CapmonExit:    collection.DetachProgram("capmon_exit_fallback"),
		a.programs.CapmonFexit:   collection.DetachProgram("capmon_fexit_fallback"),
		a.programs.CapmonTpBtf:   collection.DetachProgram("capmon_tp_btf_fallback"),
		a.programs.CapmonCapset:  collection.DetachProgram("capmon_capset_fallback"),
		a.programs.CapmonPrctl:   collection.DetachProgram("capmon_prctl_fallback"),
		a.programs.CapmonSysExit: collection.DetachProgram("capmon_sys_exit_fallback"),
	}
	return nil
}

// namedMaps returns all maps by their names in C.
func (a *attachedPrograms) namedMaps() map[string]*ebpf.Map {
	named := make(map[string]*ebpf.Map)
	fields := reflect.ValueOf(a.maps)
	for i := range fields.NumField() {
		named[fields.Type().Field(i).Tag.Get("ebpf")] = fields.Field(i).Interface().(*ebpf.Map)
	}
	return named
}

// attachPrograms attaches the programs. It begins with the programs that follow processes. Otherwise capmon could
// record a check of a task without having seen the task's fork or exec.
func (a *attachedPrograms) attachPrograms() error {
	for _, program := range []*ebpf.Program{a.programs.CapmonFork, a.programs.CapmonExec, a.programs.CapmonExit, a.programs.CapmonCgroupMkdir} {
		links, err := a.attachTracing(program)
		if err != nil {
			return err
		}
		a.links = append(a.links, links...)
		if program == a.programs.CapmonFork {
			if err := a.setAttachedAt(); err != nil {
				return err
			}
		}
	}
	if a.programs.CapmonModFree != nil {
		links, err := a.attachTracing(a.programs.CapmonModFree)
		if err != nil {
			return err
		}
		a.links = append(a.links, links...)
	}
	if err := a.traceSyscallExits(false); err != nil {
		return err
	}
	return a.attachChecks()
}

// setAttachedAt tells the programs that they see every fork from now on.
func (a *attachedPrograms) setAttachedAt() error {
	clock, err := kernel.NewClock()
	if err == nil {
		err = a.attachedAt.Put(uint32(0), clock.Now())
	}
	if err != nil {
		return fmt.Errorf("setting the time since which forks are seen: %w", err)
	}
	return nil
}

// attachTracing attaches a program and its fallback, if it has one, so that the fallback runs right after the program.
// A tracepoint runs programs in the order in which they were attached. A trampoline runs them in the opposite order
// (bpf_trampoline_link_prog, kernel/bpf/trampoline.c).
//
// The link of the fallback comes first in the result, because links are closed in this order. If the program were
// detached first, the fallback would find no mark of the program, and would handle every event as if the kernel had
// skipped the program.
func (a *attachedPrograms) attachTracing(program *ebpf.Program) ([]link.Link, error) {
	order := []*ebpf.Program{program}
	if fallback := a.fallbacks[program]; fallback != nil {
		order = append(order, fallback)
	}
	trampoline := program == a.programs.CapmonFexit || program == a.programs.CapmonCapset || program == a.programs.CapmonPrctl
	if trampoline {
		slices.Reverse(order)
	}
	var links []link.Link
	for _, program := range order {
		l, err := link.AttachTracing(link.TracingOptions{Program: program})
		if err != nil {
			return links, fmt.Errorf("attaching %v: %w", program, err)
		}
		links = append(links, l)
	}
	if !trampoline {
		slices.Reverse(links)
	}
	return links, nil
}

// traceSyscallExits attaches the program for the end of system calls if wanted or if outcomes are recorded, and
// detaches it otherwise. While it is attached, every system call on the host takes longer.
func (a *attachedPrograms) traceSyscallExits(wanted bool) (err error) {
	wanted = (wanted || a.outcomes) && a.programs.CapmonSysExit != nil
	switch {
	case wanted && a.syscallExitLinks == nil:
		if a.syscallExitLinks, err = a.attachTracing(a.programs.CapmonSysExit); err == nil {
			err = a.pins.pinSyscallExits(a.syscallExitLinks)
		}
	case !wanted && a.syscallExitLinks != nil:
		err = errors.Join(a.pins.unpinSyscallExits(), closeLinks(a.syscallExitLinks))
		a.syscallExitLinks = nil
	}
	return err
}

// repairSyscallExits is traceSyscallExits for a recording that another process began. That process may have been killed
// during a change. Then only one of the two links is pinned, or none although system calls are selected.
func (a *attachedPrograms) repairSyscallExits(wanted bool) error {
	whole := 1
	if a.fallbacks[a.programs.CapmonSysExit] != nil {
		whole = 2
	}
	var err error
	if len(a.syscallExitLinks) != whole {
		err = errors.Join(a.pins.unpinSyscallExits(), closeLinks(a.syscallExitLinks))
		a.syscallExitLinks = nil
	}
	return errors.Join(err, a.traceSyscallExits(wanted))
}

// attachChecks attaches the programs that see checks. The tracepoint also fires where the compiler has inlined
// cap_capable into a caller. The other hooks need probes on these callers as well (handle_inlined_check in
// bpf/capmon.bpf.c).
func (a *attachedPrograms) attachChecks() error {
	tracing := func(program *ebpf.Program) func() ([]link.Link, error) {
		return func() ([]link.Link, error) { return a.attachTracing(program) }
	}
	probe := func(attach func(string, *ebpf.Program, *link.KprobeOptions) (link.Link, error), function string, program *ebpf.Program) func() ([]link.Link, error) {
		return func() ([]link.Link, error) {
			l, err := attach(function, program, nil)
			if err != nil {
				return nil, fmt.Errorf("attaching to %s: %w", function, err)
			}
			return []link.Link{l}, nil
		}
	}
	var attaches []func() ([]link.Link, error)
	switch a.hook {
	case Fexit:
		attaches = append(attaches, tracing(a.programs.CapmonCapset), tracing(a.programs.CapmonPrctl), tracing(a.programs.CapmonFexit))
	case Tracepoint:
		attaches = append(attaches, tracing(a.programs.CapmonTpBtf))
	case Kprobe:
		attaches = append(attaches,
			probe(link.Kretprobe, "cap_capset", a.programs.CapmonCapsetKretprobe),
			probe(link.Kretprobe, "cap_task_prctl", a.programs.CapmonPrctlKretprobe),
			probe(link.Kprobe, "cap_capable", a.programs.CapmonKprobe))
	}
	for _, attach := range attaches {
		links, err := attach()
		a.links = append(a.links, links...)
		if err != nil {
			return err
		}
	}
	return nil
}

// skippedRuns counts the runs that the kernel skipped because the same program was already running on that CPU. For
// some of these runs, a fallback ran (COUNTER_FALLBACK_RUNS).
func (a *attachedPrograms) skippedRuns() (uint64, error) { return skippedRuns(a.allPrograms()) }

func skippedRuns(programs []*ebpf.Program) (uint64, error) {
	var sum uint64
	for _, program := range programs {
		stats, err := program.Stats()
		if err != nil {
			if errors.Is(err, ebpf.ErrNotSupported) {
				continue
			}
			return 0, fmt.Errorf("reading the statistics of a program: %w", err)
		}
		sum += stats.RecursionMisses
	}
	return sum, nil
}

func (a *attachedPrograms) allPrograms() []*ebpf.Program { return firstCopies(a.programsByName) }

// firstCopies returns the programs that are not fallbacks (bpf/preempt.h). It leaves out nil.
func firstCopies(programs map[string]*ebpf.Program) []*ebpf.Program {
	var first []*ebpf.Program
	for name, program := range programs {
		if program != nil && !strings.HasSuffix(name, fallbackSuffix) {
			first = append(first, program)
		}
	}
	return first
}

// detach stops recording. The maps stay readable until close.
func (a *attachedPrograms) detach() error {
	err := errors.Join(a.pins.unpin(), closeLinks(a.links), closeLinks(a.syscallExitLinks))
	a.links, a.syscallExitLinks, a.pins = nil, nil, nil
	return err
}

func closeLinks(links []link.Link) error {
	var errs []error
	for _, l := range links {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}

// close frees what this process holds. A pinned recording continues.
func (a *attachedPrograms) close() error {
	err := errors.Join(closeLinks(a.links), closeLinks(a.syscallExitLinks))
	a.links, a.syscallExitLinks = nil, nil
	for _, fallback := range a.fallbacks {
		err = errors.Join(err, fallback.Close())
	}
	return errors.Join(err, a.programs.Close(), a.maps.Close(), a.enabled.Close(), a.attachedAt.Close(), a.saved.Close())
}
