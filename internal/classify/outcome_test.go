package classify

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/monitor"
	"github.com/capmon/capmon/syscalls"
)

// denial returns a check for CHOWN that was denied six times: once with each known outcome, and twice with an unknown
// one.
func denial(stack ...string) monitor.Check {
	return monitor.Check{
		Capability: capability.Chown, Answer: monitor.NotHeld, Credential: monitor.OwnCredential, Phase: monitor.Workload,
		Call: syscalls.Call{Arch: syscalls.NativeArch(), Nr: -1}, Stack: stack,
		Count: 6, Overruled: 1, Succeeded: 1, Forbidden: 1, Failed: 1,
	}
}

func TestOutcomes(t *testing.T) {
	granted := denial("setattr_prepare")
	granted.Answer, granted.Overruled, granted.Succeeded, granted.Forbidden, granted.Failed = monitor.Held, 0, 0, 0, 0
	soft := denial("setattr_prepare")
	soft.Capability = capability.Fsetid
	soft.Condition = monitor.ChangesResult
	unreadable := soft
	unreadable.Condition = monitor.Unreadable
	user := unreadable
	user.Capability, user.Stack = capability.Setuid, []string{"__sys_setuid"}
	many := denial("check_kill_permission", "kill_something_info")
	many.Capability = capability.Kill
	for nr := range 512 {
		if many.Call.Nr = nr; many.Call.Name() == "kill" {
			break
		}
	}
	racing := denial("setattr_prepare")
	racing.Count, racing.Succeeded = 1, 2 // counted while capmon read it

	for name, test := range map[string]struct {
		check monitor.Check
		want  map[Class][]uint64
	}{
		"each outcome":                          {denial("setattr_prepare"), map[Class][]uint64{Tolerated: {1, 1}, Denied: {1, 1, 2}}},
		"granted":                               {granted, map[Class][]uint64{Required: {6}}},
		"the answer is a message":               {denial("rtnetlink_rcv_msg", "netlink_rcv_skb"), map[Class][]uint64{Tolerated: {1}, Denied: {5}}},
		"a success with another result":         {soft, map[Class][]uint64{Tolerated: {1}, Denied: {5}}},
		"a success with perhaps another result": {unreadable, map[Class][]uint64{Tolerated: {1}, Denied: {5}}},
		"a success with the saved id left":      {user, map[Class][]uint64{Tolerated: {1}, Denied: {5}}},
		"kill reached one of many":              {many, map[Class][]uint64{Tolerated: {1}, Denied: {5}}},
		"deferred until the return":             {denial("may_open", "task_work_run"), map[Class][]uint64{Tolerated: {1}, Denied: {5}}},
		"never more than the count":             {racing, map[Class][]uint64{Tolerated: {1}}},
		"checked in the host's user namespace":  {outsideUserns(denial("do_mount")), map[Class][]uint64{Tolerated: {1, 1}, Denied: {1, 1, 2}}},
	} {
		t.Run(name, func(t *testing.T) {
			got := make(map[Class][]uint64)
			for _, outcome := range Outcomes(test.check) {
				got[outcome.Class] = append(got[outcome.Class], outcome.Count)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func outsideUserns(check monitor.Check) monitor.Check {
	check.Answer = monitor.OutsideUserns
	return check
}
