package profile

import (
	"bytes"
	"cmp"
	"encoding/json"
	"slices"
	"time"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/classify"
)

// Verdict is the result of leaving a capability out.
type Verdict string

// The verdicts.
const (
	Needed   Verdict = "proved needed"
	Unneeded Verdict = "proved unneeded"
	Unsure   Verdict = "unsure"
)

// Proof is the result of running a container's workload repeatedly, each time with fewer capabilities.
type Proof struct {
	// ID is unique among all proofs.
	ID string `json:"id"`
	Recorder
	Time      time.Time `json:"time"`
	Container Container `json:"container"`
	// Command is the docker run or docker compose up command line. It lacks the arguments of the container's program,
	// and values that may be secret, such as the values of --env. Service is the service of docker compose up. Test is
	// the shell command that decided whether a trial succeeded. Without a test, the workload's exit status decided.
	Command []string `json:"command"`
	Service string   `json:"service,omitempty"`
	Test    string   `json:"test,omitempty"`
	// Repeat is the number of runs of each set.
	Repeat int `json:"repeat"`
	// SecondStart: each container, or another one with the same volumes, was started a second time.
	SecondStart bool `json:"secondStart,omitempty"`
	// Observed is the list to prove, from the profile.
	Observed capability.Set `json:"observed"`
	// Enough: with Observed alone, the outcome was the same as with the original flags, and the kernel denied no
	// capability that it had not denied with these flags.
	Enough bool `json:"enough"`
	// Set is the proposed set. Works: verify tried Set, twice unless it was interrupted, and the outcome was the same
	// as with the original flags. Minimal: Works is true, and no member can be left out.
	Set     capability.Set `json:"set"`
	Works   bool           `json:"works"`
	Minimal bool           `json:"minimal"`
	// Reasons why Enough, Works or Minimal is false; empty if all are true.
	Reasons []string `json:"reasons,omitempty"`
	// Members has an entry for each capability that was left out or added.
	Members []Member `json:"members"`
	Trials  []Trial  `json:"trials"`
}

// Member is one capability and the result of leaving it out.
type Member struct {
	Capability capability.Capability `json:"capability"`
	// Class is the class of its use: required, implicit or soft; empty if no use was observed.
	Class   classify.Class `json:"class,omitempty"`
	Verdict Verdict        `json:"verdict"`
	// InsteadOf is the wider capability that Capability replaces; nil if there is none.
	InsteadOf *capability.Capability `json:"insteadOf,omitempty"`
	// Trial is the number of the trial that shows the verdict; 0 if the capability was not tried.
	Trial int `json:"trial,omitempty"`
}

// Trial is the result of running a set of capabilities Repeat times.
type Trial struct {
	Number int `json:"number"`
	// Original: the trial used the flags as given, not Set.
	Original bool           `json:"original,omitempty"`
	Set      capability.Set `json:"set"`
	// Without are the capabilities of the list that are not in Set.
	Without capability.Set `json:"without"`
	// With are the capabilities of Set that are not in the list.
	With capability.Set `json:"with"`
	// Same: every run had the outcome of the original flags.
	Same bool `json:"same"`
	// Outcomes of the runs, such as "exit status 1".
	Outcomes []string `json:"outcomes"`
	Seconds  float64  `json:"seconds"`
	// DeniedChecks are the checks that the kernel denied. Denied are their capabilities.
	DeniedChecks []UsePattern   `json:"deniedChecks,omitempty"`
	Denied       capability.Set `json:"denied"`
	// Stderr is the last line that a run with another outcome wrote.
	Stderr string `json:"stderr,omitempty"`
}

// UnmarshalJSON reads a trial. It accepts the name that schema 1 used for DeniedChecks.
func (t *Trial) UnmarshalJSON(data []byte) error {
	type plain Trial // without this method
	former := struct {
		*plain
		Refused []UsePattern `json:"refused"`
	}{plain: (*plain)(t)}
	if err := json.Unmarshal(data, &former); err != nil {
		return err
	}
	if t.DeniedChecks == nil {
		t.DeniedChecks = former.Refused
	}
	return nil
}

// TrialNumber returns the trial with the number.
func (p Proof) TrialNumber(number int) (Trial, bool) {
	i := slices.IndexFunc(p.Trials, func(t Trial) bool { return t.Number == number })
	if i < 0 || number == 0 {
		return Trial{}, false
	}
	return p.Trials[i], true
}

// tried returns the capabilities that the proof covers.
func (p Proof) tried() capability.Set {
	var set capability.Set
	for _, member := range p.Members {
		set = set.With(member.Capability)
	}
	return set
}

// mergeProofs returns each proof once, oldest first.
func mergeProofs(profiles []Profile) []Proof {
	proofs := make(map[string]Proof)
	for _, p := range profiles {
		for _, proof := range p.Proofs {
			if known, ok := proofs[proof.ID]; !ok || compareProofs(proof, known) > 0 {
				proofs[proof.ID] = proof
			}
		}
	}
	var merged []Proof
	for _, proof := range proofs {
		merged = append(merged, proof)
	}
	slices.SortFunc(merged, compareProofs)
	return merged
}

// compareProofs is a total order. If two proofs have the same ID, the order of merging must not matter.
func compareProofs(one, other Proof) int {
	if order := cmp.Or(one.Time.Compare(other.Time), cmp.Compare(one.ID, other.ID)); order != 0 {
		return order
	}
	oneText, _ := json.Marshal(one)
	otherText, _ := json.Marshal(other)
	return bytes.Compare(oneText, otherText)
}
