package verify

import (
	"context"
	"fmt"
	"strings"

	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/profile"
)

// search fills in the proof.
func (t *trials) search(ctx context.Context, proof *profile.Proof, original attempt, s profile.Summary) error {
	if !original.Same {
		t.giveUp(proof, s, "under its own flags it does not come out the same each time: "+strings.Join(original.Outcomes, ", "))
		return nil
	}
	t.list = proof.Observed
	start := proof.Observed
	first, err := t.try(ctx, &start)
	if err != nil {
		return err
	}
	missing := unseen(first, original.Denied)
	proof.Enough = first.outcome() == Same && missing.Empty()
	if !proof.Enough {
		reason := notEnough(first, missing)
		if first.doubt != "" {
			reason += fmt.Sprintf("; that is not sure: %s, and this came out the same %d times: run verify again when the host does less", first.doubt, hostRepeats+1)
		}
		granted, _ := s.Grants.Union(grantsOf(original)).Set()
		if !t.options.KeepGoing {
			t.giveUp(proof, s, reason+"; --keep-going searches for what is missing among all that is granted")
			return nil
		}
		start = granted.Union(proof.Observed)
		if again, err := t.try(ctx, &start); err != nil || again.outcome() != Same {
			t.giveUp(proof, s, reason+", and neither is all that is granted")
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

// grantsOf is what the workload has under its own flags.
func grantsOf(original attempt) profile.Grants {
	for _, run := range original.ended[0].runs {
		return run.Grants
	}
	return profile.Grants{} // it did not even begin to start
}

// request leaves out nothing whose absence the exit status does not tell: a soft
// need that is refused is no error.
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

// narrower are the capabilities that the kernel refused in the trial without the wide one, that it may ask
// for in place of the wide one, and that are no more dangerous. The observation alone does not show them:
// the kernel may have granted the wide one before it would have asked for another.
func (t *trials) narrower(without capability.Set, wide capability.Capability) capability.Set {
	trial, _ := profile.Proof{Trials: t.done}.TrialNumber(t.of(without))
	var narrower capability.Set
	for _, c := range trial.Denied.Sorted() {
		if classify.Advised(c, wide) {
			narrower = narrower.With(c)
		}
	}
	return narrower
}

// conclude runs the set found once more and takes down the verdicts. If ctx ends, they are those that
// are known until then.
func (t *trials) conclude(ctx context.Context, proof *profile.Proof, found Found, s profile.Summary) error {
	proof.Set = found.Set
	proof.Works = true
	if len(found.Verdicts) > 0 && ctx.Err() == nil {
		last, err := t.try(ctx, &found.Set)
		if err != nil && ctx.Err() == nil {
			return err
		}
		if err == nil && last.outcome() != Same {
			t.giveUp(proof, s, fmt.Sprintf("%s worked, and then it did not: %s; the workload is not the same each time, --repeat shows how often", name(found.Set), last.Outcomes[0]))
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
		member := profile.Member{Capability: c, Class: classOf(s, c), Verdict: verdict, Trial: t.of(found.Shown[c])}
		if wide, ok := found.InsteadOf[c]; ok {
			member.InsteadOf = &wide
		}
		proof.Members = append(proof.Members, member)
		switch {
		case verdict == profile.Unsure && member.Trial == 0:
			untried = untried.With(c)
		case verdict == profile.Unsure:
			proof.Minimal = false
			proof.Reasons = append(proof.Reasons, t.doubt(member))
		}
	}
	switch {
	case !untried.Empty():
		proof.Reasons = append(proof.Reasons, "interrupted: not tried without "+untried.Text())
	case interrupted != nil:
		proof.Reasons = append(proof.Reasons, "interrupted before all was tried")
	}
	return interrupted
}

// doubt says why a member stays although it may not be needed.
func (t *trials) doubt(m profile.Member) string {
	trial, _ := profile.Proof{Trials: t.done}.TrialNumber(m.Trial)
	if trial.Same {
		return fmt.Sprintf("%s is kept: a refusal changes the result without an error, and only --test CMD, which looks at the result, can tell", m.Capability)
	}
	if doubt := t.doubts[m.Trial]; doubt != "" {
		return fmt.Sprintf("%s is kept: without it the outcome is another one, but %s: run verify again when the host does less", m.Capability, doubt)
	}
	return fmt.Sprintf("%s is kept: without it the outcome is not the same each time: %s", m.Capability, strings.Join(trial.Outcomes, ", "))
}

// giveUp leaves the list as it was observed, with nothing proved.
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

// unseen are capabilities that were refused under the list, not under the original
// flags. Where the kernel asks for a narrow one before a wide one that is in the
// list, the refusal of the narrow one means nothing.
func unseen(first attempt, before capability.Set) capability.Set {
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

// notEnough says what the list lacks.
func notEnough(first attempt, missing capability.Set) string {
	reason := "the observed list is not enough: " + strings.Join(first.Outcomes, ", ")
	if !missing.Empty() {
		reason += "; refused, and not before: " + missing.String()
	}
	return reason + quoted(first.Stderr)
}

func name(set capability.Set) string {
	if set.Empty() {
		return "no capability at all"
	}
	return set.String()
}
