package doctor

import (
	"errors"
	"fmt"
	"os"

	"github.com/moby/sys/mountinfo"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/kernel"
	"github.com/capmon/capmon/monitor"
)

// Settings with which the kernel allows or hides something. Examine reports all of them, even those that do not matter:
// a user who searches for the cause of a failure may suspect any of them.

// setting returns a finding on a sysctl, depending on its value.
func setting(subject, name string, judge func(value int, text string) Finding) Finding {
	value, err := kernel.Sysctl(name)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return ok(subject, "this kernel has no %s", name)
	case err != nil:
		return bad(Warning, subject, err, "mount -t proc proc /proc")
	}
	return judge(value, fmt.Sprintf("%s=%d", name, value))
}

// pointers reports kernel.kptr_restrict. kallsyms_show_value (kernel/ksyms_common.c, earlier kernel/kallsyms.c) shows
// addresses to processes with CAP_SYSLOG if it is 0 or 1, and to none if it is 2. If it is 0 and
// kernel.perf_event_paranoid is below 2, all processes see them.
func pointers() Finding {
	return setting("kernel pointers", "kernel.kptr_restrict", func(value int, text string) Finding {
		if value > 1 {
			return Finding{"kernel pointers", Failure, text + " hides the addresses of the kernel's functions from all users, root included", "sysctl kernel.kptr_restrict=1"}
		}
		return ok("kernel pointers", "%s, does not matter to a process with CAP_SYSLOG", text)
	})
}

// unprivileged reports kernel.unprivileged_bpf_disabled. The kernel uses it only for processes without CAP_BPF
// (map_create and bpf_prog_load, earlier __sys_bpf; kernel/bpf/syscall.c).
func unprivileged() Finding {
	return setting("unprivileged BPF", "kernel.unprivileged_bpf_disabled", func(_ int, text string) Finding {
		return ok("unprivileged BPF", "%s, does not matter to a process with CAP_BPF", text)
	})
}

// perfEvents reports kernel.perf_event_paranoid. Up to 2, the highest level of the upstream kernel, the kernel uses it
// only for processes without CAP_PERFMON (perf_allow_kernel, kernel/events/core.c). Debian (3) and Ubuntu (4) have
// added a level above which perf_event_open requires CAP_SYS_ADMIN. perfEvents only knows whether the kprobe hook was
// denied, so it reports that.
func perfEvents(tried map[monitor.Hook]error) Finding {
	const subject = "perf events"
	return setting(subject, "kernel.perf_event_paranoid", func(value int, text string) Finding {
		chosen := firstWorking(tried)
		switch {
		case value <= 2:
			return ok(subject, "%s, does not matter to a process with CAP_PERFMON", text)
		case !errors.Is(tried[monitor.Kprobe], os.ErrPermission) || hasCapability(capability.SysAdmin):
			return ok(subject, "%s, does not matter here", text)
		case chosen != "":
			return ok(subject, "%s denies the hook kprobe to a process without CAP_SYS_ADMIN, does not matter because %s works", text, chosen)
		}
		return Finding{subject, Failure, text + " denies the hook kprobe to a process without CAP_SYS_ADMIN", "sysctl kernel.perf_event_paranoid=2, or run capmon with sudo"}
	})
}

// lockdown reports the mode of kernel lockdown (security/lockdown/lockdown.c).
func lockdown() Finding {
	const subject = "lockdown"
	mode, err := kernel.LockdownMode()
	switch {
	case err != nil:
		return bad(Warning, subject, err, "run capmon with sudo")
	case mode == kernel.LockdownConfidentiality:
		return Finding{subject, Failure, "confidentiality: the kernel lets no BPF program read its memory", "boot with lockdown=integrity or without lockdown"}
	case mode == kernel.LockdownIntegrity:
		return ok(subject, "integrity, does not matter to capmon: only confidentiality would")
	case mode == kernel.LockdownUnknown:
		return ok(subject, "not known, securityfs is not mounted (mount -t securityfs none /sys/kernel/security)")
	}
	return ok(subject, "%s", mode)
}

// bpffs reports the file system in which programs are pinned that outlive the process that loaded them.
func bpffs() Finding {
	const subject = "bpffs"
	mounts, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("bpf"))
	switch {
	case err != nil:
		return bad(Warning, subject, err, "mount -t proc proc /proc")
	case len(mounts) == 0:
		return ok(subject, "not mounted, does not matter: only capmon serve uses it, to pin its recording, and mounts it as root")
	}
	return ok(subject, "mounted at %s, does not matter: only capmon serve uses it, to pin its recording", mounts[0].Mountpoint)
}
