package classify

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/monitor"
)

// pair is a narrow and a wide capability. At some call sites the kernel accepts either of them: it checks one and, if
// that is denied, the other.
type pair struct {
	narrow, wide capability.Capability
	// wideIsNext reports, for a check of the narrow one, whether the kernel would have checked the wide one after a
	// denial. It is nil if this cannot be determined. Then the check has no alternative.
	wideIsNext func(monitor.Check) bool
	// narrowIsNext reports the same for a check of the wide one, if the kernel checks that first.
	narrowIsNext func(monitor.Check) bool
	source       string
}

var pairs = []pair{
	{
		narrow: capability.DACReadSearch, wide: capability.DACOverride,
		wideIsNext: calledFrom("generic_permission"),
		source:     "generic_permission, fs/namei.c",
	},
	{
		narrow: capability.NetRaw, wide: capability.NetAdmin,
		wideIsNext: marksPackets,
		source:     "SO_MARK and SO_PRIORITY, net/core/sock.c; IP_TRANSPARENT, net/ipv4/ip_sockglue.c; IPV6_TRANSPARENT, net/ipv6/ipv6_sockglue.c",
	},
	{
		narrow: capability.BPF, wide: capability.SysAdmin,
		wideIsNext: func(c monitor.Check) bool { return !stackContains(c, "bpf_token_create") },
		source:     "bpf_capable, include/linux/capability.h; bpf_token_capable, kernel/bpf/token.c",
	},
	{
		narrow: capability.Perfmon, wide: capability.SysAdmin,
		wideIsNext: func(monitor.Check) bool { return true },
		source:     "perfmon_capable, include/linux/capability.h; bpf_token_capable, kernel/bpf/token.c",
	},
	{
		narrow: capability.CheckpointRestore, wide: capability.SysAdmin,
		wideIsNext: func(monitor.Check) bool { return true },
		source:     "checkpoint_restore_ns_capable, include/linux/capability.h",
	},
	{
		narrow: capability.Syslog, wide: capability.SysAdmin,
		source: "check_syslog_permissions, kernel/printk/printk.c up to 6.6",
	},
	{
		narrow: capability.NetAdmin, wide: capability.SysAdmin,
		wideIsNext: calledFrom("bpf_token_capable", "bpf_prog_load", "af_alg_check_restriction"),
		source:     "bpf_net_capable, include/linux/bpf.h; bpf_prog_load, kernel/bpf/syscall.c; af_alg_capable, crypto/af_alg.c (7.3)",
	},
	{
		narrow: capability.SysResource, wide: capability.SysAdmin,
		wideIsNext: calledFrom("copy_process", "pipe_is_unprivileged_user", "unix_prepare_fpl", "unix_scm_to_skb"),
		source:     "copy_process over RLIMIT_NPROC, kernel/fork.c; pipe_is_unprivileged_user, fs/pipe.c; too_many_unix_fds, net/unix/af_unix.c",
	},
	{
		narrow: capability.SysNice, wide: capability.SysAdmin,
		narrowIsNext: calledFrom("ioprio_check_cap"),
		source:       "ioprio_check_cap, block/ioprio.c",
	},
}

// calledFrom returns a condition that is true if the stack of a check contains one of the functions.
func calledFrom(functions ...string) func(monitor.Check) bool {
	return func(check monitor.Check) bool { return stackContains(check, functions...) }
}

// marksPackets reports whether the socket option is one for which the kernel accepts CAP_NET_ADMIN instead of
// CAP_NET_RAW. The same functions make checks for other options.
func marksPackets(check monitor.Check) bool {
	return stackContains(check, "__sock_cmsg_send") ||
		setsOption(check.Call, unix.SOL_SOCKET, unix.SO_MARK, unix.SO_PRIORITY) ||
		setsOption(check.Call, unix.SOL_IP, unix.IP_TRANSPARENT) ||
		setsOption(check.Call, unix.SOL_IPV6, unix.IPV6_TRANSPARENT)
}

// Narrower reports whether there is a call site where the kernel accepts one or other, and one is the narrower
// capability.
func Narrower(one, other capability.Capability) bool {
	for _, p := range pairs {
		if p.narrow == one && p.wide == other {
			return true
		}
	}
	return false
}

// Advised reports whether narrow is narrower than wide and not more dangerous to grant. DAC_READ_SEARCH is more
// dangerous than DAC_OVERRIDE, which Docker grants by default: with DAC_READ_SEARCH a process may open files of the
// host (open_by_handle_at).
func Advised(narrow, wide capability.Capability) bool {
	standard := capability.DockerDefault()
	return Narrower(narrow, wide) && (standard.Has(narrow) || !standard.Has(wide))
}

// narrowNeeds returns the need for the narrow capability of a pair if the kernel checked the wide one first and granted
// it, because the narrow one is sufficient.
func narrowNeeds(check monitor.Check) []ImplicitNeed {
	for _, p := range pairs {
		if check.Capability != p.wide || p.narrowIsNext == nil || !p.narrowIsNext(check) {
			continue
		}
		verdict := Classify(check)
		if !verdict.Class.Need() || verdict.Alternative == nil {
			return nil
		}
		verdict.Class, verdict.Alternative = Implicit, &p.wide
		verdict.Reason = fmt.Sprintf("this capability is sufficient instead of %s, which the kernel checks first", p.wide)
		return []ImplicitNeed{{capability.Of(p.narrow), verdict}}
	}
	return nil
}

// alternative returns the other capability of a pair, which the kernel would also have accepted for a granted check;
// nil if there is none. A process that has given up capabilities may hold only one of the two. Then the result is
// nil.
func alternative(check monitor.Check) *capability.Capability {
	if check.Alternative == monitor.AlternativeNotHeld {
		return nil
	}
	for _, p := range pairs {
		switch {
		case check.Capability == p.wide && check.HasDeniedFirst && check.DeniedFirst == p.narrow && check.Alternative != monitor.AlternativeHeld:
			return &p.narrow
		case check.Capability == p.wide && p.narrowIsNext != nil && p.narrowIsNext(check):
			return &p.narrow
		case check.Capability == p.narrow && p.narrowIsNext != nil && p.narrowIsNext(check):
			return &p.wide
		case check.Capability == p.narrow && p.wideIsNext != nil && p.wideIsNext(check):
			return &p.wide
		}
	}
	return nil
}
