package kernel

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/capmon/capmon/internal/capability"
)

// LastCapability is the highest capability that the kernel knows.
func LastCapability() (capability.Capability, error) {
	n, err := Sysctl("kernel.cap_last_cap")
	if err != nil {
		return 0, err
	}
	if n < 0 || n > 63 {
		return 0, fmt.Errorf("the kernel's last capability cannot be %d", n)
	}
	return capability.Capability(n), nil
}

// EffectiveCapabilities are this thread's, which are the process's unless it
// changed them. In another user namespace than the initial one they are worth
// nothing here.
func EffectiveCapabilities() (capability.Set, error) {
	status, err := os.ReadFile("/proc/thread-self/status")
	if err != nil {
		return 0, fmt.Errorf("reading this process's capabilities: %w", err)
	}
	return parseCapabilities(string(status), "CapEff:")
}

// HostCapabilities are those that the host's root can have: the bounding set of its first process,
// which lacks what the host itself was denied, as in a virtual machine or a system container.
func HostCapabilities() (capability.Set, error) {
	status, err := os.ReadFile("/proc/1/status")
	if err != nil {
		return 0, fmt.Errorf("reading the first process's capabilities: %w", err)
	}
	return parseCapabilities(string(status), "CapBnd:")
}

// parseCapabilities reads the set with this name from a process's status.
func parseCapabilities(status, name string) (capability.Set, error) {
	for line := range strings.Lines(status) {
		value, ok := strings.CutPrefix(line, name)
		if !ok {
			continue
		}
		set, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64)
		if err != nil {
			return 0, fmt.Errorf("reading a process's capabilities: %w", err)
		}
		return capability.Set(set), nil
	}
	return 0, fmt.Errorf("reading a process's capabilities: there is no %s", strings.TrimSuffix(name, ":"))
}

// Sysctl reads a number by the name that sysctl(8) uses, such as
// kernel.unprivileged_bpf_disabled (0 allowed, 1 and 2 refused),
// kernel.perf_event_paranoid, kernel.kptr_restrict (0 and 1 show addresses to whom
// has SYSLOG, 2 to nobody) or net.core.bpf_jit_enable (fexit needs it).
// os.ErrNotExist is in the error's tree if the kernel was built without.
func Sysctl(name string) (int, error) { return sysctl("/proc/sys", name) }

func sysctl(dir, name string) (int, error) {
	data, err := os.ReadFile(filepath.Join(dir, strings.ReplaceAll(name, ".", "/")))
	if err != nil {
		return 0, fmt.Errorf("reading sysctl %s: %w", name, err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return 0, fmt.Errorf("reading sysctl %s: %w", name, err)
	}
	return n, nil
}

// Lockdown is how far the kernel defends itself against root
// (security/lockdown/lockdown.c).
type Lockdown string

// The modes. Secure boot turns integrity on in most distributions, which does not
// hinder capmon.
const (
	LockdownNone      Lockdown = "none"
	LockdownIntegrity Lockdown = "integrity"
	// LockdownConfidentiality refuses kprobes, and bpf_probe_read_kernel to BPF
	// programs (LOCKDOWN_KPROBES, LOCKDOWN_BPF_READ_KERNEL).
	LockdownConfidentiality Lockdown = "confidentiality"
	// LockdownUnknown: securityfs is not mounted, so it cannot be told.
	LockdownUnknown Lockdown = ""
)

// LockdownMode is the mode in force.
func LockdownMode() (Lockdown, error) { return lockdownMode("/sys/kernel/security") }

func lockdownMode(securityfs string) (Lockdown, error) {
	text, err := os.ReadFile(filepath.Join(securityfs, "lockdown"))
	if errors.Is(err, os.ErrNotExist) {
		// The file lsm is there whenever the file system is (security/inode.c).
		if _, err := os.Stat(filepath.Join(securityfs, "lsm")); err == nil {
			return LockdownNone, nil
		}
		return LockdownUnknown, nil
	}
	if err != nil {
		return LockdownUnknown, fmt.Errorf("reading the lockdown mode: %w", err)
	}
	for _, mode := range strings.Fields(string(text)) {
		if strings.HasPrefix(mode, "[") && strings.HasSuffix(mode, "]") {
			return Lockdown(strings.Trim(mode, "[]")), nil
		}
	}
	return LockdownUnknown, fmt.Errorf("reading the lockdown mode: %q has none marked", text)
}

// Namespace is a kind of namespace by its name in /proc/PID/ns.
type Namespace string

// The kinds of which it can be told whether a process is in the initial one.
const (
	UserNamespace   Namespace = "user"
	PIDNamespace    Namespace = "pid"
	CgroupNamespace Namespace = "cgroup"
)

// initial are the inodes of the initial namespaces, fixed since 3.8, cgroup's since
// 4.6 (PROC_*_INIT_INO, include/linux/proc_ns.h).
var initial = map[Namespace]string{
	UserNamespace:   "user:[4026531837]",   // 0xEFFFFFFD
	PIDNamespace:    "pid:[4026531836]",    // 0xEFFFFFFC
	CgroupNamespace: "cgroup:[4026531835]", // 0xEFFFFFFB
}

// Viewer is the directory in /proc by whose root and mountinfo to see files as a process
// sees them: its own if it is in another mount namespace, else /proc/self, and also if it
// is gone or this process may not look into it, which takes CAP_SYS_PTRACE.
func Viewer(pid int) string {
	const self = "/proc/self"
	viewer := fmt.Sprint("/proc/", pid)
	own, err := os.Readlink(self + "/ns/mnt")
	if err != nil {
		return self
	}
	other, err := os.Readlink(viewer + "/ns/mnt")
	if err != nil || own == other {
		return self
	}
	return viewer
}

// InInitial reports whether this process is in the initial namespace of a kind. A
// user namespace that maps all ids to themselves is still another one.
func InInitial(kind Namespace) (bool, error) {
	link, err := os.Readlink(filepath.Join("/proc/self/ns", string(kind)))
	if err != nil {
		return false, fmt.Errorf("looking at this process's %s namespace: %w", kind, err)
	}
	return link == initial[kind], nil
}
