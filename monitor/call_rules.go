package monitor

import (
	"encoding/binary"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/bpf"
	"github.com/capmon/capmon/syscalls"
)

const (
	arg0 = 1 << iota
	arg1
	arg2
)

// callRules has the system calls whose arguments explain a need or decide a condition, and the system calls that need
// capabilities without a check. capmon never records pointers, because each value would make another pattern of use.
var callRules = map[string]bpf.CapmonCallRule{
	"execve":     {Kind: uint8(bpf.CapmonCallKindCALL_EXEC)},
	"execveat":   {Kind: uint8(bpf.CapmonCallKindCALL_EXEC)},
	"open":       {Args: arg1, Inspects: inspectsOpened},
	"openat":     {Args: arg2, Inspects: inspectsOpened},
	"openat2":    {Inspects: inspectsOpened},
	"socket":     {Args: arg0 | arg1 | arg2, Lifted: uint8(bpf.CapmonLiftedLimitLIFTED_PING)},
	"bind":       {Kind: uint8(bpf.CapmonCallKindCALL_BIND), Lifted: uint8(bpf.CapmonLiftedLimitLIFTED_PORT)},
	"socketcall": {Lifted: uint8(bpf.CapmonLiftedLimitLIFTED_PORT_OR_PING)},
	"mount":      {Kind: uint8(bpf.CapmonCallKindCALL_MOUNT)},
	"ioctl":      {Args: arg1},
	"setsockopt": {Args: arg1 | arg2},
	"prctl":      {Kind: uint8(bpf.CapmonCallKindCALL_PRCTL), Args: arg0, Inspects: inspectsOwn, RequiredArg0Plus1: 1 + unix.PR_CAPBSET_READ},
	"unshare":    {Args: arg0},
	"clone":      {Args: arg0},
	"clone3":     {Kind: uint8(bpf.CapmonCallKindCALL_CLONE3)},
	"setns":      {Args: arg1},
	"kill":       {Args: arg1},
	"setuid":     {Kind: uint8(bpf.CapmonCallKindCALL_SETUID), Args: arg0},
	"setgid":     {Kind: uint8(bpf.CapmonCallKindCALL_SETGID), Args: arg0},
	"setfsuid":   {Args: arg0},
	"setfsgid":   {Args: arg0},
	"setgroups":  {Kind: uint8(bpf.CapmonCallKindCALL_SETGROUPS), Args: arg0},
	"setreuid":   {Args: arg0 | arg1},
	"setregid":   {Args: arg0 | arg1},
	"setresuid":  {Args: arg0 | arg1 | arg2},
	"setresgid":  {Args: arg0 | arg1 | arg2},
	"capget":     {Inspects: inspectsOwn},
	"capset":     {Kind: uint8(bpf.CapmonCallKindCALL_CAPSET)},
	"write":      {Kind: uint8(bpf.CapmonCallKindCALL_WRITE)},
	"writev":     {Kind: uint8(bpf.CapmonCallKindCALL_WRITE)},
	"pwrite64":   {Kind: uint8(bpf.CapmonCallKindCALL_WRITE)},
	"pwritev":    {Kind: uint8(bpf.CapmonCallKindCALL_WRITE)},
	"pwritev2":   {Kind: uint8(bpf.CapmonCallKindCALL_WRITE)},
	"chmod":      {Kind: uint8(bpf.CapmonCallKindCALL_CHMOD), Args: arg1, ModeArg: 1},
	"fchmod":     {Kind: uint8(bpf.CapmonCallKindCALL_FCHMOD), Args: arg1, ModeArg: 1},
	"fchmodat":   {Kind: uint8(bpf.CapmonCallKindCALL_CHMOD), Args: arg2, ModeArg: 2},
	"fchmodat2":  {Kind: uint8(bpf.CapmonCallKindCALL_CHMOD), Args: arg2, ModeArg: 2},
	"chown":      {Kind: uint8(bpf.CapmonCallKindCALL_CHOWN), ModeArg: 1},
	"lchown":     {Kind: uint8(bpf.CapmonCallKindCALL_CHOWN), ModeArg: 1},
	"fchownat":   {Kind: uint8(bpf.CapmonCallKindCALL_CHOWN), ModeArg: 2},
	"fchown":     {Kind: uint8(bpf.CapmonCallKindCALL_FD)},
	"fsetxattr":  {Kind: uint8(bpf.CapmonCallKindCALL_FD)},
	"bpf":        {Args: arg0},
	"mmap":       {Kind: uint8(bpf.CapmonCallKindCALL_MMAP)},
	"brk":        {Kind: uint8(bpf.CapmonCallKindCALL_BRK)},
	"mremap":     {Kind: uint8(bpf.CapmonCallKindCALL_MREMAP)},
	"mq_open":    {Kind: uint8(bpf.CapmonCallKindCALL_MQ_OPEN)},
	"mknod":      {Args: arg1},
	"mknodat":    {Args: arg2},

	"access": {Inspects: inspectsLink}, "chdir": {Inspects: inspectsLink}, "faccessat": {Inspects: inspectsLink}, "faccessat2": {Inspects: inspectsLink},
	"fstatat64": {Inspects: inspectsLink}, "newfstatat": {Inspects: inspectsLink}, "readlink": {Inspects: inspectsLink}, "readlinkat": {Inspects: inspectsLink},
	"stat": {Inspects: inspectsLink}, "stat64": {Inspects: inspectsLink}, "statx": {Inspects: inspectsLink},

	"get_robust_list":   {Inspects: inspectsPID},
	"kcmp":              {Inspects: inspectsPID, PidArg: 1}, // the second process; the first is usually the caller
	"migrate_pages":     {Inspects: inspectsPID},
	"move_pages":        {Inspects: inspectsPID},
	"perf_event_open":   {Inspects: inspectsPID, PidArg: 1},
	"pidfd_getfd":       {Inspects: uint8(bpf.CapmonInspectsINSPECTS_PIDFD)},
	"process_madvise":   {Inspects: uint8(bpf.CapmonInspectsINSPECTS_PIDFD)},
	"process_vm_readv":  {Inspects: inspectsPID},
	"process_vm_writev": {Inspects: inspectsPID},
	"ptrace":            {Inspects: uint8(bpf.CapmonInspectsINSPECTS_PTRACE), PidArg: 1},

	"ioprio_set":         {Inspects: inspectsSchedule, PidArg: 1, RequiredArg0Plus1: 1 + ioprioWhoProcess},
	"sched_setaffinity":  {Inspects: inspectsSchedule},
	"sched_setattr":      {Inspects: inspectsSchedule},
	"sched_setparam":     {Inspects: inspectsSchedule},
	"sched_setscheduler": {Inspects: inspectsSchedule},
	"setpriority":        {Inspects: inspectsSchedule, PidArg: 1, RequiredArg0Plus1: 1 + unix.PRIO_PROCESS},
}

const (
	inspectsOpened   = uint8(bpf.CapmonInspectsINSPECTS_OPENED_FILE)
	inspectsLink     = uint8(bpf.CapmonInspectsINSPECTS_PATH_LINKS)
	inspectsPID      = uint8(bpf.CapmonInspectsINSPECTS_PID)
	inspectsSchedule = uint8(bpf.CapmonInspectsINSPECTS_SCHEDULE)
	inspectsOwn      = uint8(bpf.CapmonInspectsINSPECTS_OWN_SETS)

	ioprioWhoProcess = 1 // include/uapi/linux/ioprio.h
)

// callRule returns the rule of a system call. The calls of 32-bit programs with 32-bit ids have the suffix 32 in their
// names (such as chown32) and the same rule.
func callRule(name string) bpf.CapmonCallRule {
	return callRules[strings.TrimSuffix(name, "32")]
}

// callTable returns the rules by system call number for an architecture.
func callTable(arch syscalls.Arch) [maxCalls]bpf.CapmonCallRule {
	var table [maxCalls]bpf.CapmonCallRule
	for nr := range table {
		name := arch.SyscallName(nr)
		table[nr] = callRule(name)
		if table[nr].Inspects == 0 && followsLinks(name) {
			table[nr].Inspects = inspectsLink
		}
	}
	return table
}

// followsLinks reports whether a system call names a file by a path that may lead through the links of a process in
// /proc. It excludes execve, because the path is gone when the call returns. It also excludes calls that may read such
// a link itself instead of following it.
func followsLinks(name string) bool {
	file := fileRule(name)
	return file.PathArg != 0 && file.IsSockaddr == 0 &&
		!slices.Contains([]string{"execve", "execveat", "lstat", "lstat64", "lgetxattr", "llistxattr"}, name)
}

// maxCalls is the number of system call numbers that can have a rule.
const maxCalls = int(bpf.CapmonLimitsCALL_MAX)

func (m *Monitor) newCall(key *bpf.CapmonCheckKey) syscalls.Call {
	arch := m.archOf(key.Compat)
	call := syscalls.Call{Arch: arch, Nr: int(key.Syscall)}
	if key.Syscall < 0 || int(key.Syscall) >= maxCalls || foldingOf(&key.Comm) != Unfolded {
		return call
	}
	rule := callRule(arch.SyscallName(call.Nr))
	copy(call.Args[:], key.Args[:])
	rule.Lifted, rule.Inspects, rule.PidArg, rule.RequiredArg0Plus1 = 0, 0, 0, 0 // these fields apply to the call, not to its checks
	call.HasArgs = rule != bpf.CapmonCallRule{}
	switch rule.Kind {
	case uint8(bpf.CapmonCallKindCALL_BIND):
		call.Family = binary.NativeEndian.Uint16(key.Detail[0:2])
		call.Port = binary.BigEndian.Uint16(key.Detail[2:4])
	case uint8(bpf.CapmonCallKindCALL_MOUNT):
		call.Detail = cString(key.Detail[:])
	case uint8(bpf.CapmonCallKindCALL_CAPSET):
		call.Args[3] = binary.NativeEndian.Uint64(key.Detail[0:8])
	case uint8(bpf.CapmonCallKindCALL_WRITE):
		if key.Detail[0] != 0 { // recorded by an earlier version: a value in the workload's memory
			call.Args[1] = RootMapUnknown
		}
	}
	return call
}
