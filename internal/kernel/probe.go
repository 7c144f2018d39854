package kernel

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/internal/capability"
)

// BTFPath is where the kernel offers its type information.
const BTFPath = "/sys/kernel/btf/vmlinux"

// MinimumMajor and MinimumMinor are the oldest kernel that has what the programs
// use: task storage and bpf_task_pt_regs in tracing programs (5.15).
const (
	MinimumMajor = 5
	MinimumMinor = 15
)

// ErrNoBTF: the kernel does not describe its types.
var ErrNoBTF = errors.New("the kernel offers no type information (BTF): use a kernel built with CONFIG_DEBUG_INFO_BTF, as the distributions' are")

// LoadBTF reads the kernel's type information, from BTFPath if path is "". The
// error is ErrNoBTF if there is none.
func LoadBTF(path string) (*btf.Spec, error) {
	if path == "" {
		path = BTFPath
	}
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("%s: %w", path, ErrNoBTF)
	}
	spec, err := btf.LoadSpec(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w (%w)", path, ErrNoBTF, err)
	}
	return spec, nil
}

// HasCapTracepoint reports whether the kernel has the tracepoint
// capability:cap_capable (6.14 and later, and wherever it was backported).
func HasCapTracepoint(spec *btf.Spec) bool {
	var tracepoint *btf.Typedef
	return spec.TypeByName("btf_trace_cap_capable", &tracepoint) == nil
}

// Release is the kernel's release as uname -r tells.
func Release() (string, error) {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return "", fmt.Errorf("asking for the kernel's release: %w", err)
	}
	return unix.ByteSliceToString(name.Release[:]), nil
}

// RecentEnough reports whether a release is the minimum or later.
func RecentEnough(release string) (bool, error) {
	var major, minor int
	if _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); err != nil {
		return false, fmt.Errorf("kernel release %q: %w", release, err)
	}
	return major > MinimumMajor || major == MinimumMajor && minor >= MinimumMinor, nil
}

// LastCapability is the highest capability that the kernel knows.
func LastCapability() (capability.Capability, error) {
	n, err := readNumber("/proc/sys/kernel/cap_last_cap")
	if err != nil {
		return 0, err
	}
	return capability.Capability(n), nil
}

// EffectiveCapabilities are this process's.
func EffectiveCapabilities() (capability.Set, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, fmt.Errorf("reading this process's capabilities: %w", err)
	}
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, "CapEff:"); ok {
			set, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64)
			return capability.Set(set), err
		}
	}
	return 0, errors.New("reading this process's capabilities: /proc/self/status has none")
}

func readNumber(path string) (int, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return 0, fmt.Errorf("reading %s: %w", path, err)
	}
	return n, nil
}
