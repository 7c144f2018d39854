package classify

import "github.com/capmon/capmon/internal/capability"
import "github.com/capmon/capmon/monitor"

// either is a narrow and a wide capability between which the kernel does not
// choose: it asks for the narrow one and, if that is refused, for the wide one.
type either struct {
	narrow, wide capability.Capability
	// functions, one of which is among those that asked, tell that the wide one
	// would have been asked for next when the narrow one was granted. Empty where
	// no function does: then nothing is said.
	functions []string
	source    string
}

var eithers = []either{
	{capability.DACReadSearch, capability.DACOverride, []string{"generic_permission"}, "generic_permission, fs/namei.c"},
	{capability.NetRaw, capability.NetAdmin, nil, "SO_MARK and SO_PRIORITY, net/core/sock.c; IP_TRANSPARENT, net/ipv4/ip_sockglue.c"},
	{capability.BPF, capability.SysAdmin, nil, "bpf_capable, include/linux/capability.h"},
	{capability.Perfmon, capability.SysAdmin, nil, "perfmon_capable, include/linux/capability.h"},
	{capability.CheckpointRestore, capability.SysAdmin, nil, "checkpoint_restore_ns_capable, include/linux/capability.h"},
	{capability.Syslog, capability.SysAdmin, nil, "check_syslog_permissions, kernel/printk/printk.c up to 6.6"},
	{capability.NetAdmin, capability.SysAdmin, nil, "bpf_net_capable, include/linux/bpf.h"},
	{capability.SysResource, capability.SysAdmin, nil, "copy_process over RLIMIT_NPROC, kernel/fork.c"},
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

// alternative is the other one of two capabilities that a granted check could
// have been granted by, nil if there is none.
func alternative(check monitor.Check) *capability.Capability {
	for _, e := range eithers {
		switch {
		case check.Capability == e.wide && check.HasRefusedFirst && check.RefusedFirst == e.narrow:
			return &e.narrow
		case check.Capability == e.narrow && asked(check, e.functions...):
			return &e.wide
		}
	}
	return nil
}
