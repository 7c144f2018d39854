// Package syscalls names system calls and describes recorded system calls with the arguments that explain why they need
// a capability.
package syscalls

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/capability"
)

// Call is a recorded system call. The caller, who may be hostile, chose all fields except Arch.
type Call struct {
	Arch Arch
	// Nr is the number of the system call; negative if no system call was in progress.
	Nr int
	// HasArgs is set if Args and the fields below were recorded. Args has zero for pointers and for arguments that do
	// not explain a need.
	HasArgs bool
	Args    [6]uint64
	// Detail is the file system type passed to mount. It may contain any bytes.
	Detail string
	// Family and Port are the family and port of the address passed to bind. Both are zero if the kernel could not read
	// it.
	Family, Port uint16
}

// Name returns the name of the system call; "" if no system call was in progress.
func (c Call) Name() string { return c.Arch.SyscallName(c.Nr) }

// String returns the call with the arguments that explain a need, for example socket(AF_INET, SOCK_RAW, ICMP). It has
// no parentheses if no argument does. The result is printable ASCII, and no argument can imitate other parts of it.
func (c Call) String() string {
	name := c.Name()
	render, ok := renderings[strings.TrimSuffix(name, "32")]
	if !ok || !c.HasArgs {
		return name
	}
	arguments := render(c)
	if len(arguments) == 0 {
		return name
	}
	return name + "(" + strings.Join(arguments, ", ") + ")"
}

// rendering formats arguments of a call; nil if they do not explain a need.
type rendering func(Call) []string

// renderings has the system calls whose arguments are shown, and how to format them.
var renderings = map[string]rendering{
	"bind":              bind,
	"capset":            capset,
	"chmod":             mode(1),
	"clone":             flags(0, cloneFlags),
	"clone3":            flags(0, cloneFlags), // the flags in the structure that clone3 reads
	"fchmod":            mode(1),
	"fchmodat":          mode(2),
	"fchmodat2":         mode(2),
	"ioctl":             ioctl,
	"kill":              signal(1),
	"mknod":             node(1),
	"mknodat":           node(2),
	"mount":             mount,
	"pidfd_send_signal": signal(1),
	"prctl":             prctl,
	"setfsgid":          ids(1),
	"setfsuid":          ids(1),
	"setgid":            ids(1),
	"setns":             flags(1, cloneFlags),
	"setregid":          ids(2),
	"setresgid":         ids(3),
	"setresuid":         ids(3),
	"setreuid":          ids(2),
	"setsockopt":        setsockopt,
	"setuid":            ids(1),
	"socket":            socket,
	"tgkill":            signal(2),
	"tkill":             signal(1),
	"unshare":           flags(0, cloneFlags),
}

// ids formats the first n arguments as user or group ids; -1 means unchanged.
func ids(n int) rendering {
	return func(c Call) []string {
		shown := make([]string, n)
		for i := range shown {
			id := uint32(c.Args[i])
			if shown[i] = strconv.FormatUint(uint64(id), 10); id == ^uint32(0) {
				shown[i] = "-1"
			}
		}
		return shown
	}
}

func flags(argument int, table names) rendering {
	return func(c Call) []string {
		if set := table.set(c.Args[argument]); set != "" {
			return []string{set}
		}
		return nil
	}
}

func mode(argument int) rendering {
	return func(c Call) []string { return []string{octal(c.Args[argument])} }
}

func octal(mode uint64) string { return fmt.Sprintf("%#04o", mode&0o7777) }

func node(argument int) rendering {
	return func(c Call) []string {
		return []string{fileTypes.hex(c.Args[argument]&unix.S_IFMT) + " " + octal(c.Args[argument])}
	}
}

func signal(argument int) rendering {
	return func(c Call) []string {
		number := int32(c.Args[argument])
		if name := unix.SignalName(syscall.Signal(number)); name != "" {
			return []string{name}
		}
		return []string{strconv.Itoa(int(number))} // 0 only tests for permission
	}
}

func socket(c Call) []string {
	family, protocol := c.Args[0], uint64(uint32(c.Args[2]))
	shown := strconv.FormatUint(protocol, 10)
	switch family {
	case unix.AF_INET, unix.AF_INET6:
		shown = ipProtocols.decimal(protocol)
	case unix.AF_PACKET: // in network byte order
		shown = etherTypes.hex(protocol>>8&0xff | protocol&0xff<<8)
	case unix.AF_NETLINK:
		shown = netlinkFamilies.decimal(protocol)
	}
	const typeMask = 0xf // the other bits are SOCK_CLOEXEC and SOCK_NONBLOCK (linux/net.h)
	return []string{families.decimal(family), socketTypes.decimal(c.Args[1] & typeMask), shown}
}

func bind(c Call) []string {
	port := "port " + strconv.Itoa(int(c.Port))
	switch c.Family {
	case unix.AF_UNSPEC: // accepted as AF_INET for inet sockets (__inet_bind, net/ipv4/af_inet.c)
		if c.Port == 0 {
			return nil
		}
		return []string{families.decimal(unix.AF_UNSPEC), port}
	case unix.AF_INET, unix.AF_INET6:
		return []string{families.decimal(uint64(c.Family)), port}
	}
	return []string{families.decimal(uint64(c.Family))}
}

func setsockopt(c Call) []string {
	level, option := uint64(uint32(c.Args[1])), uint64(uint32(c.Args[2]))
	return []string{socketLevels.decimal(level), socketOptions[level].decimal(option)}
}

// The kernel uses 32 bits of the command. Callers built with musl sign-extend it.
func ioctl(c Call) []string { return []string{ioctls.hex(uint64(uint32(c.Args[1])))} }

func prctl(c Call) []string {
	option := uint64(uint32(c.Args[0]))
	switch option {
	case unix.PR_CAPBSET_DROP:
		return []string{prctls.decimal(option), capabilityName(c.Args[1])}
	case unix.PR_CAP_AMBIENT:
		action, ok := ambientActions[c.Args[1]]
		if ok && c.Args[1] != unix.PR_CAP_AMBIENT_CLEAR_ALL {
			return []string{action, capabilityName(c.Args[2])}
		}
		if ok {
			return []string{action}
		}
	}
	return []string{prctls.decimal(option)}
}

func capabilityName(value uint64) string {
	if value > uint64(capability.CheckpointRestore) {
		return strconv.FormatUint(value, 10)
	}
	return capability.Capability(value).String()
}

// capset shows the permitted set that the caller requested.
func capset(c Call) []string { return []string{"permitted " + capability.Set(c.Args[0]).String()} }

func mount(c Call) []string {
	if c.Detail == "" {
		return nil
	}
	return []string{quoteUnlessWord(c.Detail)}
}

// quoteUnlessWord quotes a text unless it consists of ASCII letters, digits, ".", "-" and "_".
func quoteUnlessWord(s string) string {
	for _, r := range s {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '.', r == '-', r == '_':
		default:
			return strconv.QuoteToASCII(s)
		}
	}
	return s
}
