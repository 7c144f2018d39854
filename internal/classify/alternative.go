package classify

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/monitor"
)

// either is a narrow and a wide capability between which the kernel does not
// choose: it asks for one of them and, if that is refused, for the other.
type either struct {
	narrow, wide capability.Capability
	// wideIsNext tells of a check for the narrow one, which the kernel asks for first,
	// that it would have asked for the wide one next. Nil where nothing tells: then
	// nothing is said.
	wideIsNext func(monitor.Check) bool
	// narrowIsNext tells the same where the kernel asks for the wide one first.
	narrowIsNext func(monitor.Check) bool
	source       string
}

var eithers = []either{
	{
		narrow: capability.DACReadSearch, wide: capability.DACOverride,
		wideIsNext: at("generic_permission"),
		source:     "generic_permission, fs/namei.c",
	},
	{
		narrow: capability.NetRaw, wide: capability.NetAdmin,
		wideIsNext: marksPackets,
		source:     "SO_MARK and SO_PRIORITY, net/core/sock.c; IP_TRANSPARENT, net/ipv4/ip_sockglue.c; IPV6_TRANSPARENT, net/ipv6/ipv6_sockglue.c",
	},
	{
		narrow: capability.BPF, wide: capability.SysAdmin,
		wideIsNext: func(c monitor.Check) bool { return !asked(c, "bpf_token_create") },
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
		wideIsNext: at("bpf_token_capable", "bpf_prog_load", "af_alg_check_restriction"),
		source:     "bpf_net_capable, include/linux/bpf.h; bpf_prog_load, kernel/bpf/syscall.c; af_alg_capable, crypto/af_alg.c (7.3)",
	},
	{
		narrow: capability.SysResource, wide: capability.SysAdmin,
		wideIsNext: at("copy_process", "pipe_is_unprivileged_user", "unix_prepare_fpl", "unix_scm_to_skb"),
		source:     "copy_process over RLIMIT_NPROC, kernel/fork.c; pipe_is_unprivileged_user, fs/pipe.c; too_many_unix_fds, net/unix/af_unix.c",
	},
	{
		narrow: capability.SysNice, wide: capability.SysAdmin,
		narrowIsNext: at("ioprio_check_cap"),
		source:       "ioprio_check_cap, block/ioprio.c",
	},
}

// at tells checks that one of the functions asked for.
func at(functions ...string) func(monitor.Check) bool {
	return func(check monitor.Check) bool { return asked(check, functions...) }
}

// marksPackets tells the socket options that CAP_NET_ADMIN is as good for as
// CAP_NET_RAW from the others that the same functions ask for.
func marksPackets(check monitor.Check) bool {
	return asked(check, "__sock_cmsg_send") ||
		setsOption(check.Call, unix.SOL_SOCKET, unix.SO_MARK, unix.SO_PRIORITY) ||
		setsOption(check.Call, unix.SOL_IP, unix.IP_TRANSPARENT) ||
		setsOption(check.Call, unix.SOL_IPV6, unix.IPV6_TRANSPARENT)
}

// Narrower reports whether one capability is the narrower of two between which
// the kernel does not choose somewhere.
func Narrower(one, other capability.Capability) bool {
	for _, e := range eithers {
		if e.narrow == one && e.wide == other {
			return true
		}
	}
	return false
}

// Advised reports whether narrow is narrower than wide and no more dangerous to grant. DAC_READ_SEARCH is
// more dangerous than DAC_OVERRIDE, which Docker grants by default: with DAC_READ_SEARCH a process may open
// files of the host (open_by_handle_at).
func Advised(narrow, wide capability.Capability) bool {
	standard := capability.DockerDefault()
	return Narrower(narrow, wide) && (standard.Has(narrow) || !standard.Has(wide))
}

// narrowDemands is the narrow one of two capabilities where the kernel asks for the wide one first,
// and was content with it. The narrow one does, too.
func narrowDemands(check monitor.Check) []Demand {
	for _, e := range eithers {
		if check.Capability != e.wide || e.narrowIsNext == nil || !e.narrowIsNext(check) {
			continue
		}
		verdict := Classify(check)
		if !verdict.Class.Need() || verdict.Alternative == nil {
			return nil
		}
		verdict.Class, verdict.Alternative = Implicit, &e.wide
		verdict.Reason = fmt.Sprintf("it does instead of %s, which the kernel asks for first", e.wide)
		return []Demand{{capability.Of(e.narrow), verdict}}
	}
	return nil
}

// alternative is the other one of two capabilities that a granted check could
// have been granted by, nil if there is none. A process that has given up capabilities may have
// only one of the two, and then it can use no other one.
func alternative(check monitor.Check) *capability.Capability {
	if check.Choice == monitor.ChoiceNone {
		return nil
	}
	for _, e := range eithers {
		switch {
		case check.Capability == e.wide && check.HasRefusedFirst && check.RefusedFirst == e.narrow && check.Choice != monitor.ChoiceOther:
			return &e.narrow
		case check.Capability == e.wide && e.narrowIsNext != nil && e.narrowIsNext(check):
			return &e.narrow
		case check.Capability == e.narrow && e.narrowIsNext != nil && e.narrowIsNext(check):
			return &e.wide
		case check.Capability == e.narrow && e.wideIsNext != nil && e.wideIsNext(check):
			return &e.wide
		}
	}
	return nil
}
