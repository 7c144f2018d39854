package classify

// setReader is a kernel function that reads the capability sets of a credential without a check.
type setReader struct {
	function string
	class    Class  // Implicit, or "" if capmon lists nothing for it
	without  string // the effect of a missing capability
	proof    string // as in unaudited
}

const (
	copiesSets = "nothing: the function computes or copies the sets"
	printsSets = "nothing: the function prints the sets"
	fileServer = "nothing: a thread of the kernel's file servers drops or raises its own capabilities"
)

var setReaders = []setReader{
	{"cap_capable", "", "this is the check itself", ""},
	{"cap_capable_helper", "", "this is the check itself, since 6.14", ""},
	{"cap_capset", Implicit, "capset of a set that is not permitted fails (EPERM)", "workload capset-only"},
	{"bprm_caps_from_vfs_caps", Implicit, "a file with capabilities and the effective flag cannot be executed (EPERM)", "workload file-capability"},
	{"cap_task_prctl", Implicit, "PR_CAP_AMBIENT_RAISE fails (EPERM); PR_CAPBSET_READ and PR_CAP_AMBIENT_IS_SET report it, which needs no capability", "workload ambient"},
	{"create_user_ns", Implicit, "the child user namespace cannot map the parent's root: see verify_root_map", "workload map-root"},
	{"verify_root_map", Implicit, "writing a map of the parent's root fails (EPERM)", "workload map-root"},
	{"psi_trigger_create", Implicit, "making a trigger whose window is not a multiple of two seconds fails (EINVAL)", "TestPressureTriggersNeedSysResourceByWindow"},
	{"cap_capget", "", "capget reports it; the report names the programs that read it, if the container fails", "TestReportExplainsFailuresWithoutDeniedChecks"},
	{"task_cap", "", "/proc/PID/status reports it; capmon does not see programs that give up because of it", ""},
	{"apparmor_capget", "", "capget reports less under an AppArmor profile", ""},
	{"cap_ptrace_access_check", Implicit, "access to a process of another container that is permitted more fails (EPERM or EACCES)", "TestListAllowsInspectingOtherProcesses"},
	{"cap_ptrace_traceme", "", "the same check as cap_ptrace_access_check, for the parent, which is in the same container", ""},
	{"cap_safe_nice", Implicit, "changing the scheduling of a process of another container that is permitted more fails (EPERM)", "TestListAllowsInspectingOtherProcesses"},
	{"is_subset_of_obj_privilege", "", "a process with more capabilities than the one that opened the file cannot replace an AppArmor policy", ""},
	{"cred_cap_issubset", "", "nothing: the kernel makes a process that gains capabilities not dumpable", ""},
	{"get_file_caps", "", copiesSets, ""},
	{"handle_privileged_root", "", copiesSets, ""},
	{"cap_bprm_creds_from_file", "", copiesSets, ""},
	{"cap_emulate_setxuid", "", copiesSets, ""},
	{"cap_task_fix_setuid", "", copiesSets, ""},
	{"cap_prctl_drop", "", "nothing: PR_CAPBSET_DROP removes it; its check for SETPCAP is audited", "workload capbset-drop"},
	{"set_cred_user_ns", "", copiesSets, ""},
	{"key_change_session_keyring", "", copiesSets, ""},
	{"access_need_override_creds", "", "nothing: access(2) checks with a copy of the credential, and these checks count", "workload access"},
	{"access_override_creds", "", "nothing: as access_need_override_creds", "workload access"},
	{"ovl_fill_super", "", "nothing: an overlay uses its mounter's credential without SYS_RESOURCE", ""},
	{"ovl_fill_super_creds", "", "nothing: as ovl_fill_super, in 7.3", ""},
	{"call_usermodehelper_exec_async", "", "nothing: it starts a program of the kernel on the host", ""},
	{"proc_cap_handler", "", "nothing: kernel.usermodehelper.bset applies to programs that the kernel starts on the host, and its checks are audited", ""},
	{"io_uring_show_cred", "", printsSets, ""},
	{"__audit_log_bprm_fcaps", "", printsSets, ""},
	{"__audit_log_capset", "", printsSets, ""},
	{"audit_log_cap", "", printsSets, ""},
	{"audit_caps", "", "nothing: the sets belong to an AppArmor profile", ""},
	{"profile_capable", "", "nothing: the sets belong to an AppArmor profile", ""},
	{"nfsd_setuser", "", fileServer, ""},
	{"nfsd_set_fh_dentry", "", fileServer, ""},
	{"__ksmbd_override_fsids", "", fileServer, ""},
}
