package classify

import (
	"slices"

	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/kernel"
	"github.com/capmon/capmon/monitor"
)

// Row says what a check at certain places in the kernel means. Class Required
// marks a place where the kernel looks at something else after a refusal that
// capmon does not evaluate: Reason then says what, and the verdict is unsure.
type Row struct {
	// Functions are kernel functions, one of which is among those that asked. Which
	// of them survives inlining differs by compiler, hence more than one.
	Functions []string
	// Capabilities asked for; none means any.
	Capabilities []capability.Capability
	// When narrows the row down by the rest of the check; nil means always.
	When   func(monitor.Check) bool
	Class  Class
	Reason string
	// Moot says why a refusal would have changed nothing, and Silent what it would have
	// changed without an error, where check.Condition says so. A condition applies
	// only in rows with Moot or Optional: another function may make a check in the same system call, such as
	// one that io_uring runs at its end, and the condition was not evaluated for that check.
	Moot, Silent string
	// Optional says why a program may not need the call: the call changes nothing, or the kernel
	// allows another way. Like Moot, Optional applies only where check.Condition says so.
	Optional string
	// Source is where in the kernel it can be read.
	Source string
}

// Rows lists every place whose checks are not simply required. The first row
// that matches decides; a place in none counts as required, since one capability
// too many is better than one too few.
func Rows() []Row { return rows }

func find(check monitor.Check) (Row, bool) {
	for _, row := range rows {
		if row.matches(check) {
			return row, true
		}
	}
	return Row{}, false
}

func (r Row) matches(check monitor.Check) bool {
	if len(r.Capabilities) > 0 && !slices.Contains(r.Capabilities, check.Capability) {
		return false
	}
	if len(r.Functions) > 0 && !slices.ContainsFunc(check.Stack, func(f string) bool { return slices.Contains(r.Functions, f) }) {
		return false
	}
	return r.When == nil || r.When(check)
}

type caps = []capability.Capability

// rows in the order in which they are tried.
var rows = slices.Concat(conditional, irrelevant, soft, unevaluated)

func asked(check monitor.Check, functions ...string) bool {
	return slices.ContainsFunc(check.Stack, func(f string) bool { return slices.Contains(functions, f) })
}

// isSite tells the checks whose call site is one of the functions from those of what they call.
func isSite(functions ...string) func(monitor.Check) bool {
	return func(check monitor.Check) bool {
		site, _ := kernel.CallSite(check.Stack)
		return slices.Contains(functions, site)
	}
}

// opensForReading reports whether the check was made by an open that asks for no
// more than reading, or by a call that opens nothing (stat and the like).
func opensForReading(check monitor.Check) bool {
	var flags uint64
	switch check.Call.Name() {
	case "open":
		flags = check.Call.Args[1]
	case "openat":
		flags = check.Call.Args[2]
	case "openat2", "creat", "io_uring_enter", "access", "faccessat", "faccessat2", "truncate", "truncate64", "":
		return false // may ask for writing, which is not recorded
	default:
		return true
	}
	// Arguments of 32-bit calls are not recorded. O_TRUNC asks for writing whatever
	// the access mode (build_open_flags, fs/open.c).
	return check.Call.HasArgs && flags&(unix.O_ACCMODE|unix.O_TRUNC) == unix.O_RDONLY
}
