package kernel

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/capmon/capmon/capability"
)

// LastCapability returns the highest capability that the kernel knows.
func LastCapability() (capability.Capability, error) {
	n, err := Sysctl("kernel.cap_last_cap")
	if err != nil {
		return 0, err
	}
	if n < 0 || n > 63 {
		return 0, fmt.Errorf("kernel.cap_last_cap is %d, which is out of range", n)
	}
	return capability.Capability(n), nil
}

// EffectiveCapabilities returns the effective set of this thread. It is that of the process, unless the thread changed
// it. In a user namespace other than the initial one, capmon cannot use these capabilities.
func EffectiveCapabilities() (capability.Set, error) {
	status, err := os.ReadFile("/proc/thread-self/status")
	if err != nil {
		return 0, fmt.Errorf("reading this process's capabilities: %w", err)
	}
	return parseCapabilities(string(status), "CapEff:")
}

// HostCapabilities returns the capabilities that root on the host can have: the bounding set of its first process. The
// set lacks capabilities that the host itself does not have, for example if the host is a system container.
func HostCapabilities() (capability.Set, error) { return BoundingSet(1) }

// BoundingSet returns the bounding set of a process: neither it nor a program that it starts can have more.
func BoundingSet(pid int) (capability.Set, error) {
	status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return 0, fmt.Errorf("reading the capabilities of process %d: %w", pid, err)
	}
	return parseCapabilities(string(status), "CapBnd:")
}

// parseCapabilities reads the set with a name from the text of /proc/PID/status.
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
	return 0, fmt.Errorf("reading a process's capabilities: its status has no %s", strings.TrimSuffix(name, ":"))
}

// Sysctl reads a sysctl that is a number, by the name that sysctl(8) uses. Examples are
// kernel.unprivileged_bpf_disabled (0 allowed, 1 and 2 denied), kernel.perf_event_paranoid, kernel.kptr_restrict (0 and
// 1 show addresses to processes with SYSLOG, 2 to none) and net.core.bpf_jit_enable (fexit needs it). The error matches
// [os.ErrNotExist] if the kernel was built without the sysctl.
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

// Lockdown is the kernel's lockdown mode, which protects the kernel against root (security/lockdown/lockdown.c).
type Lockdown string

// The lockdown modes. With secure boot, most distributions set the mode integrity, in which capmon works.
const (
	LockdownNone      Lockdown = "none"
	LockdownIntegrity Lockdown = "integrity"
	// LockdownConfidentiality forbids kprobes, and bpf_probe_read_kernel in BPF programs (LOCKDOWN_KPROBES,
	// LOCKDOWN_BPF_READ_KERNEL).
	LockdownConfidentiality Lockdown = "confidentiality"
	// LockdownUnknown means that securityfs is not mounted, so the mode is not known.
	LockdownUnknown Lockdown = ""
)

// LockdownMode returns the mode in effect.
func LockdownMode() (Lockdown, error) { return lockdownMode("/sys/kernel/security") }

func lockdownMode(securityfs string) (Lockdown, error) {
	text, err := os.ReadFile(filepath.Join(securityfs, "lockdown"))
	if errors.Is(err, os.ErrNotExist) {
		// The file lsm exists whenever the file system is mounted (security/inode.c).
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
	return LockdownUnknown, fmt.Errorf("reading the lockdown mode: no mode is marked in %q", text)
}

// Namespace is a kind of namespace, named as in /proc/PID/ns.
type Namespace string

// The kinds for which [InInitial] works.
const (
	UserNamespace   Namespace = "user"
	PIDNamespace    Namespace = "pid"
	CgroupNamespace Namespace = "cgroup"
)

// initial are the inodes of the initial namespaces. They are constant since Linux 3.8, the inode of the cgroup
// namespace since 4.6 (PROC_*_INIT_INO, include/linux/proc_ns.h).
var initial = map[Namespace]string{
	UserNamespace:   "user:[4026531837]",   // 0xEFFFFFFD
	PIDNamespace:    "pid:[4026531836]",    // 0xEFFFFFFC
	CgroupNamespace: "cgroup:[4026531835]", // 0xEFFFFFFB
}

// ProcDirectory returns the directory in /proc whose root and mountinfo show files as a process sees them: /proc/PID if
// the process is in another mount namespace than this process, otherwise /proc/self. ProcDirectory also returns
// /proc/self if the process has exited, or if this process may not inspect it, which requires CAP_SYS_PTRACE.
func ProcDirectory(pid int) string {
	const self = "/proc/self"
	directory := fmt.Sprint("/proc/", pid)
	own, err := os.Readlink(self + "/ns/mnt")
	if err != nil {
		return self
	}
	other, err := os.Readlink(directory + "/ns/mnt")
	if err != nil || own == other {
		return self
	}
	return directory
}

// InInitial reports whether this process is in the initial namespace of a kind. A user namespace that maps all ids to
// themselves is not the initial one.
func InInitial(kind Namespace) (bool, error) {
	link, err := os.Readlink(filepath.Join("/proc/self/ns", string(kind)))
	if err != nil {
		return false, fmt.Errorf("reading this process's %s namespace: %w", kind, err)
	}
	return link == initial[kind], nil
}
