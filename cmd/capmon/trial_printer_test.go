package main

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/verify"
)

func TestTrialProgress(t *testing.T) {
	t.Parallel()
	const chown, kill, raw = capability.Chown, capability.Kill, capability.NetRaw
	list := capability.Of(chown, kill, raw)
	without := func(cs ...capability.Capability) profile.Trial {
		return profile.Trial{Set: list.Minus(capability.Of(cs...)), Without: capability.Of(cs...)}
	}
	done := func(trial profile.Trial, number int, same bool, outcomes ...string) profile.Trial {
		trial.Number, trial.Same, trial.Outcomes = number, same, outcomes
		return trial
	}
	var out bytes.Buffer
	printer := newTrialPrinter(&out, &out)
	var options verify.Options
	printer.register(&options)
	status := func(want string) {
		t.Helper()
		if diff := cmp.Diff(want, printer.status(printer.begun.Add(102*time.Second))); diff != "" {
			t.Error(diff)
		}
	}

	status("preparing the first trial, 1m42s")
	own := profile.Trial{Original: true}
	options.BeforeTrial(own)
	status("trial 1 of about 2, 1m42s: under its own flags")
	options.SlowTrial(own, 30*time.Second, 5*time.Minute)
	options.AfterTrial(done(own, 1, true, "exit status 0"))
	options.BeforeTrial(profile.Trial{Set: list})
	status("trial 2 of about 2, 1m42s: with CHOWN, KILL, NET_RAW")
	options.AfterTrial(done(profile.Trial{Set: list}, 2, true, "exit status 0"))
	status("2 of about 6 trials done, 1m42s")
	options.BeforeTrial(without(kill))
	options.BeforeTrial(without(kill)) // again, because the host may have decided it
	options.BeforeTrial(without(raw))
	options.BeforeTrial(without(chown))
	status("trial 3 of about 6, 1m42s: without KILL and 2 other trials at the same time")
	options.AfterTrial(done(without(raw), 3, false, "exit status 1", "exit status 1"))
	status("trial 4 of about 6, 1m42s: without KILL and 1 other trial at the same time; fails without NET_RAW")
	options.AfterTrial(done(without(kill), 4, true, "exit status 0"))
	options.AfterTrial(done(without(chown), 5, false, "exit status 0", "exit status 1")) // it proves nothing
	options.BeforeTrial(without(kill, chown))
	status("trial 6 of about 6, 1m42s: without CHOWN, KILL; fails without NET_RAW; works without KILL")
	options.AfterTrial(done(without(kill, chown), 6, false, "exit status 1"))
	options.BeforeTrial(without(kill))
	status("trial 7 of about 7, 1m42s: again, without KILL; fails without NET_RAW; works without KILL")
	options.Note("the outcome is \x1b[2J")

	const want = `capmon: under its own flags: still running after 30s; verify ends it after 5m0s
capmon:  1  under its own flags: exit status 0
capmon:  2  with CHOWN, KILL, NET_RAW: exit status 0, as before
capmon:  3  without NET_RAW: exit status 1, exit status 1
capmon:  4  without KILL: exit status 0, as before
capmon:  5  without CHOWN: exit status 0, exit status 1
capmon:  6  without CHOWN, KILL: exit status 1
capmon: note: the outcome is \x1b[2J
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}
