package reporttest

import (
	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/profile"
)

func withProof(p profile.Profile, proofs ...profile.Proof) profile.Profile {
	return profile.Merge(p, profile.Profile{Proofs: proofs})
}

// Proof returns the proof of a container that needs CHOWN, and DAC_READ_SEARCH instead of DAC_OVERRIDE.
func Proof(changes ...func(*profile.Proof)) profile.Proof {
	list, narrow := capability.Of(capability.Chown, capability.DACOverride), capability.Of(capability.Chown, capability.DACReadSearch)
	p := profile.Proof{
		ID: "proof", Recorder: Recorder, Time: Saturday, Container: run(1).Container, Command: []string{"docker", "run", "--name", "web", "nginx"}, Repeat: 2,
		Observed: list, Enough: true, Set: narrow, Works: true, Minimal: true,
		Members: []profile.Member{
			{Capability: capability.Chown, Class: "required", Verdict: profile.Needed, Trial: 3},
			{Capability: capability.DACOverride, Class: "required", Verdict: profile.Unneeded, Trial: 4},
			{Capability: capability.DACReadSearch, Verdict: profile.Needed, InsteadOf: ptr(capability.DACOverride), Trial: 5},
		},
		Trials: []profile.Trial{
			{Number: 1, Original: true, Same: true, Outcomes: twice("exit status 0"), Seconds: 1.5},
			{Number: 2, Set: list, Same: true, Outcomes: twice("exit status 0")},
			{
				Number: 3, Set: narrow.Without(capability.Chown), Without: list, With: capability.Of(capability.DACReadSearch),
				Outcomes: twice("exit status 1"), Denied: capability.Of(capability.Chown), Stderr: "chown: Operation not permitted",
				DeniedChecks: []profile.UsePattern{
					use(capability.Kill, classify.Denied, 1),
					use(capability.Chown, classify.Denied, 1, checked("nginx", "chown", "setattr_prepare")),
				},
			},
			{Number: 4, Set: narrow, Without: capability.Of(capability.DACOverride), With: capability.Of(capability.DACReadSearch), Same: true, Outcomes: twice("exit status 0")},
			{Number: 5, Set: capability.Of(capability.Chown), Without: capability.Of(capability.DACOverride), Outcomes: []string{"did not start", "exit status 1"}},
		},
	}
	for _, change := range changes {
		change(&p)
	}
	return p
}

func twice(outcome string) []string { return []string{outcome, outcome} }

// HostileProof returns a proof in which each text is this text.
func HostileProof(text string) profile.Proof {
	return Proof(func(p *profile.Proof) {
		p.Container.Name, p.Container.Image, p.Reasons = text, text, []string{text}
		p.Members[0].Class, p.Members[0].Verdict = classify.Class(text), profile.Verdict(text)
		p.Trials[2].Outcomes, p.Trials[2].Stderr = twice(text), text
		p.Trials[2].DeniedChecks[1].Program = text
	})
}

// Proofs returns the cases of the golden files of proofs.
func Proofs() map[string]profile.Proof {
	return map[string]profile.Proof{
		"minimal": Proof(),
		"nothing needed": Proof(func(p *profile.Proof) {
			p.Observed, p.Set, p.Members, p.SecondStart = 0, 0, nil, true
		}),
		"not what was observed": Proof(func(p *profile.Proof) {
			p.Enough, p.Reasons = false, []string{"the observed list is not enough: exit status 1"}
			p.Members[0].Class = ""
		}),
		"soft": Proof(func(p *profile.Proof) {
			p.Minimal, p.Reasons = false, []string{"CHOWN is kept: a denial changes the result without an error"}
			p.Members[0] = profile.Member{Capability: capability.Chown, Class: "soft", Verdict: profile.Unsure, Trial: 2}
		}),
		"not proved": Proof(func(p *profile.Proof) {
			p.Enough, p.Works, p.Minimal, p.Set, p.Members = false, false, false, p.Observed, []profile.Member{
				{Capability: capability.Chown, Class: "required", Verdict: profile.Unsure},
			}
			p.Reasons = []string{"the observed list is not enough: exit status 1"}
		}),
		"hostile": HostileProof(Hostile),
	}
}
