package verify

import (
	"context"
	"fmt"
	"strings"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/profile"
)

// search runs the search and fills in the proof.
func (t *trials) search(ctx context.Context, proof *profile.Proof, original attempt, s profile.Summary) error {
	if !original.Same {
		t.giveUp(proof, s, "under its own flags the outcome is not the same each time: "+strings.Join(original.Outcomes, ", "))
		return nil
	}
	t.list = proof.Observed
	start := proof.Observed
	first, err := t.try(ctx, &start)
	if err != nil {
		return err
	}
	missing := newlyDenied(first, original.Denied)
	proof.Enough = first.outcome() == Same && missing.Empty()
	if !proof.Enough {
		reason := notEnough(first, missing)
		if first.doubt != "" {
			reason += fmt.Sprintf("; this is not certain: %s, and %d runs had this outcome: run verify again when the host is less busy", first.doubt, hostRepeats+1)
		}
		granted, _ := s.Grants.Union(grantsOf(original)).Set()
		if !t.options.KeepGoing {
			t.giveUp(proof, s, reason+"; to search for the missing capabilities among all granted ones, use --keep-going")
			return nil
		}
		start = granted.Union(proof.Observed)
		if again, err := t.try(ctx, &start); err != nil || again.outcome() != Same {
			t.giveUp(proof, s, reason+", and the outcome differs also with all granted capabilities together")
			return err
		}
		proof.Reasons = append(proof.Reasons, reason)
		t.list = start
	}
	found, err := Minimize(ctx, t.run, t.request(start, s))
	if err != nil && ctx.Err() == nil {
		return err
	}
	return t.conclude(ctx, proof, found, s)
}

// grantsOf returns the grants of the workload under its own flags.
func grantsOf(original attempt) profile.Grants {
	for _, run := range original.results[0].runs {
		return run.Grants
	}
	return profile.Grants{} // the container was never started
}

// request returns the search to run. Without a test, it keeps the capabilities whose absence the exit status does not
// show: a denied soft need is not an error.
func (t *trials) request(start capability.Set, s profile.Summary) Search {
	search := Search{Start: start, Narrower: func(set capability.Set, wide capability.Capability) capability.Set {
		narrower := t.narrower(set.Without(wide), wide)
		if observed, ok := s.Advised(wide); ok {
			narrower = narrower.With(observed)
		}
		return narrower
	}}
	if t.options.Test == "" {
		search.Keep = s.Soft()
	}
	return search
}

// narrower returns the narrower capabilities to try in place of a wide one. They are capabilities that the kernel
// denied in the trial without the wide one, that it may check in its place, and that are not more dangerous. The
// observation alone does not show them: the kernel may have granted the wide one before it would have checked another.
func (t *trials) narrower(without capability.Set, wide capability.Capability) capability.Set {
	trial, _ := profile.Proof{Trials: t.done}.TrialNumber(t.lastTrial(without))
	var narrower capability.Set
	for _, c := range trial.Denied.Sorted() {
		if classify.Advised(c, wide) {
			narrower = narrower.With(c)
		}
	}
	return narrower
}

// conclude runs the set found once more and records the verdicts. If ctx ends, it records the verdicts that are known
// until then.
func (t *trials) conclude(ctx context.Context, proof *profile.Proof, found Found, s profile.Summary) error {
	proof.Set = found.Set
	proof.Works = true
	if len(found.Verdicts) > 0 && ctx.Err() == nil {
		last, err := t.try(ctx, &found.Set)
		if err != nil && ctx.Err() == nil {
			return err
		}
		if err == nil && last.outcome() != Same {
			t.giveUp(proof, s, fmt.Sprintf("%s worked in one run and failed in a later one: %s; the workload does not behave the same each time: --repeat N runs each list N times", name(found.Set), last.Outcomes[0]))
			return nil
		}
	}
	interrupted := ctx.Err()
	proof.Minimal = interrupted == nil
	var untried capability.Set
	for _, c := range found.Set.Union(proof.Observed).Sorted() {
		verdict, ok := found.Verdicts[c]
		if !ok {
			continue
		}
		member := profile.Member{Capability: c, Class: classOf(s, c), Verdict: verdict, Trial: t.lastTrial(found.Shown[c])}
		if wide, ok := found.InsteadOf[c]; ok {
			member.InsteadOf = &wide
		}
		proof.Members = append(proof.Members, member)
		switch {
		case verdict == profile.Unsure && member.Trial == 0:
			untried = untried.With(c)
		case verdict == profile.Unsure:
			proof.Minimal = false
			proof.Reasons = append(proof.Reasons, t.unsureReason(member))
		}
	}
	switch {
	case !untried.Empty():
		proof.Reasons = append(proof.Reasons, "interrupted: not tried without "+untried.Text())
	case interrupted != nil:
		proof.Reasons = append(proof.Reasons, "interrupted before everything was tried")
	}
	return interrupted
}

// unsureReason returns why a capability stays although it may not be needed.
func (t *trials) unsureReason(m profile.Member) string {
	trial, _ := profile.Proof{Trials: t.done}.TrialNumber(m.Trial)
	if trial.Same {
		return fmt.Sprintf("%s is kept: a denial changes the result without an error, so only a --test COMMAND that checks the result can decide", m.Capability)
	}
	if doubt := t.doubts[m.Trial]; doubt != "" {
		return fmt.Sprintf("%s is kept: without it the outcome differs, but %s: run verify again when the host is less busy", m.Capability, doubt)
	}
	return fmt.Sprintf("%s is kept: without it the outcome is not the same each time: %s", m.Capability, strings.Join(trial.Outcomes, ", "))
}

// giveUp sets the proof to the observed list, with nothing proved.
func (t *trials) giveUp(proof *profile.Proof, s profile.Summary, reason string) {
	proof.Set, proof.Works, proof.Minimal, proof.Members = proof.Observed, false, false, nil
	proof.Reasons = append(proof.Reasons, reason)
	for _, c := range proof.Observed.Sorted() {
		proof.Members = append(proof.Members, profile.Member{Capability: c, Class: classOf(s, c), Verdict: profile.Unsure})
	}
}

func classOf(s profile.Summary, c capability.Capability) classify.Class {
	switch {
	case s.Required().Has(c):
		return classify.Required
	case s.Implicit().Has(c):
		return classify.Implicit
	case s.Soft().Has(c):
		return classify.Soft
	}
	return ""
}

// newlyDenied returns the capabilities that the kernel denied under the list, but not under the original flags. If the
// kernel checks a narrow capability before a wide one that is in the list, the denial of the narrow one means nothing.
func newlyDenied(first attempt, before capability.Set) capability.Set {
	missing := first.Denied.Minus(before)
	for _, c := range missing.Sorted() {
		for _, wide := range first.Set.Sorted() {
			if classify.Narrower(c, wide) {
				missing = missing.Without(c)
			}
		}
	}
	return missing
}

// notEnough describes why the list is not enough.
func notEnough(first attempt, missing capability.Set) string {
	reason := "the observed list is not enough: " + strings.Join(first.Outcomes, ", ")
	if !missing.Empty() {
		reason += "; newly denied: " + missing.String()
	}
	return reason + quoted(first.Stderr)
}

func name(set capability.Set) string {
	if set.Empty() {
		return "the empty set"
	}
	return set.String()
}
