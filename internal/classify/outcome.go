package classify

import (
	"slices"
	"strings"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/monitor"
)

// Outcome is the verdict on some checks of one kind, and their number.
type Outcome struct {
	Count uint64
	Verdict
}

// Outcomes returns the outcomes of a kind of check. Its denials may have different consequences: a denial did not
// matter if the kernel accepted another capability, or if the system call succeeded. All checks that are not denials
// have one outcome, the verdict of [Classify].
func Outcomes(check monitor.Check) []Outcome {
	verdict := Classify(check)
	if verdict.Class != Denied {
		return []Outcome{{check.Count, verdict}}
	}
	var outcomes []Outcome
	left := check.Count
	add := func(count uint64, class Class, reason string) {
		count = min(count, left)
		left -= count
		if count == 0 {
			return
		}
		v := verdict
		v.Class = class
		if class == Tolerated || v.Reason == "" {
			v.Reason = reason
		}
		outcomes = append(outcomes, Outcome{count, v})
	}
	add(check.Overruled, Tolerated, "denied, but another capability was sufficient")
	if resultShowsDenial(check) && !changesResult(check) {
		add(check.Succeeded, Tolerated, "denied, but the call succeeded anyway")
		add(check.Forbidden, Denied, forbidden(check))
		add(check.Failed, Denied, "the call failed")
	}
	add(left, Denied, "")
	return outcomes
}

// forbidden returns the reason why a call failed with EPERM or EACCES after a denial. The kernel checks CAP_SETPCAP in
// each capset, and capset needs it only to make capabilities inheritable. If the arguments make none inheritable, the
// text is cautious: another thread may have changed the arguments.
func forbidden(check monitor.Check) string {
	if check.Capability == capability.Setpcap && check.Call.Name() == "capset" && check.Call.HasArgs && check.Condition == monitor.Unreadable {
		return "according to its arguments, the call failed for another reason: every capset checks this capability"
	}
	return "the call failed with a permission error"
}

// resultShowsDenial reports whether the result of the system call shows the consequence of a denial. Netlink answers
// with a message, io_uring and asynchronous I/O with a completion. Work that the kernel defers until the return to user
// space has no result. kill of many processes succeeds if it reaches one of them (kill_something_info,
// kernel/signal.c). The system call of a coarse pattern is not known.
func resultShowsDenial(check monitor.Check) bool {
	if check.Folding == monitor.Coarse {
		return false
	}
	switch check.Call.Name() {
	case "io_uring_enter", "io_submit", "kill":
		return false
	}
	return !slices.ContainsFunc(check.Stack, func(function string) bool {
		return strings.Contains(function, "netlink") || strings.HasPrefix(function, "io_") || function == "task_work_run"
	})
}

// changesResult reports whether a denial may change the result without an error.
func changesResult(check monitor.Check) bool {
	row, known := find(check)
	return known && (row.Class == Soft || row.ChangesResult != "" && check.Condition != monitor.Matters)
}
