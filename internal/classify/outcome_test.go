package classify

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/kernel"
	"github.com/capmon/capmon/monitor"
)

// refusal of CHOWN, six times, of which one of each outcome is known.
func refusal(stack ...string) monitor.Check {
	return monitor.Check{
		Capability: capability.Chown, Answer: monitor.Missing, Subject: monitor.Own, Phase: monitor.Workload,
		Call: kernel.Call{Arch: kernel.NativeArch(), Nr: -1}, Stack: stack,
		Count: 6, Overruled: 1, Succeeded: 1, Forbidden: 1, Failed: 1,
	}
}

func TestOutcomes(t *testing.T) {
	granted := refusal("setattr_prepare")
	granted.Answer, granted.Overruled, granted.Succeeded, granted.Forbidden, granted.Failed = monitor.Held, 0, 0, 0, 0
	soft := refusal("setattr_prepare")
	soft.Capability = capability.Fsetid
	soft.Condition = monitor.Silent
	unreadable := soft
	unreadable.Condition = monitor.Unreadable
	user := unreadable
	user.Capability, user.Stack = capability.Setuid, []string{"__sys_setuid"}
	many := refusal("check_kill_permission", "kill_something_info")
	many.Capability = capability.Kill
	for nr := range 512 {
		if many.Call.Nr = nr; many.Call.Name() == "kill" {
			break
		}
	}
	racing := refusal("setattr_prepare")
	racing.Count, racing.Succeeded = 1, 2 // counted while it was read

	for name, test := range map[string]struct {
		check monitor.Check
		want  map[Class][]uint64
	}{
		"each apart":                            {refusal("setattr_prepare"), map[Class][]uint64{Tolerated: {1, 1}, Denied: {1, 1, 2}}},
		"granted":                               {granted, map[Class][]uint64{Required: {6}}},
		"the answer is a message":               {refusal("rtnetlink_rcv_msg", "netlink_rcv_skb"), map[Class][]uint64{Tolerated: {1}, Denied: {5}}},
		"a success with another result":         {soft, map[Class][]uint64{Tolerated: {1}, Denied: {5}}},
		"a success with perhaps another result": {unreadable, map[Class][]uint64{Tolerated: {1}, Denied: {5}}},
		"a success with the saved id left":      {user, map[Class][]uint64{Tolerated: {1}, Denied: {5}}},
		"one of many was reached":               {many, map[Class][]uint64{Tolerated: {1}, Denied: {5}}},
		"put off until the return":              {refusal("may_open", "task_work_run"), map[Class][]uint64{Tolerated: {1}, Denied: {5}}},
		"never more than there are":             {racing, map[Class][]uint64{Tolerated: {1}}},
		"asked for the host's user namespace":   {beyond(refusal("do_mount")), map[Class][]uint64{Tolerated: {1, 1}, Denied: {1, 1, 2}}},
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

func beyond(check monitor.Check) monitor.Check {
	check.Answer = monitor.Beyond
	return check
}
