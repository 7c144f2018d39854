package kernel

import "strings"

// wrappers are functions that check a capability on behalf of their caller, so the caller is the call site. The value
// describes what the function checks or why it is a wrapper.
//
// The compiler determines which of them are in a stack: it may inline a static function, and a function that ends with
// the call (sockopt_ns_capable in 6.18) leaves no frame. So the map has all functions that would make the call site
// differ between builds. The functions exist in at least one version from 5.15 to 6.18.
var wrappers = map[string]string{
	// security
	"cap_capable":          "the check",
	"cap_capable_helper":   "the body of the check (6.14)",
	"security_capable":     "calls the security modules",
	"cap_inh_is_capped":    "part of cap_capset",
	"cap_vm_enough_memory": "part of security_vm_enough_memory_mm",

	// kernel/capability.c
	"capable":                   "current, initial user namespace",
	"capable_noaudit":           "the same, without an audit record (7.3)",
	"ns_capable":                "current, any user namespace",
	"ns_capable_common":         "body of the ns_capable family",
	"ns_capable_noaudit":        "without an audit record",
	"ns_capable_setid":          "for set*id",
	"has_capability":            "another task's (removed before 6.18)",
	"has_ns_capability":         "another task's",
	"has_capability_noaudit":    "another task's, without an audit record",
	"has_ns_capability_noaudit": "another task's, without an audit record",
	"file_ns_capable":           "the process that opened the file",
	"ptracer_capable":           "the task's tracer",
	"capable_wrt_inode_uidgid":  "current, for the owner of an inode",

	// include/linux/capability.h, kernel/bpf/token.c: one of two capabilities is sufficient
	"perfmon_capable":                       "PERFMON or SYS_ADMIN",
	"bpf_capable":                           "BPF or SYS_ADMIN",
	"bpf_net_capable":                       "NET_ADMIN or SYS_ADMIN",
	"bpf_ns_capable":                        "BPF or SYS_ADMIN",
	"bpf_token_capable":                     "the token's user namespace",
	"checkpoint_restore_ns_capable":         "CHECKPOINT_RESTORE or SYS_ADMIN",
	"checkpoint_restore_ns_capable_noaudit": "CHECKPOINT_RESTORE or SYS_ADMIN",

	// net/core/sock.c, net/netlink/af_netlink.c, net/core/rtnetlink.c
	"sk_ns_capable":             "the process that opened the socket, and current",
	"sk_capable":                "the process that opened the socket, and current",
	"sk_net_capable":            "the process that opened the socket, and current",
	"sockopt_ns_capable":        "current, unless a BPF program makes the call",
	"sockopt_capable":           "current, unless a BPF program makes the call",
	"netlink_ns_capable":        "the process that opened the socket, and current",
	"__netlink_ns_capable":      "the process that opened the socket, and current",
	"netlink_capable":           "the process that opened the socket, and current",
	"netlink_net_capable":       "the process that opened the socket, and current",
	"rtnl_get_net_ns_capable":   "the namespace that a message names",
	"rtnl_link_get_net_capable": "the namespace that a message names",
	"rtnl_dev_link_net_capable": "the namespace of a linked device",

	// fs/namespace.c, fs/super.c, kernel/ptrace.c
	"may_mount":      "the mount namespace's owner",
	"mount_capable":  "the new mount's user namespace",
	"ptrace_has_cap": "SYS_PTRACE of a user namespace",

	// fs/inode.c, fs/attr.c, fs/namei.c: permission of an inode, for any purpose
	"inode_owner_or_capable": "owner or FOWNER",
	"in_group_or_capable":    "member of the group or FSETID",
	"generic_permission":     "mode bits or DAC_*",
	"inode_permission":       "calls the file system",
	"do_inode_permission":    "calls the file system",
	"may_lookup":             "permission to search a directory",

	// i_op->permission, which ends in generic_permission
	"btrfs_permission":      "the file system's function",
	"ceph_permission":       "the file system's function",
	"cifs_permission":       "the file system's function",
	"fuse_permission":       "the file system's function",
	"gfs2_permission":       "the file system's function",
	"kernfs_iop_permission": "the file system's function",
	"nfs_permission":        "the file system's function",
	"ovl_permission":        "the file system's function",
	"proc_fd_permission":    "the file system's function",
	"proc_pid_permission":   "the file system's function",

	// the tracepoint capability:cap_capable and other tools' probes
	"trace_cap_capable":                 "the hook",
	"__traceiter_cap_capable":           "the hook",
	"__probestub_cap_capable":           "the hook",
	"__bpf_trace_cap_capable":           "the hook",
	"perf_trace_cap_capable":            "perf at the hook",
	"trace_event_raw_event_cap_capable": "tracefs at the hook",
	"ftrace_trampoline":                 "a probe",
	"arch_rethook_trampoline":           "a return probe",
	"__kretprobe_trampoline":            "a return probe",
	"arch_ftrace_ops_list_func":         "probes",

	UnknownFunction: "code loaded later, such as the trampoline of another tool's probe",
}

// CallSite returns the call site of a check, the function that needed the capability. frames is the kernel stack,
// innermost function first. The call site is the first function that is not a wrapper. If all functions are wrappers,
// it is the outermost one; for an empty stack it is "". inner has the functions before the call site.
//
// security_vm_enough_memory_mm and cap_capset are call sites although they look like wrappers: no other function uses
// them for checks.
func CallSite(frames []string) (site string, inner []string) {
	if len(frames) == 0 {
		return "", nil
	}
	for i, frame := range frames {
		if !isWrapper(frame) {
			return frame, frames[:i]
		}
	}
	last := len(frames) - 1
	return frames[last], frames[:last]
}

func isWrapper(frame string) bool {
	_, ok := wrappers[frame]
	return ok || isBPF(frame)
}

// isBPF reports whether a frame is a compiled BPF program, bpf_prog_TAG_name (bpf_prog_ksym_set_name,
// kernel/bpf/core.c), a trampoline, bpf_trampoline_KEY (kernel/bpf/trampoline.c), or the function that runs programs at
// tracepoints. It is false for kernel functions with similar names: bpf_prog_load is a call site.
func isBPF(frame string) bool {
	if tag, ok := strings.CutPrefix(frame, "bpf_prog_"); ok {
		const digits = 16 // of BPF_TAG_SIZE 8 bytes
		return len(tag) >= digits && strings.Trim(tag[:digits], "0123456789abcdef") == ""
	}
	if key, ok := strings.CutPrefix(frame, "bpf_trampoline_"); ok {
		return key != "" && strings.Trim(key, "0123456789") == ""
	}
	if arguments, ok := strings.CutPrefix(frame, "bpf_trace_run"); ok {
		return arguments != "" && strings.Trim(arguments, "0123456789") == ""
	}
	return false
}
