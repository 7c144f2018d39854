// Package alternatives suggests changes that may make a capability unnecessary, such as a sysctl, a limit or another
// user. It suggests a change only if every observed use of the capability supports it. Only a trial can show whether
// the workload works with the change.
package alternatives

import (
	"fmt"
	"slices"
	"strings"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/shell"
)

// Alternative is a change that may make capabilities unnecessary.
type Alternative struct {
	InsteadOf capability.Set `json:"insteadOf"`
	// Flags are the options of docker run for the change; none if options are not enough.
	Flags []string `json:"flags,omitempty"`
	// Text describes the effect and the requirements of the change.
	Text string `json:"text"`
	// Seen are the observed system calls that support the alternative.
	Seen []string `json:"seen"`
}

// callsShown is the number of system calls that String shows.
const callsShown = 3

// String describes the change and the system calls that support it. Names of files in the text may contain any bytes,
// unless the summary was made printable.
func (a Alternative) String() string {
	change := a.Text
	if len(a.Flags) > 0 {
		change = shell.Line(a.Flags) + ": " + change
	}
	seen := a.Seen
	if len(seen) > callsShown {
		seen = append(slices.Clone(seen[:callsShown]), "…")
	}
	return fmt.Sprintf("untested alternative to %s: %s (seen: %s)", a.InsteadOf.Text(), change, strings.Join(seen, ", "))
}

// rules each find one kind of alternative. A rule returns false if it does not apply to the container.
var rules = []func(profile.Summary) (Alternative, bool){
	lowPorts, datagramEcho, anotherUser, niceLimit, lockLimit, resourceLimits, devices, fileOwners, customSeccompProfile, hostTask, dropAfterStart,
}

// Of returns the alternatives to the capabilities that a container needs, in the order of the rules.
func Of(s profile.Summary) []Alternative {
	var found []Alternative
	for _, rule := range rules {
		if alternative, ok := rule(s); ok {
			found = append(found, alternative)
		}
	}
	return found
}

// usesOf returns the uses of a capability that the container needs. ok is true only if the kernel made a check for each
// use, and matches accepts each system call.
func usesOf(s profile.Summary, c capability.Capability, matches func(name string, arguments []string) bool) (uses []profile.UsePattern, ok bool) {
	if !s.Needs().Has(c) {
		return nil, false
	}
	for _, use := range s.UsesOf(c, classify.Needs()...) {
		name, arguments := splitCall(use.Call)
		if use.Class == classify.Implicit || !matches(name, arguments) {
			return nil, false
		}
		uses = append(uses, use)
	}
	return uses, len(uses) > 0
}

// callsNamed accepts the system calls with these names.
func callsNamed(names ...string) func(string, []string) bool {
	return func(name string, _ []string) bool { return slices.Contains(names, name) }
}

// callsOf returns the system calls of the uses, each once.
func callsOf(uses ...profile.UsePattern) []string {
	var calls []string
	for _, use := range uses {
		if !slices.Contains(calls, use.Call) {
			calls = append(calls, use.Call)
		}
	}
	slices.Sort(calls)
	return calls
}

// splitCall splits a system call in the form of syscalls.Call. The system calls that the rules inspect have no
// arguments that contain quotes or commas.
func splitCall(call string) (name string, arguments []string) {
	name, rest, ok := strings.Cut(call, "(")
	if !ok {
		return name, nil
	}
	return name, strings.Split(strings.TrimSuffix(rest, ")"), ", ")
}
