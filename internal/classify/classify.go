// Package classify determines the class of a capability check: whether the workload needs the capability, or the check
// does not matter.
package classify

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/kernel"
	"github.com/capmon/capmon/monitor"
)

// Class is the meaning of a check. Each check has exactly one class.
type Class string

// The classes. Only Required, Implicit, Soft and LongSetup are needs.
const (
	// Required means that the check was granted from the container's own set, and that a denial would have been an
	// error for the caller.
	Required Class = "required"
	// Soft means that the check was granted, and that a denial would have changed the result without an error.
	Soft Class = "soft"
	// Implicit means that the kernel made no check for the capability, but the operation fails without it: the kernel
	// read the bits of a credential directly, or the seccomp profile allows the system call only with the capability.
	Implicit Class = "implicit"
	// LongSetup means that the check would be Required, Soft or Implicit, but was made in a runtime setup that has
	// taken longer than container runtimes need. A workload may hide there.
	LongSetup Class = "long-setup"
	// Redundant means that the answer did not matter: the kernel allows the operation without the capability.
	Redundant Class = "redundant"
	// Irrelevant means that the answer changes nothing that the workload can observe.
	Irrelevant Class = "irrelevant"
	// Denied means that the check was denied. A granted check would have been Required, Implicit, Soft or LongSetup.
	Denied Class = "denied"
	// Tolerated means that the check was denied, but the kernel accepted another capability or the system call
	// succeeded.
	Tolerated Class = "tolerated"
	// NestedUserns means that a user namespace that the workload made decided the check.
	NestedUserns Class = "nested-userns"
	// OtherCredential means that the check did not use the task's own credential.
	OtherCredential Class = "other-credential"
	// Setup means that the container runtime made the check before the workload's first instruction.
	Setup Class = "setup"
)

// Classes returns all classes, needs first.
func Classes() []Class {
	return []Class{Required, Implicit, Soft, LongSetup, Denied, Tolerated, Redundant, Irrelevant, NestedUserns, OtherCredential, Setup}
}

// formerNames maps the names of classes in profiles and databases of schema 1 to the present names.
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

// Needs returns the classes that put their capability on the list.
func Needs() []Class { return []Class{Required, Implicit, Soft, LongSetup} }

// Need reports whether a check of this class puts its capability on the list.
func (c Class) Need() bool { return slices.Contains(Needs(), c) }

// Verdict is the class of a check and the reason for it.
type Verdict struct {
	Class Class
	// Reason is a phrase that explains the class. For Soft it states what a denial changes. It may be empty for
	// Required and Denied.
	Reason string
	// Unsure is the reason why capmon could not determine the class and chose the cautious one. It is empty if the
	// class is certain.
	Unsure string
	// Site is the call site, "" if it is not known.
	Site string
	// Alternative is another capability that the kernel would have accepted, nil if there is none. Only needs have one.
	Alternative *capability.Capability
}

// longSetup is the reason why a need from a long runtime setup is unsure.
var longSetup = fmt.Sprintf("checked after more than %v of runtime setup: a container runtime needs less time, so a workload may hide there", monitor.SetupTime)

// applyPhase changes the class of a need to LongSetup if the check was made in a long runtime setup.
func (v *Verdict) applyPhase(check monitor.Check) {
	if check.Phase == monitor.LongSetup && v.Class.Need() {
		v.Class, v.Unsure = LongSetup, longSetup
	}
}

const coarse = "the container has more kinds of check than capmon records, so the system call and its arguments are not known"

// Classify returns the verdict on a check.
func Classify(check monitor.Check) Verdict {
	site, _ := kernel.CallSite(check.Stack)
	verdict := class(check)
	verdict.Site = site
	verdict.applyPhase(check)
	if verdict.Class.Need() {
		verdict.Alternative = alternative(check)
		verdict.Unsure = cmp.Or(verdict.Unsure, beyondSharedLimit(site))
		if check.Folding == monitor.Coarse && verdict.Unsure == "" {
			verdict.Unsure = coarse
		}
	}
	return verdict
}

// class tests first the conditions that decide independently of the call site.
func class(check monitor.Check) Verdict {
	switch {
	case check.Phase == monitor.Setup:
		return Verdict{Class: Setup, Reason: "checked by the container runtime before the workload's first instruction"}
	case check.Credential == monitor.OverriddenCredential:
		return Verdict{Class: OtherCredential, Reason: "the kernel had overridden the task's credentials (override_creds)"}
	case check.Credential == monitor.OtherCredential:
		return Verdict{Class: OtherCredential, Reason: "the credential was that of another task or of the process that opened the file"}
	case check.Credential == monitor.UncertainCredential && !check.Answer.Granted():
		return Verdict{Class: OtherCredential, Reason: "the credential may be that of another task, and did not have the capability"}
	case check.Credential == monitor.UncertainCredential && overrides(check.Stack):
		return Verdict{Class: OtherCredential, Reason: "the kernel had overridden the task's credentials (override_creds)"}
	case check.Nested:
		return Verdict{Class: NestedUserns, Reason: "checked in a user namespace that the workload made"}
	case check.ExceedsGrant:
		return Verdict{Class: OtherCredential, Reason: "checked for a process with more privileges than the container, such as a process of docker exec --privileged"}
	case check.Answer == monitor.OwnsUserns:
		return Verdict{Class: NestedUserns, Reason: "granted because the workload owns the user namespace of the check"}
	}
	verdict := byCallSite(check)
	if verdict.Class.Need() && verdict.Unsure == "" {
		verdict.Unsure = unsureReason(check)
	}
	return verdict
}

// unsureReason returns the reason why a need may not be a need of the container; empty if it certainly is one.
func unsureReason(check monitor.Check) string {
	switch {
	case check.MayExceedGrant:
		return "the process may have had more privileges than the container: the container was already running when capmon began, and its grants are not known"
	case check.Credential == monitor.UncertainCredential:
		return "the credential may be that of another task: it shares neither the groups nor the session keyring with the process or the container"
	}
	return ""
}

// byCallSite returns the verdict of the row for the call site, and of the condition that the kernel evaluated there.
func byCallSite(check monitor.Check) Verdict {
	row, known := find(check)
	condition := monitor.Untested
	if optional := check.Condition == monitor.Optional; optional && row.Optional != "" || !optional && row.NoEffect != "" {
		condition = check.Condition
	}
	switch {
	case known && row.Class == Irrelevant:
		return Verdict{Class: Irrelevant, Reason: row.Reason}
	case condition == monitor.NoEffect && keepsAll(check):
		return Verdict{Class: Redundant, Reason: CapsetKeptAll}
	case condition == monitor.NoEffect:
		return Verdict{Class: Redundant, Reason: row.NoEffect}
	case !check.Answer.Granted():
		return denied(check, row)
	case condition == monitor.ChangesResult && row.ChangesResult != "":
		return Verdict{Class: Soft, Reason: row.ChangesResult}
	case known && row.Class == Soft:
		return Verdict{Class: Soft, Reason: row.Reason}
	case condition == monitor.Matters:
		return Verdict{Class: Required}
	case condition == monitor.Optional:
		return Verdict{Class: Required, Unsure: row.Optional}
	case known && row.Class == Required:
		return Verdict{Class: Required, Unsure: row.Reason}
	case len(check.Stack) == 0:
		return Verdict{Class: Required, Unsure: "the call site is not known"}
	}
	return Verdict{Class: Required}
}

func denied(check monitor.Check, row Row) Verdict {
	if check.Answer == monitor.OutsideUserns {
		return Verdict{Class: Denied, Reason: "the process has it, but it was checked in the host's user namespace: no --cap-add can help"}
	}
	switch {
	case row.NoEffect != "" && check.Condition == monitor.ChangesResult:
		return Verdict{Class: Denied, Reason: row.ChangesResult}
	case row.Class == Soft:
		return Verdict{Class: Denied, Reason: row.Reason}
	}
	return Verdict{Class: Denied}
}

// String returns the verdict as text for logs and test failures.
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
