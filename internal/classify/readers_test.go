package classify

// reader is a kernel function that reads the sets of a credential. No check tells of it.
type reader struct {
	function string
	class    Class // Demanded, or "" if capmon lists nothing for it
	without  string
	proof    string
}

const (
	keepsBooks = "nothing: the sets are computed or copied"
	prints     = "nothing: the sets are printed"
	serves     = "nothing: a thread of the kernel's file servers gives up or takes its own capabilities"
)

var readers = []reader{
	{"cap_capable", "", "this is the check itself", ""},
	{"cap_capable_helper", "", "this is the check itself, since 6.14", ""},
	{"cap_capset", Implicit, "capset of a set that is not permitted is refused (EPERM)", "workload capset-only"},
	{"bprm_caps_from_vfs_caps", Implicit, "a file with capabilities and the effective flag cannot be executed (EPERM)", "workload file-capability"},
	{"cap_task_prctl", Implicit, "PR_CAP_AMBIENT_RAISE is refused (EPERM); PR_CAPBSET_READ and PR_CAP_AMBIENT_IS_SET report it, which demands nothing", "workload ambient"},
	{"create_user_ns", Implicit, "the child user namespace cannot map the parent's root: see verify_root_map", "workload map-root"},
	{"verify_root_map", Implicit, "a map of the parent's root is refused (EPERM)", "workload map-root"},
	{"psi_trigger_create", Implicit, "a trigger whose window is not a multiple of two seconds is refused (EINVAL)", "TestPressureTriggersNeedSysResourceByWindow"},
	{"cap_capget", "", "capget reports it; the report names the programs that read it, if the container fails", "TestTheReportTellsOfAnExitStatusThatNothingDeniedExplains"},
	{"task_cap", "", "/proc/PID/status reports it; programs that give up by themselves are not seen", ""},
	{"apparmor_capget", "", "capget reports less under an AppArmor profile", ""},
	{"cap_ptrace_access_check", Implicit, "the kernel refuses access to a process of another container that is permitted more (EPERM or EACCES)", "TestTheListLetsAContainerLookIntoAnother"},
	{"cap_ptrace_traceme", "", "the same check as cap_ptrace_access_check, for the parent, which is in the same container", ""},
	{"cap_safe_nice", Implicit, "the kernel refuses to change the scheduling of a process of another container that is permitted more (EPERM)", "TestTheListLetsAContainerLookIntoAnother"},
	{"is_subset_of_obj_privilege", "", "an AppArmor policy cannot be replaced by a process with more capabilities than the one that opened the file", ""},
	{"cred_cap_issubset", "", "nothing: a process that gains capabilities is made not dumpable", ""},
	{"get_file_caps", "", keepsBooks, ""},
	{"handle_privileged_root", "", keepsBooks, ""},
	{"cap_bprm_creds_from_file", "", keepsBooks, ""},
	{"cap_emulate_setxuid", "", keepsBooks, ""},
	{"cap_task_fix_setuid", "", keepsBooks, ""},
	{"cap_prctl_drop", "", "nothing: PR_CAPBSET_DROP takes it away; its check for SETPCAP is audited", "workload capbset-drop"},
	{"set_cred_user_ns", "", keepsBooks, ""},
	{"key_change_session_keyring", "", keepsBooks, ""},
	{"access_need_override_creds", "", "nothing: access(2) checks with a copy of the credential, and these checks count", "workload access"},
	{"access_override_creds", "", "nothing: as access_need_override_creds", "workload access"},
	{"ovl_fill_super", "", "nothing: an overlay acts as its mounter without SYS_RESOURCE", ""},
	{"ovl_fill_super_creds", "", "nothing: as ovl_fill_super, in 7.3", ""},
	{"call_usermodehelper_exec_async", "", "nothing: a program that the kernel starts on the host", ""},
	{"proc_cap_handler", "", "nothing: kernel.usermodehelper.bset is of the host's programs, and its checks are audited", ""},
	{"io_uring_show_cred", "", prints, ""},
	{"__audit_log_bprm_fcaps", "", prints, ""},
	{"__audit_log_capset", "", prints, ""},
	{"audit_log_cap", "", prints, ""},
	{"audit_caps", "", "nothing: the sets are those of an AppArmor profile", ""},
	{"profile_capable", "", "nothing: the sets are those of an AppArmor profile", ""},
	{"nfsd_setuser", "", serves, ""},
	{"nfsd_set_fh_dentry", "", serves, ""},
	{"__ksmbd_override_fsids", "", serves, ""},
}
