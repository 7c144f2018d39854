package kernel

import (
	"slices"
	"strings"
)

// wrappers are functions that ask for a capability on behalf of their caller:
// which need it is, the caller tells.
var wrappers = []string{
	// security/commoncap.c and security/security.c: the check itself
	"cap_capable", "cap_capable_helper", "security_capable",
	// kernel/capability.c
	"capable", "ns_capable", "ns_capable_common", "ns_capable_noaudit", "ns_capable_setid",
	"has_capability", "has_ns_capability", "has_capability_noaudit", "has_ns_capability_noaudit",
	"file_ns_capable", "ptracer_capable", "privileged_wrt_inode_uidgid", "capable_wrt_inode_uidgid",
	// include/linux/capability.h, where the compiler kept them as functions
	"perfmon_capable", "bpf_capable", "bpf_net_capable", "checkpoint_restore_ns_capable",
	"bpf_token_capable", "bpf_ns_capable",
	// net/core/sock.c and net/netlink/af_netlink.c: opener and current are both asked
	"sk_ns_capable", "sk_capable", "sk_net_capable", "netlink_ns_capable", "__netlink_ns_capable",
	"netlink_capable", "netlink_net_capable",
	// fs/inode.c, fs/attr.c and fs/namei.c: permission of an inode, whatever for
	"in_group_or_capable", "inode_owner_or_capable", "generic_permission", "inode_permission",
	"ovl_permission", "acl_permission_check", "security_inode_permission",
}

// tracing are frames of the hook itself, by prefix.
var tracing = []string{"bpf_prog_", "bpf_trampoline_", "bpf_trace_run", "__bpf_trace_", "__traceiter_", "trace_", "kprobe_", "ftrace_", "bpf_get_stack", "stack_trace", "get_perf_callchain", "perf_callchain"}

// CallSite finds in a kernel stack, innermost function first, the one that
// needed the capability: the first that is no wrapper. If all are, it is the
// outermost; of an empty stack it is "".
func CallSite(frames []string) (site string, inner []string) {
	for i, frame := range frames {
		if !isWrapper(frame) {
			return frame, frames[:i]
		}
	}
	if len(frames) == 0 {
		return "", nil
	}
	return frames[len(frames)-1], frames[:len(frames)-1]
}

func isWrapper(frame string) bool {
	return slices.Contains(wrappers, frame) ||
		slices.ContainsFunc(tracing, func(prefix string) bool { return strings.HasPrefix(frame, prefix) })
}
