// Package classify tells what a capability check means: whether the workload
// needs the capability, or the kernel merely asked.
package classify

import (
	"fmt"
	"slices"

	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/kernel"
	"github.com/capmon/capmon/monitor"
)

// Class is the meaning of a check. Each check has exactly one.
type Class string

// The classes. Only Required, Demanded, Soft and LongSetup are needs.
const (
	// Required: granted from the container's own set, and a refusal would have
	// been an error to the caller.
	Required Class = "required"
	// Soft: granted, and a refusal would have changed the result without an error.
	Soft Class = "soft"
	// Implicit: never asked about by a check, but read straight from a credential's
	// bits, where a missing one is an error.
	Implicit Class = "implicit"
	// LongSetup: one of the above, made in a runtime setup that has taken longer than a
	// container runtime takes. It may be a workload that hides as the runtime.
	LongSetup Class = "long-setup"
	// Redundant: granted, but the caller would have been allowed anyway.
	Redundant Class = "redundant"
	// Irrelevant: the answer changes nothing that the workload can observe.
	Irrelevant Class = "irrelevant"
	// Denied: refused, and it would have been one of the above.
	Denied Class = "denied"
	// Tolerated: refused, and the system call succeeded all the same.
	Tolerated Class = "tolerated"
	// NestedUserns: decided by a user namespace that the workload made itself.
	NestedUserns Class = "nested-userns"
	// OtherCredential: the credential asked was not the task's.
	OtherCredential Class = "other-credential"
	// Setup: made by the container runtime before the workload's first instruction.
	Setup Class = "setup"
)

// Classes lists all classes, needs first.
func Classes() []Class {
	return []Class{Required, Implicit, Soft, LongSetup, Denied, Tolerated, Redundant, Irrelevant, NestedUserns, OtherCredential, Setup}
}

// formerNames maps names of classes in profiles of schema 1 and databases of schema 1 to the present ones.
var formerNames = map[Class]Class{"demanded": Implicit, "own-namespace": NestedUserns, "borrowed": OtherCredential}

// UnmarshalText reads the name of a class. It translates the names that schema 1 of profiles and databases
// used. It accepts unknown names: a later capmon may have more classes.
func (c *Class) UnmarshalText(text []byte) error {
	*c = Class(text)
	if name, ok := formerNames[*c]; ok {
		*c = name
	}
	return nil
}

// Needs lists the classes that put their capability in the list.
func Needs() []Class { return []Class{Required, Implicit, Soft, LongSetup} }

// Need reports whether a check of this class puts its capability in the list.
func (c Class) Need() bool { return slices.Contains(Needs(), c) }

// Verdict is the class of a check and why it has it.
type Verdict struct {
	Class Class
	// Reason says in a sentence what decided, or for Soft what a refusal changes.
	// It may be empty for Required and Denied.
	Reason string
	// Unsure says why the class is the cautious one and not a certain one; empty
	// if the class is certain.
	Unsure string
	// Site is the kernel function that asked, "" if it is not known.
	Site string
	// Alternative is another capability with which the kernel would have been
	// content, nil if there is none. Only needs have one.
	Alternative *capability.Capability
}

// longSetup is why a need of a long runtime setup is not certain to be the workload's.
var longSetup = fmt.Sprintf("asked after more than %v of runtime setup: a container runtime takes less, so the workload may be hiding there", monitor.SetupTime)

// notePhase has a need of a long runtime setup be one of that class.
func (v *Verdict) notePhase(check monitor.Check) {
	if check.Phase == monitor.LongSetup && v.Class.Need() {
		v.Class, v.Unsure = LongSetup, longSetup
	}
}

const coarse = "the container made more patterns of use than capmon records, so the system call and its arguments are not known"

// Classify tells what a check means.
func Classify(check monitor.Check) Verdict {
	site, _ := kernel.CallSite(check.Stack)
	verdict := class(check)
	verdict.Site = site
	verdict.notePhase(check)
	if verdict.Class.Need() {
		verdict.Alternative = alternative(check)
		if check.Folding == monitor.Coarse && verdict.Unsure == "" {
			verdict.Unsure = coarse
		}
	}
	return verdict
}

// class goes from what settles the matter at once to what has to be looked up.
func class(check monitor.Check) Verdict {
	switch {
	case check.Phase == monitor.Setup:
		return Verdict{Class: Setup, Reason: "the container runtime asked, before the workload's first instruction"}
	case check.Subject == monitor.Overridden:
		return Verdict{Class: OtherCredential, Reason: "the kernel had put on another credential for a moment"}
	case check.Subject == monitor.Other:
		return Verdict{Class: OtherCredential, Reason: "the credential asked was of another task or of whoever opened the file"}
	case check.Subject == monitor.Uncertain && !check.Answer.Granted():
		return Verdict{Class: OtherCredential, Reason: "the credential asked was perhaps of another task, and did not hold it"}
	case check.Subject == monitor.Uncertain && overrides(check.Stack):
		return Verdict{Class: OtherCredential, Reason: "the kernel had put on another credential for a moment"}
	case check.Nested:
		return Verdict{Class: NestedUserns, Reason: "asked in a user namespace that the workload made"}
	case check.Beyond:
		return Verdict{Class: OtherCredential, Reason: "made by an exec with more privileges than the container has"}
	case check.Answer == monitor.Owner:
		return Verdict{Class: NestedUserns, Reason: "granted because the workload owns the user namespace asked about"}
	}
	verdict := byMeaning(check)
	if verdict.Class.Need() && verdict.Unsure == "" {
		verdict.Unsure = doubt(check)
	}
	return verdict
}

// doubt says why a need may not be the container's; empty if it is.
func doubt(check monitor.Check) string {
	switch {
	case check.MayBeBeyond:
		return "its process may have had more privileges than the container, which ran before capmon began and whose grant is not known"
	case check.Subject == monitor.Uncertain:
		return "the credential asked may be another's: it has neither the groups nor the session keyring of the process or the container"
	}
	return ""
}

func byMeaning(check monitor.Check) Verdict {
	row, known := find(check)
	condition := monitor.Untested
	if optional := check.Condition == monitor.Optional; optional && row.Optional != "" || !optional && row.Moot != "" {
		condition = check.Condition
	}
	switch {
	case known && row.Class == Irrelevant:
		return Verdict{Class: Irrelevant, Reason: row.Reason}
	case condition == monitor.Moot && keepsAll(check):
		return Verdict{Class: Redundant, Reason: KeptAll}
	case condition == monitor.Moot:
		return Verdict{Class: Redundant, Reason: row.Moot}
	case !check.Answer.Granted():
		return denied(check, row)
	case condition == monitor.Silent && row.Silent != "":
		return Verdict{Class: Soft, Reason: row.Silent}
	case known && row.Class == Soft:
		return Verdict{Class: Soft, Reason: row.Reason}
	case condition == monitor.Matters:
		return Verdict{Class: Required}
	case condition == monitor.Optional:
		return Verdict{Class: Required, Unsure: row.Optional}
	case known && row.Class == Required:
		return Verdict{Class: Required, Unsure: row.Reason}
	case len(check.Stack) == 0:
		return Verdict{Class: Required, Unsure: "the kernel function that asked is not known"}
	}
	return Verdict{Class: Required}
}

func denied(check monitor.Check, row Row) Verdict {
	if check.Answer == monitor.Beyond {
		return Verdict{Class: Denied, Reason: "held, but asked for the host's user namespace: no --cap-add can help"}
	}
	switch {
	case row.Moot != "" && check.Condition == monitor.Silent:
		return Verdict{Class: Denied, Reason: row.Silent}
	case row.Class == Soft:
		return Verdict{Class: Denied, Reason: row.Reason}
	}
	return Verdict{Class: Denied}
}

// String renders a verdict for logs and test failures.
func (v Verdict) String() string {
	s := string(v.Class)
	if v.Site != "" {
		s += " in " + v.Site
	}
	if v.Reason != "" {
		s += ": " + v.Reason
	}
	if v.Unsure != "" {
		s = fmt.Sprintf("%s (unsure: %s)", s, v.Unsure)
	}
	return s
}
