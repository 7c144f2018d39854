package kernel

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf/btf"
)

// BTFPath is the file in which the kernel provides its type information.
const BTFPath = "/sys/kernel/btf/vmlinux"

// ErrNoBTF is returned if the kernel has no usable type information.
var ErrNoBTF = errors.New("the kernel does not provide type information (BTF): use a kernel that was built with CONFIG_DEBUG_INFO_BTF, such as the kernels of most distributions")

// LoadBTF reads the kernel's type information from path, or from [BTFPath] if path is "". It returns [ErrNoBTF] if the
// information does not exist or is invalid.
func LoadBTF(path string) (*btf.Spec, error) {
	load := func() (*btf.Spec, error) { return btf.LoadSpec(path) }
	if path == "" {
		path, load = BTFPath, btf.LoadKernelSpec // the library reads BTFPath as well, and caches it
	}
	// If the file cannot be opened, the library would search for a kernel on the disk.
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

// HasTracepoint reports whether the kernel has a tracepoint, for example cap_capable (6.14 and later, and kernels with
// a backport) or sys_exit (CONFIG_FTRACE_SYSCALLS).
func HasTracepoint(spec *btf.Spec, name string) bool {
	var tracepoint *btf.Typedef
	return spec.TypeByName("btf_trace_"+name, &tracepoint) == nil
}

// HasFunction reports whether the type information describes a function with that name, which fentry and fexit programs
// require. They also require support by the compiler that built the kernel, and Linux 6.0 on arm64.
func HasFunction(spec *btf.Spec, name string) bool {
	var function *btf.Func
	return spec.TypeByName(name, &function) == nil
}

// HasKprobes reports whether probes can be attached to kernel functions (CONFIG_KPROBE_EVENTS): with perf, since 4.17,
// or with tracefs.
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
