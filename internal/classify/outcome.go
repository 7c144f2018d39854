package classify

import (
	"slices"
	"strings"

	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/monitor"
)

// Outcome is the verdict on some of the checks of a kind.
type Outcome struct {
	Count uint64
	Verdict
}

// Outcomes tells refusals apart by what came of them: one did not matter if another
// capability did instead, or if the system call succeeded in which it was made. All
// other checks have one outcome, that of Classify.
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
	add(check.Overruled, Tolerated, "refused, and another capability did instead")
	if resultTells(check) && !changesResult(check) {
		add(check.Succeeded, Tolerated, "refused, and the call succeeded all the same")
		add(check.Forbidden, Denied, forbidden(check))
		add(check.Failed, Denied, "the call failed")
	}
	add(left, Denied, "")
	return outcomes
}

// forbidden says why a call failed with EPERM or EACCES after the kernel refused a check of the call. Each
// capset asks for CAP_SETPCAP, and needs CAP_SETPCAP only to make capabilities inheritable. If the arguments
// make none inheritable, the text says so with reserve: another thread may have changed the arguments.
func forbidden(check monitor.Check) string {
	if check.Capability == capability.Setpcap && check.Call.Name() == "capset" && check.Call.HasArgs && check.Condition == monitor.Unreadable {
		return "the call failed for another reason, judging by its arguments: every capset asks for this capability"
	}
	return "the call failed for want of permission"
}

// resultTells reports whether a refusal would be seen in the result of the system call.
// Netlink answers with a message, io_uring and asynchronous I/O with a completion; what is
// put off until the return to user space has no result at all; kill of many succeeds if it
// reaches one of them (kill_something_info, kernel/signal.c). Which call it was is not known of a
// coarse pattern.
func resultTells(check monitor.Check) bool {
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

// changesResult reports whether a refusal is no error but gives another result.
func changesResult(check monitor.Check) bool {
	row, known := find(check)
	return known && (row.Class == Soft || row.Silent != "" && check.Condition != monitor.Matters)
}
