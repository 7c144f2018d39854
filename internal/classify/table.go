package classify

import (
	"slices"

	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/kernel"
	"github.com/capmon/capmon/monitor"
)

// Row gives the class of checks at certain call sites. Rows with class Required are for call sites where the kernel
// compares something after a denial, or where some programs need the capability and others do not. If check.Condition
// has the result of the comparison, it decides. If capmon could not evaluate the condition or has no code for it, the
// verdict is unsure, and Reason states why the capability may not be needed.
type Row struct {
	// Functions are kernel functions. The row matches if the stack of the check contains one of them. There are several
	// because compilers differ in which of them they inline.
	Functions []string
	// Capabilities are the checked capabilities; none means any.
	Capabilities []capability.Capability
	// When is a further condition on the check; nil means always.
	When   func(monitor.Check) bool
	Class  Class
	Reason string
	// NoEffect is the reason why a denial would have changed nothing, and ChangesResult what it would have changed
	// without an error. check.Condition selects one of them. A condition applies only in rows with NoEffect or
	// Optional: another function may make a check in the same system call, for example one that io_uring runs at its
	// end, and the condition was not evaluated for that check.
	NoEffect, ChangesResult string
	// Optional is the reason why a program may not need the call: the call changes nothing, or the kernel allows
	// another method. Like NoEffect, Optional applies only if check.Condition has that value.
	Optional string
	// Source is the place in the kernel's source that shows this.
	Source string
}

// Rows returns the rows for all call sites whose checks are not simply required. The first row that matches decides. A
// call site without a row is required, because one capability too many is better than one too few.
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

// rows are all rows, in the order in which find tries them.
var rows = slices.Concat(conditional, irrelevant, soft, unsure)

// stackContains reports whether the stack of a check contains one of the functions.
func stackContains(check monitor.Check, functions ...string) bool {
	return slices.ContainsFunc(check.Stack, func(f string) bool { return slices.Contains(functions, f) })
}

// siteIs returns a condition that is true if the call site is one of the functions, and false if the check was made in
// a function that they call.
func siteIs(functions ...string) func(monitor.Check) bool {
	return func(check monitor.Check) bool {
		site, _ := kernel.CallSite(check.Stack)
		return slices.Contains(functions, site)
	}
}

// opensForReading reports whether the check was made by a call that opens a file only for reading, or by a call that
// opens nothing (stat and similar).
func opensForReading(check monitor.Check) bool {
	var flags uint64
	switch check.Call.Name() {
	case "open":
		flags = check.Call.Args[1]
	case "openat":
		flags = check.Call.Args[2]
	case "openat2", "creat", "io_uring_enter", "access", "faccessat", "faccessat2", "truncate", "truncate64", "":
		return false // may request write access, which capmon does not record
	default:
		return true
	}
	// Arguments of 32-bit calls are not recorded. O_TRUNC requests write access with any access mode (build_open_flags,
	// fs/open.c).
	return check.Call.HasArgs && flags&(unix.O_ACCMODE|unix.O_TRUNC) == unix.O_RDONLY
}
