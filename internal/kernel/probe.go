package kernel

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf/btf"
)

// BTFPath is where the kernel offers its type information.
const BTFPath = "/sys/kernel/btf/vmlinux"

// ErrNoBTF: the kernel does not describe its types.
var ErrNoBTF = errors.New("the kernel offers no type information (BTF): use a kernel built with CONFIG_DEBUG_INFO_BTF, as the distributions' are")

// LoadBTF reads the kernel's type information, from BTFPath if path is "". The
// error is ErrNoBTF if there is none or it cannot be understood.
func LoadBTF(path string) (*btf.Spec, error) {
	load := func() (*btf.Spec, error) { return btf.LoadSpec(path) }
	if path == "" {
		path, load = BTFPath, btf.LoadKernelSpec // which the library reads as well, and keeps
	}
	// Where it cannot be opened the library would look for a kernel on the disk.
	file, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", path, ErrNoBTF)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the kernel's type information: %w", err)
	}
	defer file.Close()
	spec, err := load()
	if err != nil {
		return nil, fmt.Errorf("%s: %w (%w)", path, ErrNoBTF, err)
	}
	return spec, nil
}

// HasTracepoint reports whether the kernel has the tracepoint, such as cap_capable
// (6.14 and later, and wherever it was backported) or sys_exit (CONFIG_FTRACE_SYSCALLS).
func HasTracepoint(spec *btf.Spec, name string) bool {
	var tracepoint *btf.Typedef
	return spec.TypeByName("btf_trace_"+name, &tracepoint) == nil
}

// HasFunction reports whether the type information describes a function of that
// name, without which fentry and fexit programs cannot name it. They take more than
// that: the compiler, and on arm64 the version (6.0).
func HasFunction(spec *btf.Spec, name string) bool {
	var function *btf.Func
	return spec.TypeByName(name, &function) == nil
}

// HasKprobes reports whether probes can be put on kernel functions
// (CONFIG_KPROBE_EVENTS): by perf, since 4.17, or by tracefs.
func HasKprobes() bool { return hasKprobes("/sys") }

func hasKprobes(sys string) bool {
	for _, file := range []string{
		"bus/event_source/devices/kprobe",
		"kernel/tracing/kprobe_events",
		"kernel/debug/tracing/kprobe_events",
	} {
		if _, err := os.Stat(filepath.Join(sys, file)); err == nil {
			return true
		}
	}
	return false
}
