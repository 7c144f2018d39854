package doctor

import (
	"errors"
	"fmt"
	"os"

	"github.com/moby/sys/mountinfo"

	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/kernel"
	"github.com/capmon/capmon/monitor"
)

// What the kernel can be told to allow or to hide, whether it matters or not: who looks
// for the reason of a failure suspects all of it.

// setting is a finding on a sysctl, by its value.
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

// pointers: kallsyms_show_value (kernel/ksyms_common.c, earlier kernel/kallsyms.c)
// shows addresses with 0 and 1 to whom has CAP_SYSLOG, with 2 to nobody. With 0 and a
// kernel.perf_event_paranoid below 2 it shows them to everybody.
func pointers() Finding {
	return setting("kernel pointers", "kernel.kptr_restrict", func(value int, text string) Finding {
		if value > 1 {
			return Finding{"kernel pointers", Failure, text + " hides where the kernel's functions are from everybody, root included", "sysctl kernel.kptr_restrict=1"}
		}
		return ok("kernel pointers", "%s, does not matter to a process with CAP_SYSLOG", text)
	})
}

// unprivileged: the setting is looked at only where CAP_BPF is missing (map_create and
// bpf_prog_load, earlier __sys_bpf; kernel/bpf/syscall.c).
func unprivileged() Finding {
	return setting("unprivileged BPF", "kernel.unprivileged_bpf_disabled", func(_ int, text string) Finding {
		return ok("unprivileged BPF", "%s, does not matter to a process with CAP_BPF", text)
	})
}

// perfEvents: up to 2, the highest level that the kernel proper knows, the setting is
// looked at only where CAP_PERFMON is missing (perf_allow_kernel, kernel/events/core.c).
// Debian (3) and Ubuntu (4) added a level above which perf_event_open takes
// CAP_SYS_ADMIN; what is known is that it refuses, so that is what is told of.
func perfEvents(tried map[monitor.Hook]error) Finding {
	const subject = "perf events"
	return setting(subject, "kernel.perf_event_paranoid", func(value int, text string) Finding {
		chosen := choice(tried)
		switch {
		case value <= 2:
			return ok(subject, "%s, does not matter to a process with CAP_PERFMON", text)
		case !errors.Is(tried[monitor.Kprobe], os.ErrPermission) || has(capability.SysAdmin):
			return ok(subject, "%s, does not matter here", text)
		case chosen != "":
			return ok(subject, "%s keeps the hook kprobe from a process without CAP_SYS_ADMIN, does not matter to %s", text, chosen)
		}
		return Finding{subject, Failure, text + " keeps the hook kprobe from a process without CAP_SYS_ADMIN", "sysctl kernel.perf_event_paranoid=2, or run capmon with sudo"}
	})
}

// lockdown: security/lockdown/lockdown.c.
func lockdown() Finding {
	const subject = "lockdown"
	mode, err := kernel.LockdownMode()
	switch {
	case err != nil:
		return bad(Warning, subject, err, "run capmon with sudo")
	case mode == kernel.LockdownConfidentiality:
		return Finding{subject, Failure, "confidentiality: the kernel lets no BPF program read its memory", "boot with lockdown=integrity or without lockdown"}
	case mode == kernel.LockdownIntegrity:
		return ok(subject, "integrity, does not matter to capmon: confidentiality alone would")
	case mode == kernel.LockdownUnknown:
		return ok(subject, "not known, securityfs is not mounted (mount -t securityfs none /sys/kernel/security)")
	}
	return ok(subject, "%s", mode)
}

// bpffs is where programs are pinned that are to outlive who loaded them.
func bpffs() Finding {
	const subject = "bpffs"
	mounts, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("bpf"))
	switch {
	case err != nil:
		return bad(Warning, subject, err, "mount -t proc proc /proc")
	case len(mounts) == 0:
		return ok(subject, "not mounted, does not matter but to capmon serve, which mounts it, as root, and pins its recording there")
	}
	return ok(subject, "mounted at %s, does not matter but to capmon serve, which pins its recording there", mounts[0].Mountpoint)
}
