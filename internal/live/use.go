// Package live tells of the uses of capabilities as they happen: each way in which a container
// uses one, the first time.
package live

import (
	"strings"
	"time"

	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/observe"
	"github.com/capmon/capmon/monitor"
)

// schema is the version of the form in which a Use is written.
const schema = 1

// Use is the first use of a capability in one way: by a program in a container, in a system
// call and for a kernel function, granted or refused.
type Use struct {
	// Version of the form of the line.
	Schema int       `json:"schema"`
	Time   time.Time `json:"time"`
	// Whether it was found afterwards: it came faster than it could be told, or the first one of
	// its kind did not matter.
	Late bool `json:"late"`
	// Whether it is the first of its way.
	First bool `json:"first"`
	// How many uses of its way it tells of: itself, and those since the one told before it.
	Count     uint64    `json:"count"`
	Container Container `json:"container"`
	Process   Process   `json:"process"`

	Capability capability.Capability `json:"capability"`
	Class      classify.Class        `json:"class"`
	Granted    bool                  `json:"granted"`
	// Whether a raw socket was opened, or was to be.
	RawSocket bool `json:"rawSocket"`
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
	// As the engine tells; missing if it did not, or has no such container.
	Name    string            `json:"name,omitempty"`
	Image   string            `json:"image,omitempty"`
	ImageID string            `json:"imageID,omitempty"`
	Labels  map[string]string `json:"labels,omitempty"`
}

// Process is the one that asked first.
type Process struct {
	// Its number as the host counts.
	PID uint32 `json:"pid"`
	// The same in its own pid namespace; missing if it is late.
	InnerPID uint32 `json:"innerPid,omitempty"`
	// Its own name for itself: any bytes, chosen by the container.
	Program string `json:"program"`
	// The file that it executes; missing if it could not be told. It begins with … if its
	// beginning is missing.
	Executable string `json:"executable,omitempty"`
	// Its effective user, as the host counts users.
	User uint32 `json:"user"`
	// The processes of the container that it descends from, the nearest first; none if it is
	// late.
	Parents []Parent `json:"parents"`
	// Whether these may have others above them.
	MoreParents bool `json:"moreParents,omitempty"`
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
	all := []meaning{{check.Capability, check.Answer.Granted(), verdict}}
	for _, demand := range classify.Demands(check) {
		for _, c := range demand.Capabilities.Sorted() {
			all = append(all, meaning{c, demand.Class != classify.Denied, demand.Verdict})
		}
	}
	return all
}

// Matters reports whether a use is shown where not all are: what was needed, or refused and
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
	for i, meaning := range meanings(check) {
		use := Use{
			Schema:     schema,
			Time:       check.First,
			Late:       sight.Late,
			First:      true,
			Count:      1,
			Container:  Container{ID: sight.ID},
			Process:    process(sight),
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
		if family := RawSocketOf(check.Capability, check.Stack); i == 0 && family != "" {
			use.RawSocket, use.Family = true, family
		}
		all = append(all, use)
	}
	return all
}

func process(sight observe.Sight) Process {
	check := sight.Check
	p := Process{
		PID: check.PID, InnerPID: check.InnerPID, Program: check.Program, Executable: sight.Executable,
		User: check.UID, Parents: []Parent{}, MoreParents: check.MoreParents,
	}
	for _, parent := range check.Parents {
		p.Parents = append(p.Parents, Parent(parent))
	}
	return p
}

func describe(info container.Info, told bool) Container {
	return Container{ID: info.ID, Unidentified: !told, Name: info.Name, Image: info.Image, ImageID: info.ImageID, Labels: info.Labels}
}
