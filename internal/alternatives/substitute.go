// Package alternatives knows what may serve in place of a capability that is used: a sysctl,
// a limit, another user. It says so only where everything that was seen of the use
// supports it. Whether the workload then does its work, only a trial can tell.
package alternatives

import (
	"fmt"
	"slices"
	"strings"

	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/shell"
)

// Substitute is something that makes capabilities needless.
type Substitute struct {
	Instead capability.Set `json:"insteadOf"`
	// Flags are options of docker run that do it; none if it is the program or the host
	// that would have to change.
	Flags []string `json:"flags,omitempty"`
	// Text says what it does and what it takes.
	Text string `json:"text"`
	// Seen are the system calls that it rests on.
	Seen []string `json:"seen"`
}

// callsShown is how many of the system calls String shows.
const callsShown = 3

// String says what to do, and what that rests on. Names of files in it may hold any bytes,
// unless those of the summary were made printable.
func (s Substitute) String() string {
	do := s.Text
	if len(s.Flags) > 0 {
		do = shell.Line(s.Flags) + ": " + do
	}
	seen := s.Seen
	if len(seen) > callsShown {
		seen = append(slices.Clone(seen[:callsShown]), "…")
	}
	return fmt.Sprintf("may do instead of %s: %s (seen: %s)", s.Instead.Text(), do, strings.Join(seen, ", "))
}

// rules each know one kind of substitute; false where it is none for this container.
var rules = []func(profile.Summary) (Substitute, bool){
	unprivilegedPorts, datagramEcho, anotherUser, niceLimit, lockLimit, ownLimits, givenDevices, ownFiles, ownProfile, hostsWork, givenUp,
}

// Of lists the substitutes for what a container needs, in the order of the rules.
func Of(s profile.Summary) []Substitute {
	var found []Substitute
	for _, rule := range rules {
		if substitute, ok := rule(s); ok {
			found = append(found, substitute)
		}
	}
	return found
}

// usesOf are the ways in which a container used a capability that it needs; ok only if each is
// certain, by a check, and passes.
func usesOf(s profile.Summary, c capability.Capability, passes func(name string, arguments []string) bool) (uses []profile.Use, ok bool) {
	if !s.Needs().Has(c) {
		return nil, false
	}
	for _, use := range s.UsesOf(c, classify.Needs()...) {
		name, arguments := split(use.Call)
		if use.Class == classify.Implicit || !passes(name, arguments) {
			return nil, false
		}
		uses = append(uses, use)
	}
	return uses, len(uses) > 0
}

// named passes system calls of these names.
func named(names ...string) func(string, []string) bool {
	return func(name string, _ []string) bool { return slices.Contains(names, name) }
}

// callsOf lists system calls, each once.
func callsOf(uses ...profile.Use) []string {
	var calls []string
	for _, use := range uses {
		if !slices.Contains(calls, use.Call) {
			calls = append(calls, use.Call)
		}
	}
	slices.Sort(calls)
	return calls
}
