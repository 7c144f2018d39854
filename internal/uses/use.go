// Package uses tells of the uses of capabilities as they happen: each way in which a container
// uses one, the first time, and if that is wanted how often it does so later.
package uses

import (
	"context"
	"strings"
	"time"

	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/observe"
	"github.com/capmon/capmon/monitor"
)

// Schema is the version of the form in which a Use is written.
const Schema = 2

// Use is the use of a capability in one way: by a program in a container, in a system call and
// for a kernel function, granted or denied. It is the first one, or the latest of some later
// ones, or a raw socket that was open already.
type Use struct {
	// Version of the form of the line.
	Schema int `json:"schema"`
	// When the kernel asked; if it is open, when it was found. Of later uses it is that of the
	// latest with the same arguments, whatever came of it.
	Time time.Time `json:"time"`
	// Whether it was found afterwards: it came faster than it could be told, or the first one of
	// its kind did not matter.
	Late bool `json:"late"`
	// Whether it is the first of its way.
	First bool `json:"first"`
	// How many uses of its way it tells of: itself, and those since the one told before it.
	Count uint64 `json:"count"`
	// Time of the one told before it; missing if it is the first.
	Since     time.Time `json:"since,omitzero"`
	Container Container `json:"container"`
	Process   Process   `json:"process"`

	Capability capability.Capability `json:"capability"`
	// Missing if it is open: then it is not known whose capability it took.
	Class   classify.Class `json:"class,omitempty"`
	Granted bool           `json:"granted"`
	// Whether a raw socket was opened, or was to be.
	RawSocket bool `json:"rawSocket"`
	// Whether it is a raw socket that was open already when the watch began. Its Count is the
	// number of such sockets.
	Open bool `json:"open"`
	// Its family; missing if it is none.
	Family RawSocket `json:"family,omitempty"`
	// Whether it was asked in a user namespace that the workload made: then the capabilities of
	// the container did not matter.
	Nested bool `json:"nested"`
	// The system call, with the arguments that explain the need; missing if it was in none.
	Call string `json:"call,omitempty"`
	// The kernel function that asked; missing if it is not known.
	Site string `json:"site,omitempty"`
	// What led to it, innermost first.
	Stack []string `json:"stack"`
	// Why it has its class; missing if there is nothing to say.
	Reason string `json:"reason,omitempty"`
	// Why the class is the cautious one; missing if it is certain.
	Unsure string `json:"unsure,omitempty"`
}

// Container is who used it.
type Container struct {
	// Empty if the kernel side had no room for it.
	ID string `json:"id"`
	// Whether the engine has not told in time who it is; missing if it has, or has no such
	// container.
	Unidentified bool `json:"unidentified,omitempty"`
	// The cgroup, if no engine says that it is a container's: then the ID is not an engine's, whatever
	// the cgroup is named. Missing otherwise.
	Unconfirmed string `json:"unconfirmed,omitempty"`
	// As the engine tells; missing if it did not, or has no such container.
	Name    string `json:"name,omitempty"`
	Image   string `json:"image,omitempty"`
	ImageID string `json:"imageID,omitempty"`
	// Values that may be secret are left out: … stands in place of them.
	Labels map[string]string `json:"labels,omitempty"`
	// EngineLabels are the labels with all their values. They are for the patterns of rules alone,
	// and never written.
	EngineLabels map[string]string `json:"-"`
}

// Process is the one that asked. Of later uses its name is all that is known.
type Process struct {
	// Its number as the host counts; missing if it is not known.
	PID uint32 `json:"pid,omitempty"`
	// The same in its own pid namespace; missing if it is late, or not known.
	InnerPID uint32 `json:"innerPid,omitempty"`
	// Its own name for itself: any bytes, chosen by the container.
	Program string `json:"program"`
	// Whether its name was not recorded, because its container has too many patterns of use; then
	// the program is empty.
	Others bool `json:"others,omitempty"`
	// The file that it executes; missing if it could not be told. It begins with … if its
	// beginning is missing.
	Executable string `json:"executable,omitempty"`
	// Its effective user, as the host counts users; missing if it is not known.
	User *uint32 `json:"user,omitempty"`
	// The processes of the container that it descends from, the nearest first; none if it is
	// late, or they are not known.
	Parents []Parent `json:"parents"`
	// Whether these may have others above them.
	MoreParents bool `json:"moreParents,omitempty"`
}

// Name is how the process is called in a sentence. It may hold any bytes.
func (p Process) Name() string {
	if p.Others {
		return "others"
	}
	return p.Program
}

// Parent is a process at the moment of the use.
type Parent struct {
	PID     uint32 `json:"pid"`
	Program string `json:"program"`
}

// way is what makes a use the same as another one, of the same container.
type way struct {
	capability          capability.Capability
	class               classify.Class
	granted, nested     bool
	family              RawSocket
	program, call, site string
}

// meaning is a capability that a check asked for, or demanded, and what it means.
type meaning struct {
	capability capability.Capability
	granted    bool
	verdict    classify.Verdict
	demanded   bool // the check itself did not ask for it
}

// meanings of a check: its own, and those of what its system call demands besides. Where some
// of its refusals did not matter and others did, those count.
func meanings(check monitor.Check) []meaning {
	outcomes := classify.Outcomes(check)
	verdict := outcomes[0].Verdict
	for _, outcome := range outcomes {
		if outcome.Class == classify.Denied {
			verdict = outcome.Verdict
			break
		}
	}
	return append([]meaning{{check.Capability, check.Answer.Granted(), verdict, false}}, demands(check)...)
}

// demands are what the system call of a check demands besides.
func demands(check monitor.Check) (all []meaning) {
	for _, demand := range classify.Demands(check) {
		for _, c := range demand.Capabilities.Sorted() {
			all = append(all, meaning{c, demand.Class != classify.Denied, demand.Verdict, true})
		}
	}
	return all
}

// Matters reports whether a use is shown where not all are: what was needed, or denied and
// would have been, and raw sockets whoever's capabilities they took.
func (u Use) Matters() bool {
	return u.Class.Need() || u.Class == classify.Denied || u.RawSocket
}

func (u Use) way() way {
	call, _, _ := strings.Cut(u.Call, "(")
	return way{u.Capability, u.Class, u.Granted, u.Nested, u.Family, u.Process.Program, call, u.Site}
}

// uses are those that a sight shows.
func uses(sight observe.Sight, check monitor.Check) []Use {
	var all []Use
	for _, meaning := range meanings(check) {
		use := newUse(sight.ID, check, meaning)
		use.Time, use.Late, use.First, use.Count, use.Process = check.First, sight.Late, true, 1, process(sight)
		all = append(all, use)
	}
	return all
}

// newUse has what a kind of check tells of a use.
func newUse(id string, check monitor.Check, meaning meaning) Use {
	use := Use{
		Schema:     Schema,
		Container:  Container{ID: id},
		Capability: meaning.capability,
		Class:      meaning.verdict.Class,
		Granted:    meaning.granted,
		Nested:     check.Nested,
		Call:       check.Call.String(),
		Site:       meaning.verdict.Site,
		Stack:      append([]string{}, check.Stack...), // in JSON never null
		Reason:     meaning.verdict.Reason,
		Unsure:     meaning.verdict.Unsure,
	}
	if !meaning.demanded {
		use.Family = RawSocketOf(check.Capability, check.Stack)
		use.RawSocket = use.Family != ""
	}
	return use
}

func process(sight observe.Sight) Process {
	check := sight.Check
	p := Process{
		PID: check.PID, InnerPID: check.InnerPID, Program: check.Program, Others: check.Folding != monitor.Whole, Executable: sight.Executable,
		User: &check.UID, Parents: []Parent{}, MoreParents: check.MoreParents,
	}
	for _, parent := range check.Parents {
		p.Parents = append(p.Parents, Parent(parent))
	}
	return p
}

// Identify returns what the engine tells of a container before ctx ends.
func Identify(ctx context.Context, observer *observe.Observer, cgroup uint64, id string) Container {
	info, told := observer.Identify(ctx, cgroup, id)
	return describe(observer, info, told)
}

func describe(observer *observe.Observer, info container.Info, told bool) Container {
	return Container{
		ID: info.ID, Unidentified: !told, Unconfirmed: info.Unconfirmed, Name: info.Name, Image: info.Image, ImageID: info.ImageID,
		Labels: observer.ShownLabels(info.Labels), EngineLabels: info.Labels,
	}
}
