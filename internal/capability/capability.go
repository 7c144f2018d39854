// Package capability names Linux capabilities and computes with sets of them.
package capability

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/agnivade/levenshtein"
	"github.com/moby/sys/capability"
)

// Capability is the number of a capability, 0 to 63, as in linux/capability.h.
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

// limit is how many capabilities a set can hold, here as in the kernel.
const limit = 64

// String is Docker's name, NET_RAW, or the number of one that is not known here.
func (c Capability) String() string {
	if int(c) >= len(capability.ListKnown()) {
		return strconv.Itoa(int(c))
	}
	return strings.ToUpper(capability.Cap(c).String())
}

// Parse reads a name with or without CAP_, in any case, or a number from 0 to 63.
func Parse(s string) (Capability, error) {
	if n, err := strconv.ParseUint(s, 10, 8); err == nil && n < limit {
		return Capability(n), nil
	}
	name := strings.TrimPrefix(strings.ToUpper(strings.TrimSpace(s)), "CAP_")
	nearest, distance := "", -1
	for _, known := range capability.ListKnown() {
		candidate := Capability(known).String()
		if candidate == name {
			return Capability(known), nil
		}
		if d := levenshtein.ComputeDistance(name, candidate); distance < 0 || d < distance {
			nearest, distance = candidate, d
		}
	}
	return 0, fmt.Errorf("unknown capability %q: the nearest is %s", s, nearest)
}

// MarshalText makes a capability its name in JSON.
func (c Capability) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (c *Capability) UnmarshalText(text []byte) (err error) {
	*c, err = Parse(string(text))
	return err
}

func byName(one, other Capability) int { return strings.Compare(one.String(), other.String()) }

func sorted(all []Capability) []Capability {
	slices.SortFunc(all, byName)
	return all
}
