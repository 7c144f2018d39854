// Package seccomp determines which system calls a seccomp profile allows only with a capability.
//
// Profiles have Docker's format: a rule may apply only to containers with, or without, a capability. The engine selects
// the rules when it makes the container, from the granted capabilities. So the kernel denies such a call before it
// checks any capability.
package seccomp

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	moby "github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/capability"
)

// Unconfined is Docker's name for running a container without a profile.
const Unconfined = "unconfined"

// Profile is a seccomp profile whose rules are not yet selected for a set of granted capabilities. The zero value
// allows all system calls. Profile is safe for concurrent use.
type Profile struct {
	body string

	mu       sync.Mutex
	compiled map[capability.Set]rules  // cache of rules
	unlocked map[capability.Set][]Call // cache of Unlocked
}

// None returns the profile of a container without a seccomp filter.
func None() *Profile { return &Profile{} }

// Parse reads a profile in the format that docker run accepts. For [Unconfined] it returns a Profile that allows all
// system calls.
func Parse(body string) (*Profile, error) {
	if body == Unconfined {
		return None(), nil
	}
	var written moby.Seccomp
	if err := json.Unmarshal([]byte(body), &written); err != nil {
		return nil, fmt.Errorf("reading the seccomp profile: %w", err)
	}
	if i := slices.Index(written.Syscalls, nil); i >= 0 { // LoadProfile would dereference it
		return nil, fmt.Errorf("reading the seccomp profile: rule %d of its syscalls is null", i+1)
	}
	p := &Profile{body: body, compiled: make(map[capability.Set]rules), unlocked: make(map[capability.Set][]Call)}
	if _, err := p.rules(0); err != nil {
		return nil, err
	}
	return p, nil
}

// rules are the rules that apply with one set of granted capabilities, by system call. fallback applies to calls
// without a rule.
type rules struct {
	fallback verdict
	calls    map[string][]specs.LinuxSyscall
}

// verdict is the profile's decision on a call. errno has no meaning if the call is allowed.
type verdict struct {
	allowed bool
	errno   unix.Errno
}

func (p *Profile) rules(granted capability.Set) (rules, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if cached, ok := p.compiled[granted]; ok {
		return cached, nil
	}
	var bounding []string
	for _, c := range granted.Sorted() {
		bounding = append(bounding, "CAP_"+c.String())
	}
	compiled, err := moby.LoadProfile(p.body, &specs.Spec{Process: &specs.Process{
		Capabilities: &specs.LinuxCapabilities{Bounding: bounding},
	}})
	if err != nil {
		return rules{}, fmt.Errorf("reading the seccomp profile: %w", err)
	}
	if compiled == nil { // an empty profile, which allows all calls
		compiled = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow}
	}
	r := rules{newVerdict(compiled.DefaultAction, compiled.DefaultErrnoRet), make(map[string][]specs.LinuxSyscall)}
	for _, rule := range compiled.Syscalls {
		for _, name := range rule.Names {
			r.calls[name] = append(r.calls[name], rule)
		}
	}
	p.compiled[granted] = r
	return r, nil
}

func newVerdict(action specs.LinuxSeccompAction, errno *uint) verdict {
	switch action {
	case specs.ActAllow, specs.ActLog:
		return verdict{allowed: true}
	case specs.ActErrno:
		if errno != nil {
			return verdict{errno: unix.Errno(*errno)}
		}
		return verdict{errno: unix.EPERM} // runc's default
	}
	return verdict{} // the kernel kills the process, or another process decides
}

// verdictOn returns the decision on a call. A rule without conditions takes precedence over rules with conditions
// (libseccomp).
func (r rules) verdictOn(name string, args [6]uint64) verdict {
	rules := r.calls[name]
	for _, conditional := range []bool{false, true} {
		for _, rule := range rules {
			if len(rule.Args) > 0 == conditional && matches(rule, args) {
				return newVerdict(rule.Action, rule.ErrnoRet)
			}
		}
	}
	return r.fallback
}

// matches reports whether the conditions of a rule are met: all of them, or at least one if several are about the same
// argument (matchCall, runc's libcontainer/seccomp/seccomp_linux.go).
func matches(rule specs.LinuxSyscall, args [6]uint64) bool {
	met := 0
	perArgument := make(map[uint]int)
	for _, condition := range rule.Args {
		perArgument[condition.Index]++
		if condition.Index < uint(len(args)) && holds(condition, args[condition.Index]) {
			met++
		}
	}
	if len(perArgument) < len(rule.Args) {
		return met > 0
	}
	return met == len(rule.Args)
}

func holds(condition specs.LinuxSeccompArg, arg uint64) bool {
	switch condition.Op {
	case specs.OpEqualTo:
		return arg == condition.Value
	case specs.OpNotEqual:
		return arg != condition.Value
	case specs.OpLessThan:
		return arg < condition.Value
	case specs.OpLessEqual:
		return arg <= condition.Value
	case specs.OpGreaterThan:
		return arg > condition.Value
	case specs.OpGreaterEqual:
		return arg >= condition.Value
	case specs.OpMaskedEqual:
		return arg&condition.Value == condition.ValueTwo
	}
	return false
}

// Call is a system call that the profile allows only because of the granted capabilities. Masks has the bits of the
// arguments that decide.
type Call struct {
	Name  string
	Masks [6]uint64
}

// checkedAnyway are system calls in which the kernel makes a capability check whenever they can succeed (chroot,
// fs/open.c). So the check proves that the profile allowed the call. chroot is the only call that Docker's default
// grants unlock.
var checkedAnyway = []string{"chroot"}

// Unlocked returns the system calls that the profile allows only because of the granted capabilities, in alphabetical
// order. It leaves out chroot, because the kernel's own check for CAP_SYS_CHROOT proves that need.
func (p *Profile) Unlocked(granted capability.Set) ([]Call, error) {
	if p.body == "" {
		return nil, nil
	}
	p.mu.Lock()
	calls, known := p.unlocked[granted] // most containers have the same grants
	p.mu.Unlock()
	if known {
		return slices.Clone(calls), nil
	}
	calls, err := p.findUnlocked(granted)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unlocked[granted] = calls
	return slices.Clone(calls), nil
}

func (p *Profile) findUnlocked(granted capability.Set) ([]Call, error) {
	with, err := p.rules(granted)
	if err != nil {
		return nil, err
	}
	without, err := p.rules(0)
	if err != nil {
		return nil, err
	}
	var calls []Call
	for name := range union(with.calls, without.calls) {
		call := Call{Name: name}
		same := sameRules(with.calls[name], without.calls[name])
		if same || slices.Contains(checkedAnyway, name) || without.allowsAlways(name) {
			continue
		}
		for _, rule := range slices.Concat(with.calls[name], without.calls[name]) {
			for _, condition := range rule.Args {
				if condition.Index < uint(len(call.Masks)) {
					call.Masks[condition.Index] |= maskOf(condition)
				}
			}
		}
		calls = append(calls, call)
	}
	slices.SortFunc(calls, func(one, other Call) int { return strings.Compare(one.Name, other.Name) })
	return calls, nil
}

func union(one, other map[string][]specs.LinuxSyscall) map[string][]specs.LinuxSyscall {
	all := maps.Clone(one)
	maps.Copy(all, other)
	return all
}

// Unlocking returns the granted capabilities that unlock at least one of these calls.
func (p *Profile) Unlocking(granted capability.Set) (capability.Set, error) {
	calls, err := p.Unlocked(granted)
	if err != nil || len(calls) == 0 {
		return 0, err
	}
	var unlocking capability.Set
	for _, c := range granted.Sorted() {
		alone, err := p.Unlocked(capability.Of(c))
		if err != nil {
			return 0, err
		}
		if len(alone) > 0 {
			unlocking = unlocking.With(c)
		}
	}
	return unlocking, nil
}

// Need returns the granted capabilities that the profile requires for a call that ended with errno, 0 for success. need
// is empty if the call would have ended with the same errno without any capability. other is a wider capability that
// would also have been enough; nil if none would.
func (p *Profile) Need(granted capability.Set, name string, args [6]uint64, errno unix.Errno) (need capability.Set, other *capability.Capability, err error) {
	if p.body == "" {
		return 0, nil, nil
	}
	verdictWith := func(set capability.Set) (verdict, error) {
		r, err := p.rules(set)
		return r.verdictOn(name, args), err
	}
	actual, err := verdictWith(granted)
	if err != nil {
		return 0, nil, err
	}
	bare, err := verdictWith(0)
	if err != nil || bare == actual || errno != 0 && bare.errno == errno {
		return 0, nil, err
	}
	need = granted
	for _, c := range widestFirst(granted) {
		got, err := verdictWith(need.Minus(capability.Of(c)))
		if err != nil {
			return 0, nil, err
		}
		if got == actual {
			need = need.Minus(capability.Of(c))
		}
	}
	if wide := capability.SysAdmin; need.Len() == 1 && granted.Has(wide) && !need.Has(wide) {
		if got, err := verdictWith(capability.Of(wide)); err == nil && got == actual {
			other = &wide
		}
	}
	return need, other, nil
}

// widestFirst returns the set with SYS_ADMIN first, the only capability that profiles accept instead of others.
func widestFirst(set capability.Set) []capability.Capability {
	sorted := set.Minus(capability.Of(capability.SysAdmin)).Sorted()
	if set.Has(capability.SysAdmin) {
		return append([]capability.Capability{capability.SysAdmin}, sorted...)
	}
	return sorted
}

func (r rules) allowsAlways(name string) bool {
	return slices.ContainsFunc(r.calls[name], func(rule specs.LinuxSyscall) bool {
		return len(rule.Args) == 0 && newVerdict(rule.Action, rule.ErrnoRet).allowed
	})
}

// sameRules reports whether two lists of rules for a call have the same effect. It ignores the other calls that a rule
// names.
func sameRules(one, other []specs.LinuxSyscall) bool {
	return slices.EqualFunc(one, other, func(a, b specs.LinuxSyscall) bool {
		return a.Action == b.Action && newVerdict(a.Action, a.ErrnoRet) == newVerdict(b.Action, b.ErrnoRet) && slices.Equal(a.Args, b.Args)
	})
}

// maskOf returns the bits of an argument that a condition compares. For MASKED_EQ that is the condition's first value.
func maskOf(condition specs.LinuxSeccompArg) uint64 {
	if condition.Op == specs.OpMaskedEqual {
		return condition.Value
	}
	return ^uint64(0)
}
