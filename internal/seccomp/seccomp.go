// Package seccomp tells which system calls a seccomp profile allows only with a
// capability. Profiles are Docker's kind: rules may hold for containers with or without
// a capability, which the engine decides when it makes the container, by what is
// granted. The kernel then refuses the call before it asks for any capability.
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

	"github.com/capmon/capmon/internal/capability"
)

// Unconfined is what Docker calls a container without a profile.
const Unconfined = "unconfined"

// Profile is a seccomp profile before it is known what is granted. The zero value
// allows everything. Its methods may be called from several goroutines at once.
type Profile struct {
	body string

	mu       sync.Mutex
	compiled map[capability.Set]rules // as far as they have been asked for
	unlocked map[capability.Set][]Call
}

// Parse reads a profile in the form that docker run takes; "unconfined" is none.
func Parse(body string) (*Profile, error) {
	if body == Unconfined {
		return &Profile{}, nil
	}
	var written moby.Seccomp
	if err := json.Unmarshal([]byte(body), &written); err != nil {
		return nil, fmt.Errorf("reading the seccomp profile: %w", err)
	}
	if i := slices.Index(written.Syscalls, nil); i >= 0 { // LoadProfile would follow it
		return nil, fmt.Errorf("reading the seccomp profile: rule %d of its syscalls is null", i+1)
	}
	p := &Profile{body: body, compiled: make(map[capability.Set]rules), unlocked: make(map[capability.Set][]Call)}
	if _, err := p.rules(0); err != nil {
		return nil, err
	}
	return p, nil
}

// rules are those that hold for one set of granted capabilities, by system call.
type rules struct {
	otherwise verdict
	calls     map[string][]specs.LinuxSyscall
}

// verdict is what becomes of a call. The errno is meaningless if it is let through.
type verdict struct {
	allowed bool
	errno   unix.Errno
}

func (p *Profile) rules(granted capability.Set) (rules, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if known, ok := p.compiled[granted]; ok {
		return known, nil
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
	if compiled == nil { // it says nothing, so nothing is confined
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
	return verdict{} // the process is killed, or somebody else decides
}

// of is what becomes of a call. A rule without conditions decides before those with
// (libseccomp).
func (r rules) of(name string, args [6]uint64) verdict {
	rules := r.calls[name]
	for _, conditional := range []bool{false, true} {
		for _, rule := range rules {
			if len(rule.Args) > 0 == conditional && matches(rule, args) {
				return newVerdict(rule.Action, rule.ErrnoRet)
			}
		}
	}
	return r.otherwise
}

// matches: all conditions have to hold, or one of them if there are several for one
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

// Call is a system call that is let through only because of what is granted, with
// the bits of its arguments that decide.
type Call struct {
	Name  string
	Masks [6]uint64
}

// showsItself are system calls that make a capability check whenever they could succeed
// (chroot, fs/open.c), so that the check proves that the profile allowed the call. chroot is the
// only call that Docker's default grants unlock.
var showsItself = []string{"chroot"}

// Unlocked lists the system calls that what is granted unlocks, in alphabetical
// order, without chroot: its own capability check shows it.
func (p *Profile) Unlocked(granted capability.Set) ([]Call, error) {
	if p.body == "" {
		return nil, nil
	}
	p.mu.Lock()
	calls, known := p.unlocked[granted] // as of most containers
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
		if same || slices.Contains(showsItself, name) || without.allowsAlways(name) {
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

// Unlocking is what of the granted capabilities unlocks some of these calls.
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

// Need is what of the granted capabilities a call takes that ended with this errno, 0
// for none; empty if it would have ended so in any case. Other is a wider capability
// which would have done as well, nil if none would.
func (p *Profile) Need(granted capability.Set, name string, args [6]uint64, errno unix.Errno) (need capability.Set, other *capability.Capability, err error) {
	if p.body == "" {
		return 0, nil, nil
	}
	as := func(set capability.Set) (verdict, error) {
		r, err := p.rules(set)
		return r.of(name, args), err
	}
	wanted, err := as(granted)
	if err != nil {
		return 0, nil, err
	}
	bare, err := as(0)
	if err != nil || bare == wanted || errno != 0 && bare.errno == errno {
		return 0, nil, err
	}
	need = granted
	for _, c := range widestFirst(granted) {
		got, err := as(need.Minus(capability.Of(c)))
		if err != nil {
			return 0, nil, err
		}
		if got == wanted {
			need = need.Minus(capability.Of(c))
		}
	}
	if wide := capability.SysAdmin; need.Len() == 1 && granted.Has(wide) && !need.Has(wide) {
		if got, err := as(capability.Of(wide)); err == nil && got == wanted {
			other = &wide
		}
	}
	return need, other, nil
}

// widestFirst: SYS_ADMIN is the only one that does for others.
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

// sameRules reports whether the rules of a call do the same. The other calls that a rule names do not
// matter.
func sameRules(one, other []specs.LinuxSyscall) bool {
	return slices.EqualFunc(one, other, func(a, b specs.LinuxSyscall) bool {
		return a.Action == b.Action && newVerdict(a.Action, a.ErrnoRet) == newVerdict(b.Action, b.ErrnoRet) && slices.Equal(a.Args, b.Args)
	})
}

// maskOf are the bits that a condition looks at: of MASKED_EQ its first value.
func maskOf(condition specs.LinuxSeccompArg) uint64 {
	if condition.Op == specs.OpMaskedEqual {
		return condition.Value
	}
	return ^uint64(0)
}
