package usewatch

import (
	"context"
	"strings"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/observe"
	"github.com/capmon/capmon/internal/uses"
	"github.com/capmon/capmon/monitor"
)

// useKey identifies a pattern of use of a container.
type useKey struct {
	capability          capability.Capability
	class               classify.Class
	granted, nested     bool
	family              uses.RawSocket
	program, call, site string
}

// keyOf returns the pattern of a use.
func keyOf(use uses.Use) useKey {
	call, _, _ := strings.Cut(use.Call, "(")
	return useKey{use.Capability, use.Class, use.Granted, use.Nested, use.Family, use.Process.Program, call, use.Site}
}

// classifiedUse is a capability that a check needs, or that its system call needs implicitly, with its verdict.
type classifiedUse struct {
	capability capability.Capability
	granted    bool
	verdict    classify.Verdict
	implicit   bool // another capability than that of the check
}

// classifiedUses returns the classified uses of a check: its own, and the implicit needs of its system call. If only
// some of its denials mattered, the result has the verdict of these denials.
func classifiedUses(check monitor.Check) []classifiedUse {
	outcomes := classify.Outcomes(check)
	verdict := outcomes[0].Verdict
	for _, outcome := range outcomes {
		if outcome.Class == classify.Denied {
			verdict = outcome.Verdict
			break
		}
	}
	return append([]classifiedUse{{check.Capability, check.Answer.Granted(), verdict, false}}, implicitUses(check)...)
}

// implicitUses returns the implicit needs of the system call of a check.
func implicitUses(check monitor.Check) (all []classifiedUse) {
	for _, need := range classify.ImplicitNeeds(check) {
		for _, c := range need.Capabilities.Sorted() {
			all = append(all, classifiedUse{c, need.Class != classify.Denied, need.Verdict, true})
		}
	}
	return all
}

// usesOf returns the uses that a check stands for.
func usesOf(distinct observe.DistinctCheck, check monitor.Check) []uses.Use {
	var all []uses.Use
	for _, classified := range classifiedUses(check) {
		use := newUse(distinct.ID, check, classified)
		use.Time, use.Late, use.First, use.Count, use.Process = check.First, distinct.Late, true, 1, process(distinct)
		all = append(all, use)
	}
	return all
}

// newUse returns a use with what the kernel's key of the check has.
func newUse(id string, check monitor.Check, classified classifiedUse) uses.Use {
	use := uses.Use{
		Schema:     uses.Schema,
		Container:  uses.ContainerRef{ID: id},
		Capability: classified.capability,
		Class:      classified.verdict.Class,
		Granted:    classified.granted,
		Nested:     check.Nested,
		Call:       check.Call.String(),
		Site:       classified.verdict.Site,
		Stack:      append([]string{}, check.Stack...), // in JSON never null
		Reason:     classified.verdict.Reason,
		Unsure:     classified.verdict.Unsure,
	}
	if !classified.implicit {
		use.Family = uses.RawSocketOf(check.Capability, check.Stack)
		use.RawSocket = use.Family != ""
	}
	return use
}

func process(distinct observe.DistinctCheck) uses.Process {
	check := distinct.Check
	p := uses.Process{
		PID: check.PID, InnerPID: check.InnerPID, Program: check.Program, Others: check.Folding != monitor.Unfolded, Executable: distinct.Executable,
		User: &check.UID, Parents: []uses.Parent{}, MoreParents: check.MoreParents,
	}
	for _, parent := range check.Parents {
		p.Parents = append(p.Parents, uses.Parent(parent))
	}
	return p
}

// Identify returns what the engine reports about a container before ctx ends.
func Identify(ctx context.Context, observer *observe.Observer, cgroup uint64, id string) uses.ContainerRef {
	info, identified := observer.Identify(ctx, cgroup, id)
	return describe(observer, info, identified)
}

func describe(observer *observe.Observer, info container.Info, identified bool) uses.ContainerRef {
	return uses.ContainerRef{
		ID: info.ID, Unidentified: !identified, Unconfirmed: info.Unconfirmed, Name: info.Name, Image: info.Image, ImageID: info.ImageID,
		Labels: observer.ShownLabels(info.Labels), EngineLabels: info.Labels,
	}
}
