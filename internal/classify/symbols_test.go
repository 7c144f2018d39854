package classify

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// symbols updates testdata/functions-KERNEL.txt:
//
//	go test ./internal/classify -run Functions -symbols 6.1=System.map
//
// System.map is the output of nm for the kernel, followed by the output of nm for its modules. The file System.map from
// the kernel's build can be used instead of the first part.
var symbols = flag.String("symbols", "", "KERNEL=FILE: write the functions in FILE that the table names to testdata")

// kernels are the kernels whose functions are in testdata: Debian's, with all modules, and a small one without modules.
var kernels = []string{"6.1", "6.12", "6.18"}

// inlined are functions that none of these kernels has as a separate function. Kernels of other compilers,
// architectures, configurations or versions may have them.
var inlined = map[string]string{
	"emit_spectre_bhb_barrier":    "static, in do_jit",
	"ovl_can_list":                "static, in ovl_listxattr",
	"__tcp_ulp_find_autoload":     "static, in tcp_set_ulp",
	"ima_match_rules":             "static, in ima_match_policy",
	"ignore_hardlimit":            "static, in dquot_add_space",
	"ext2_has_free_blocks":        "static, in ext2_new_blocks",
	"ext2_xattr_trusted_list":     "in ext2; these kernels use ext4 instead",
	"inet_csk_diag_dump":          "up to 4.1",
	"io_uring_create":             "static, in io_uring_setup",
	"io_uring_allowed":            "static, in the system call",
	"userfaultfd_syscall_allowed": "static, in the system call",
	"perf_check_permission":       "static, in the system call",
	"can_do_hugetlb_shm":          "static, in hugetlb_file_setup",
	"may_dedupe_file":             "static, in vfs_dedupe_file_range_one",
	"xfs_ioctl_setattr_get_trans": "static, in xfs_fileattr_set",
	"priv_restricted_transition":  "in 7.3",
	"do_open":                     "static, in path_openat",
	"setfl":                       "static, in do_fcntl",
	"fcntl_set_rw_hint":           "static, in do_fcntl",
	"process_init_limits":         "static, in process_init_reply",
	"fuse_cache_write_iter":       "static, in fuse_file_write_iter",
	"expand_upwards":              "only where stacks grow upwards",
	"__do_sys_epoll_ctl":          "static, in the system call's entry",
	"__do_sys_io_uring_setup":     "static, in the system call's entry",
	"__do_sys_userfaultfd":        "static, in the system call's entry",
}

func TestRowsNameExistingFunctions(t *testing.T) {
	if kernel, file, ok := strings.Cut(*symbols, "="); ok {
		writeNamed(t, kernel, file)
	}
	known := make(map[string]bool) // in at least one kernel
	has := make(map[string]map[string]bool)
	for _, kernel := range kernels {
		has[kernel] = make(map[string]bool)
		for _, function := range strings.Fields(string(read(t, testdata(kernel)))) {
			has[kernel][function], known[function] = true, true
		}
	}
	for function := range inlined {
		if known[function] {
			t.Errorf("%s is a separate function", function)
		}
	}
	for _, row := range Rows() {
		if len(row.Functions) == 0 {
			continue
		}
		if !slices.ContainsFunc(row.Functions, func(f string) bool { return known[f] }) {
			t.Errorf("%v: no kernel has these functions, so the row can never match", row.Functions)
		}
		for _, function := range row.Functions {
			if !known[function] && inlined[function] == "" && !strings.HasPrefix(function, "__arm64_sys_") {
				t.Errorf("%s is in no kernel: it is misspelled, or inlined everywhere", function)
			}
		}
		for _, kernel := range kernels {
			missing := !slices.ContainsFunc(row.Functions, func(f string) bool { return has[kernel][f] })
			if reason, ok := absent[place{kernel, row.Functions[0]}]; missing != ok {
				t.Errorf("%v missing in %s: %v, expected: %v %s", row.Functions, kernel, missing, ok, reason)
			}
		}
	}
}

type place struct{ kernel, function string }

// absent are the rows, by their first function, that cannot match in a kernel.
var absent = map[place]string{
	{"6.1", "__lookup_next_mnt_ns"}:        "since 6.12",
	{"6.1", "pid_table_root_permissions"}:  "since 6.14",
	{"6.12", "pid_table_root_permissions"}: "since 6.14",
	{"6.18", "aa_change_profile"}:          "not in its configuration",
	{"6.18", "ima_match_rules"}:            "not in its configuration",
	{"6.18", "drm_file_alloc"}:             "not in its configuration",
	{"6.18", "scsi_cmd_allowed"}:           "not in its configuration",
}

// The running kernel may lack functions of modules, and of parts that are not in its configuration. If it lacks the
// functions of a row for another reason, the row does not work.
func TestRunningKernelHasTheFunctions(t *testing.T) {
	file, err := os.Open("/proc/kallsyms")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	running := functions(t, file)
	var missing []string
	for _, row := range Rows() {
		if len(row.Functions) > 0 && !slices.ContainsFunc(row.Functions, func(f string) bool { return running[f] }) {
			missing = append(missing, row.Functions[0])
			if !slices.Contains(optional, row.Functions[0]) {
				t.Errorf("%v: the running kernel has none of these functions", row.Functions)
			}
		}
	}
	t.Logf("not in this kernel: %v", missing)
}

// optional are the rows, by their first function, whose functions are in modules, in optional parts of the kernel, or
// only in some versions.
var optional = []string{
	"aa_change_profile", "ima_match_rules", "selinux_inode_getsecurity",
	"__lookup_next_mnt_ns",       // since 6.12
	"pid_table_root_permissions", // since 6.14
	"xfs_setattr_nonsize", "xfs_getfsmap", "ovl_open_realfile", "ovl_set_timestamps",
	"mqueue_get_inode", "io_uring_create", "io_uring_allowed", "userfaultfd_syscall_allowed", "hugetlb_file_setup",
	"__vsock_create", "inet_diag_dump_icsk", "ext4_has_free_clusters", "ext4_xattr_trusted_list", "ovl_can_decode_fh",
	"fuse_create_open", "process_init_reply", "drm_file_alloc", "scsi_cmd_allowed", "__account_locked_vm",
	"bpf_int_jit_compile", "bpf_check", "array_map_alloc", "kernel_migrate_pages", "proc_sched_autogroup_set_nice",
	"__x64_sys_fanotify_init", "do_fanotify_mark", "ksys_shmctl",
}

// functions reads symbols in the format of nm and the kernel. The names are without the suffix that the compiler
// appended, as in the stack of a check.
func functions(t *testing.T, r *os.File) map[string]bool {
	t.Helper()
	all := make(map[string]bool)
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) >= 3 && strings.Contains("tTwW", fields[1]) {
			name, _, _ := strings.Cut(fields[2], ".")
			all[name] = true
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// writeNamed writes the functions of a symbol file that the rows name to testdata.
func writeNamed(t *testing.T, kernel, path string) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	all := functions(t, file)
	var named []string
	for _, row := range Rows() {
		for _, function := range row.Functions {
			if all[function] {
				named = append(named, function)
			}
		}
	}
	slices.Sort(named)
	var text bytes.Buffer
	for _, function := range slices.Compact(named) {
		fmt.Fprintln(&text, function)
	}
	if err := os.WriteFile(testdata(kernel), text.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

func testdata(kernel string) string { return filepath.Join("testdata", "functions-"+kernel+".txt") }

func read(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}
