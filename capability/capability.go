// Package capability provides names and sets of Linux capabilities.
package capability

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/agnivade/levenshtein"
	"github.com/moby/sys/capability"
)

// Capability is the number of a capability, 0 to 63, as in linux/capability.h. Sets ignore higher numbers.
type Capability uint8

// The capabilities of Linux 5.9 and later.
const (
	Chown             = Capability(capability.CAP_CHOWN)
	DACOverride       = Capability(capability.CAP_DAC_OVERRIDE)
	DACReadSearch     = Capability(capability.CAP_DAC_READ_SEARCH)
	Fowner            = Capability(capability.CAP_FOWNER)
	Fsetid            = Capability(capability.CAP_FSETID)
	Kill              = Capability(capability.CAP_KILL)
	Setgid            = Capability(capability.CAP_SETGID)
	Setuid            = Capability(capability.CAP_SETUID)
	Setpcap           = Capability(capability.CAP_SETPCAP)
	LinuxImmutable    = Capability(capability.CAP_LINUX_IMMUTABLE)
	NetBindService    = Capability(capability.CAP_NET_BIND_SERVICE)
	NetBroadcast      = Capability(capability.CAP_NET_BROADCAST)
	NetAdmin          = Capability(capability.CAP_NET_ADMIN)
	NetRaw            = Capability(capability.CAP_NET_RAW)
	IPCLock           = Capability(capability.CAP_IPC_LOCK)
	IPCOwner          = Capability(capability.CAP_IPC_OWNER)
	SysModule         = Capability(capability.CAP_SYS_MODULE)
	SysRawio          = Capability(capability.CAP_SYS_RAWIO)
	SysChroot         = Capability(capability.CAP_SYS_CHROOT)
	SysPtrace         = Capability(capability.CAP_SYS_PTRACE)
	SysPacct          = Capability(capability.CAP_SYS_PACCT)
	SysAdmin          = Capability(capability.CAP_SYS_ADMIN)
	SysBoot           = Capability(capability.CAP_SYS_BOOT)
	SysNice           = Capability(capability.CAP_SYS_NICE)
	SysResource       = Capability(capability.CAP_SYS_RESOURCE)
	SysTime           = Capability(capability.CAP_SYS_TIME)
	SysTTYConfig      = Capability(capability.CAP_SYS_TTY_CONFIG)
	Mknod             = Capability(capability.CAP_MKNOD)
	Lease             = Capability(capability.CAP_LEASE)
	AuditWrite        = Capability(capability.CAP_AUDIT_WRITE)
	AuditControl      = Capability(capability.CAP_AUDIT_CONTROL)
	Setfcap           = Capability(capability.CAP_SETFCAP)
	MacOverride       = Capability(capability.CAP_MAC_OVERRIDE)
	MacAdmin          = Capability(capability.CAP_MAC_ADMIN)
	Syslog            = Capability(capability.CAP_SYSLOG)
	WakeAlarm         = Capability(capability.CAP_WAKE_ALARM)
	BlockSuspend      = Capability(capability.CAP_BLOCK_SUSPEND)
	AuditRead         = Capability(capability.CAP_AUDIT_READ)
	Perfmon           = Capability(capability.CAP_PERFMON)
	BPF               = Capability(capability.CAP_BPF)
	CheckpointRestore = Capability(capability.CAP_CHECKPOINT_RESTORE)
)

// limit is the number of capabilities that a set can hold. The kernel has the same limit.
const limit = 64

// names are Docker's names, indexed by number, without the prefix CAP_.
var names = func() (names []string) {
	for _, known := range capability.ListKnown() {
		names = append(names, strings.ToUpper(known.String()))
	}
	return names
}()

// String returns Docker's name, such as NET_RAW, or the number if this package has no name for it.
func (c Capability) String() string {
	if c.Named() {
		return names[c]
	}
	return strconv.Itoa(int(c))
}

// Named reports whether this package has a name for the capability. Engines grant capabilities only by name.
func (c Capability) Named() bool { return int(c) < len(names) }

// Parse reads a name, with or without the prefix CAP_ and in upper or lower case, or a number from 0 to 63. Numbers are
// for capabilities of kernels newer than this package. For any other text, Parse returns an error that suggests the
// most similar name.
func Parse(s string) (Capability, error) {
	if n, err := strconv.ParseUint(s, 10, 8); err == nil && n < limit {
		return Capability(n), nil
	}
	return parseName(s)
}

func parseName(s string) (Capability, error) {
	name := strings.TrimPrefix(strings.ToUpper(s), "CAP_")
	if i := slices.Index(names, name); i >= 0 {
		return Capability(i), nil
	}
	nearest := slices.MinFunc(names, func(one, other string) int {
		return levenshtein.ComputeDistance(name, one) - levenshtein.ComputeDistance(name, other)
	})
	return 0, fmt.Errorf("unknown capability %q: the nearest is %s", s, nearest)
}

// MarshalText returns the same text as [Capability.String], so JSON has names.
func (c Capability) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText reads the same text as [Parse].
func (c *Capability) UnmarshalText(text []byte) (err error) {
	*c, err = Parse(string(text))
	return err
}
