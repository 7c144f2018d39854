package kernel

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/capmon/capmon/internal/capability"
)

// Call is a system call as it was recorded.
type Call struct {
	Arch Arch
	// Nr is its number, negative outside system calls.
	Nr int
	// HasArgs tells whether Args and what follows were recorded. Of pointers, and of
	// arguments that explain nothing, Args holds zero.
	HasArgs bool
	Args    [6]uint64
	// Detail is mount's file system type: bytes that the caller chose.
	Detail string
	// Family and Port of the address that bind was given.
	Family, Port uint16
}

// Name of the system call, "" outside one.
func (c Call) Name() string { return c.Arch.SyscallName(c.Nr) }

// String shows the call with the arguments that explain a need.
func (c Call) String() string {
	name := c.Name()
	render, ok := renderings[name]
	if !ok || !c.HasArgs {
		return name
	}
	return name + "(" + strings.Join(render(c), ", ") + ")"
}

// renderings tells for each system call whose arguments are shown how.
var renderings = map[string]func(Call) []string{
	"socket": func(c Call) []string {
		return []string{families.name(c.Args[0]), socketType(c.Args[1]), protocol(c.Args[0], c.Args[2])}
	},
	"bind": func(c Call) []string {
		if c.Family != afInet && c.Family != afInet6 {
			return []string{families.name(uint64(c.Family))}
		}
		return []string{families.name(uint64(c.Family)), "port " + strconv.Itoa(int(c.Port))}
	},
	"mount": func(c Call) []string {
		if c.Detail == "" {
			return nil
		}
		return []string{c.Detail}
	},
	"ioctl": func(c Call) []string { return []string{ioctls.name(c.Args[1])} },
	"setsockopt": func(c Call) []string {
		return []string{socketLevels.name(c.Args[1]), socketOption(c.Args[1], c.Args[2])}
	},
	"prctl":     prctl,
	"unshare":   func(c Call) []string { return []string{cloneFlags.names(c.Args[0])} },
	"clone":     func(c Call) []string { return []string{cloneFlags.names(c.Args[0])} },
	"clone3":    func(c Call) []string { return []string{cloneFlags.names(c.Args[0])} },
	"setns":     func(c Call) []string { return []string{cloneFlags.names(c.Args[1])} },
	"kill":      func(c Call) []string { return []string{signals.name(c.Args[1])} },
	"setuid":    ids(1),
	"setgid":    ids(1),
	"setfsuid":  ids(1),
	"setfsgid":  ids(1),
	"setreuid":  ids(2),
	"setregid":  ids(2),
	"setresuid": ids(3),
	"setresgid": ids(3),
	"chmod":     mode(1),
	"fchmod":    mode(1),
	"fchmodat":  mode(2),
	"fchmodat2": mode(2),
	"mknod":     fileType(1),
	"mknodat":   fileType(2),
}

// ids shows the first n arguments as user or group ids, -1 meaning unchanged.
func ids(n int) func(Call) []string {
	return func(c Call) []string {
		shown := make([]string, n)
		for i := range shown {
			shown[i] = strconv.Itoa(int(int32(c.Args[i])))
		}
		return shown
	}
}

func mode(argument int) func(Call) []string {
	return func(c Call) []string { return []string{fmt.Sprintf("%#04o", c.Args[argument]&0o7777)} }
}

func fileType(argument int) func(Call) []string {
	return func(c Call) []string { return []string{fileTypes.name(c.Args[argument] & 0o170000)} }
}

func prctl(c Call) []string {
	shown := []string{prctls.name(c.Args[0])}
	switch c.Args[0] {
	case prCapbsetDrop:
		shown = append(shown, capability.Capability(c.Args[1]).String())
	case prCapAmbient:
		shown = append(shown, ambientActions.name(c.Args[1]), capability.Capability(c.Args[2]).String())
	}
	return shown
}

func socketType(value uint64) string { return socketTypes.name(value & 0xf) }

// protocol shows a socket's protocol by the family it belongs to.
func protocol(family, value uint64) string {
	switch family {
	case afInet, afInet6:
		return ipProtocols.name(value)
	case afPacket:
		return etherTypes.name(value>>8&0xff | value&0xff<<8)
	case afNetlink:
		return netlinkFamilies.name(value)
	}
	return strconv.FormatUint(value, 10)
}

func socketOption(level, value uint64) string {
	if table, ok := socketOptions[level]; ok {
		return table.name(value)
	}
	return strconv.FormatUint(value, 10)
}
