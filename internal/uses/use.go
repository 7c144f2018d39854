// Package uses defines a use of a capability as a value, with its JSON form and its line of text.
package uses

import (
	"time"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/classify"
)

// Schema is the version of the JSON form of a [Use].
const Schema = 2

// Use is a use of a capability: by a program in a container, in a system call and at a call site, granted or denied. It
// is the first use of its pattern, or the latest of some later ones, or a raw socket that was already open.
type Use struct {
	// Version of the form of this object.
	Schema int `json:"schema"`
	// Time of the check. For a raw socket that was already open, the time when it was found. For later uses, the time
	// of the latest one with the same arguments, whatever its outcome.
	Time time.Time `json:"time"`
	// Whether the use was found later: the kernel sent no event because there were too many, or the first check of the
	// same kind did not matter.
	Late bool `json:"late"`
	// Whether it is the first use of its pattern.
	First bool `json:"first"`
	// Number of uses that it stands for: this use and those since the previously reported use of the same pattern.
	Count uint64 `json:"count"`
	// Time of the previously reported use of the same pattern; missing if it is the first.
	Since     time.Time    `json:"since,omitzero"`
	Container ContainerRef `json:"container"`
	Process   Process      `json:"process"`

	Capability capability.Capability `json:"capability"`
	// Missing for a raw socket that was already open: capmon has not seen the check.
	Class   classify.Class `json:"class,omitempty"`
	Granted bool           `json:"granted"`
	// Whether a raw socket was opened, or would have been opened if the check had been granted.
	RawSocket bool `json:"rawSocket"`
	// Whether it is a raw socket that was already open when watch started. Count is then the number of such sockets.
	Open bool `json:"open"`
	// Family of the raw socket; missing if there is none.
	Family RawSocket `json:"family,omitempty"`
	// Whether the check was made in a user namespace that the workload created. The container's own capabilities then
	// did not matter.
	Nested bool `json:"nested"`
	// The system call, with the arguments that explain the need; missing if the check was not made in a system call.
	Call string `json:"call,omitempty"`
	// The call site: the kernel function that made the check; missing if it is not known.
	Site string `json:"site,omitempty"`
	// The kernel functions that led to the check, innermost first.
	Stack []string `json:"stack"`
	// Why the use has its class; missing if there is no reason to give.
	Reason string `json:"reason,omitempty"`
	// Why the class is only a cautious assumption; missing if it is certain.
	Unsure string `json:"unsure,omitempty"`
}

// ContainerRef is the container of a use.
type ContainerRef struct {
	// Empty if the kernel's map of containers had no space for the container.
	ID string `json:"id"`
	// Whether the engine did not report the container in time; missing if it did, or if it does not have the container.
	Unidentified bool `json:"unidentified,omitempty"`
	// The cgroup, if no engine confirms that it belongs to a container. The ID is then not an engine's ID, even if the
	// name of the cgroup contains one. Missing if an engine confirms it.
	Unconfirmed string `json:"unconfirmed,omitempty"`
	// As the engine reports it; missing if the engine did not report the container, or does not have it.
	Name    string `json:"name,omitempty"`
	Image   string `json:"image,omitempty"`
	ImageID string `json:"imageID,omitempty"`
	// Labels. Values that may be secret are replaced by ….
	Labels map[string]string `json:"labels,omitempty"`
	// EngineLabels are the labels with all their values. They are only for the patterns of rules, and never written.
	EngineLabels map[string]string `json:"-"`
}

// Process is the process that made the check. For later uses only its name is known.
type Process struct {
	// Its PID in the initial pid namespace; missing if it is not known.
	PID uint32 `json:"pid,omitempty"`
	// Its PID in its own pid namespace; missing if the use was found later, or if it is not known.
	InnerPID uint32 `json:"innerPid,omitempty"`
	// The name (comm) of the process: any bytes, chosen by the container.
	Program string `json:"program"`
	// Whether the name was not recorded because the container has too many kinds of check; the program is then empty.
	Others bool `json:"others,omitempty"`
	// The path of the file that it executes; missing if it is not known. It begins with … if its beginning is missing.
	Executable string `json:"executable,omitempty"`
	// Its effective user in the initial user namespace; missing if it is not known.
	User *uint32 `json:"user,omitempty"`
	// Its ancestors in the container, the nearest first; empty if the use was found later, or if they are not known.
	Parents []Parent `json:"parents"`
	// Whether there may be more ancestors.
	MoreParents bool `json:"moreParents,omitempty"`
}

// Name returns the name of the process for a sentence. It may contain any bytes.
func (p Process) Name() string {
	if p.Others {
		return "others"
	}
	return p.Program
}

// Parent is an ancestor process at the time of the use.
type Parent struct {
	PID     uint32 `json:"pid"`
	Program string `json:"program"`
}

// Matters reports whether capmon shows a use by default. It shows needs, denied needs, and all raw sockets, including
// those that were opened with capabilities that are not the container's own.
func (u Use) Matters() bool {
	return u.Class.Need() || u.Class == classify.Denied || u.RawSocket
}
