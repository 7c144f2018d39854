package kernel

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/internal/capability"
)

// Call is a system call as it was recorded. Everything in it but Arch was chosen by
// the caller, who may be hostile.
type Call struct {
	Arch Arch
	// Nr is its number, negative outside system calls.
	Nr int
	// HasArgs tells whether Args and what follows were recorded. Of pointers, and of
	// arguments that explain nothing, Args holds zero.
	HasArgs bool
	Args    [6]uint64
	// Detail is mount's file system type: any bytes.
	Detail string
	// Family and Port of the address that bind was given; both are zero if it
	// could not be read.
	Family, Port uint16
}

// Name of the system call, "" outside one.
func (c Call) Name() string { return c.Arch.SyscallName(c.Nr) }

// String shows the call with the arguments that explain a need, as
// socket(AF_INET, SOCK_RAW, ICMP); without parentheses if none do. It is printable
// ASCII and its own words cannot be imitated by an argument.
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

// rendering shows arguments of a call; nil if they explain nothing.
type rendering func(Call) []string

// renderings tells for each system call whose arguments are shown how.
var renderings = map[string]rendering{
	"bind":              bind,
	"capset":            capset,
	"chmod":             mode(1),
	"clone":             flags(0, cloneFlags),
	"clone3":            flags(0, cloneFlags), // those that its structure holds
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

// ids shows the first n arguments as user or group ids, -1 meaning unchanged.
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
		return []string{strconv.Itoa(int(number))} // 0 only asks whether it would be allowed
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
	const typeMask = 0xf // the rest is SOCK_CLOEXEC and SOCK_NONBLOCK (linux/net.h)
	return []string{families.decimal(family), socketTypes.decimal(c.Args[1] & typeMask), shown}
}

func bind(c Call) []string {
	port := "port " + strconv.Itoa(int(c.Port))
	switch c.Family {
	case unix.AF_UNSPEC: // inet takes it for AF_INET (__inet_bind, net/ipv4/af_inet.c)
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

// The kernel takes 32 bits; musl's callers sign-extend them.
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

// capset shows what was to be permitted.
func capset(c Call) []string { return []string{"permitted " + capability.Set(c.Args[0]).String()} }

func mount(c Call) []string {
	if c.Detail == "" {
		return nil
	}
	return []string{plain(c.Detail)}
}

// plain quotes what is not a plain word.
func plain(s string) string {
	for _, r := range s {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '.', r == '-', r == '_':
		default:
			return strconv.QuoteToASCII(s)
		}
	}
	return s
}
