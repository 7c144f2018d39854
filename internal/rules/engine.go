package rules

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/capmon/capmon/internal/alert"
	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/printable"
	"github.com/capmon/capmon/internal/uses"
)

const (
	// maxStates is for how many pairs of a rule and a container the engine remembers something.
	maxStates = 16384
	// maxStrangers is how many images are told to have no profile.
	maxStrangers = 1024
	// manyAlerts is of how many alerts of a rule without a cool-down, about the same capability and
	// container within manyTime, the last one begins a cool-down of manyTime: whoever floods, under
	// ever new names perhaps, fills no sink and hides nobody else.
	manyAlerts = 100
	manyTime   = time.Minute
	// tardiness is how much later than it happened a use may come: engines take time to name a
	// container.
	tardiness = 5 * time.Second
)

// Engine finds alerts in uses. Nothing that it was given is lost: the counts of a rule's
// alerts and what it still holds back are together the uses that it alerts of. It is for one
// goroutine at a time.
type Engine struct {
	rules  []Rule
	states map[key]*state
	// strangers are images that were told to have no profile.
	strangers map[string]bool
	// crowded: there was no room for a state.
	crowded bool
	notes   []string
}

// key is of what is remembered.
type key struct {
	rule, container string
	// capability that it is about, if the rule has no cool-down and no burst, for which all count.
	capability capability.Capability
}

func (r *Rule) key(use uses.Use) key {
	of := key{rule: r.Name, container: use.Container.ID}
	if r.Burst == nil && r.CoolDown == 0 {
		of.capability = use.Capability
	}
	return of
}

// state is what is remembered of a container for a rule: while it cools down, a burst may
// come together, or alerts are many.
type state struct {
	began  time.Time // when the first of these alerts came, if the rule has no cool-down
	alerts int       // since then
	until  time.Time // the end of the cool-down
	held   uint64    // uses that were held back meanwhile
	last   sighting  // of these
	window []moment  // uses of what may become a burst, by time
	fed    time.Time // when the last of these came
}

// sighting is a use that a rule is about, with what is not known.
type sighting struct {
	use    uses.Use
	unsure string
}

// moment is when some uses were.
type moment struct {
	at    time.Time
	count uint64
}

// New makes an engine for rules whose profiles are loaded.
func New(file File) *Engine {
	return &Engine{rules: file.Rules, states: make(map[key]*state), strangers: make(map[string]bool)}
}

// Take takes a use that came at a moment.
func (e *Engine) Take(use uses.Use, now time.Time) (alerts []alert.Alert) {
	for i := range e.rules {
		rule := &e.rules[i]
		if !use.First && !rule.every() {
			continue
		}
		e.introduce(rule, use)
		if j := rule.judge(use); j.alerts != no {
			alerts = append(alerts, e.tell(rule, sighting{use, j.unsure}, now)...)
		}
	}
	return alerts
}

// tell alerts of a use, or holds it back.
func (e *Engine) tell(rule *Rule, s sighting, now time.Time) []alert.Alert {
	of := e.remember(rule.key(s.use))
	count := s.use.Count
	switch {
	case of == nil && rule.Burst != nil: // and nothing is known of the uses before
		if count < uint64(rule.Burst.Uses) {
			return nil
		}
		return []alert.Alert{rule.alert(s, count)}
	case of == nil:
		return []alert.Alert{rule.alert(s, count)}
	case now.Before(of.until):
		of.held, of.last = of.held+count, s
		return nil
	case of.held > 0:
		count += of.held
		of.held = 0
		of.until = now.Add(rule.pause())
		return []alert.Alert{rule.alert(s, count)}
	case rule.Burst != nil:
		var whole bool
		if count, whole = of.gather(*rule.Burst, s.use, now); !whole {
			return nil
		}
	}
	of.cool(rule, now)
	return []alert.Alert{rule.alert(s, count)}
}

// pause is how long a cool-down of the rule takes.
func (r *Rule) pause() time.Duration { return cmp.Or(time.Duration(r.CoolDown), manyTime) }

// cool begins a cool-down after an alert; if the rule has none, after many.
func (of *state) cool(rule *Rule, now time.Time) {
	if rule.CoolDown > 0 {
		of.until = now.Add(rule.pause())
		return
	}
	if now.Sub(of.began) >= manyTime {
		of.began, of.alerts = now, 0
	}
	if of.alerts++; of.alerts >= manyAlerts {
		of.until = now.Add(rule.pause())
	}
}

// remember finds or makes a state; nil if there is no room.
func (e *Engine) remember(at key) *state {
	if of, ok := e.states[at]; ok {
		return of
	}
	if len(e.states) >= maxStates {
		if !e.crowded {
			e.note("more than %d containers have alerts of late, cool down or are near a burst: of further ones every use is an alert, and bursts are not seen", maxStates)
		}
		e.crowded = true
		return nil
	}
	of := &state{}
	e.states[at] = of
	return of
}

// gather adds a use to those that may be a burst, and tells how many these are if they are
// one.
func (of *state) gather(burst Burst, use uses.Use, now time.Time) (count uint64, whole bool) {
	i, _ := slices.BinarySearchFunc(of.window, use.Time, func(m moment, t time.Time) int { return cmp.Or(m.at.Compare(t), -1) })
	of.window = slices.Insert(of.window, i, moment{use.Time, use.Count})
	of.fed = now
	begin := of.window[len(of.window)-1].at.Add(-time.Duration(burst.Within))
	of.window = slices.DeleteFunc(of.window, func(m moment) bool { return m.at.Before(begin) })
	for _, m := range of.window {
		count += m.count
	}
	if count < uint64(burst.Uses) {
		return 0, false
	}
	of.window = nil
	return count, true
}

// Due tells of what was held back by cool-downs that are over, and forgets what nothing can
// come of any more.
func (e *Engine) Due(now time.Time) []alert.Alert {
	return e.release(func(rule *Rule, of *state) bool {
		if now.Before(of.until) {
			return false
		}
		of.until = now.Add(rule.pause())
		return true
	}, now)
}

// Close tells of all that is held back.
func (e *Engine) Close() []alert.Alert {
	return e.release(func(*Rule, *state) bool { return true }, time.Time{})
}

// release alerts of what is held back, where that is to end.
func (e *Engine) release(ends func(*Rule, *state) bool, now time.Time) (alerts []alert.Alert) {
	for i := range e.rules {
		rule := &e.rules[i]
		for at, of := range e.states {
			switch {
			case at.rule != rule.Name:
			case of.held == 0:
				if of.done(rule, now) {
					delete(e.states, at)
				}
			case ends(rule, of):
				alerts = append(alerts, rule.alert(of.last, of.held))
				of.held = 0
			}
		}
	}
	slices.SortStableFunc(alerts, func(one, other alert.Alert) int { return one.Time.Compare(other.Time) })
	return alerts
}

// done reports whether a state that holds nothing back can be forgotten.
func (of *state) done(rule *Rule, now time.Time) bool {
	if now.Before(of.until) || now.Before(of.began.Add(manyTime)) {
		return false
	}
	return len(of.window) == 0 || now.After(of.fed.Add(time.Duration(rule.Burst.Within)+tardiness))
}

// Replace takes other rules. Of those that say the same as before, what was seen is still
// known; what others hold back is told.
func (e *Engine) Replace(file File) []alert.Alert {
	stays := make(map[string]bool)
	for _, rule := range file.Rules {
		stays[rule.Name] = slices.ContainsFunc(e.rules, func(old Rule) bool { return old.same(rule) })
	}
	alerts := e.release(func(rule *Rule, _ *state) bool { return !stays[rule.Name] }, time.Time{})
	maps.DeleteFunc(e.states, func(at key, _ *state) bool { return !stays[at.rule] })
	e.rules = file.Rules
	clear(e.strangers) // whose profiles there may be now
	return alerts
}

// Notes are what is to be said that is no alert, since they were last asked for.
func (e *Engine) Notes() []string {
	notes := e.notes
	e.notes = nil
	return notes
}

func (e *Engine) note(format string, args ...any) {
	e.notes = append(e.notes, fmt.Sprintf(format, args...))
}

// introduce says once of an image that a rule cannot judge it.
func (e *Engine) introduce(rule *Rule, use uses.Use) {
	image := use.Container.Image
	if rule.Profiles == nil || use.Container.Unidentified || rule.baseline.knows(image) || len(rule.baseline.images) == 0 {
		return
	}
	about := rule.Name + "\x00" + imageName(image)
	if met, _ := rule.match(use); met == no || e.strangers[about] || len(e.strangers) > maxStrangers {
		return
	}
	e.strangers[about] = true
	switch {
	case len(e.strangers) > maxStrangers:
		e.note("rule %q: further images without a profile are not named", rule.Name)
	case image == "":
		e.note("rule %q: of containers whose image no engine tells nothing is known", rule.Name)
	default:
		e.note("rule %q: there is no profile of image %s: nothing is new to it", rule.Name, printable.Word(image))
	}
}

// alert of a use that stands for some.
func (r *Rule) alert(s sighting, count uint64) alert.Alert {
	return alert.New(r.Name, r.Severity, r.summary(s, count), count, s.use)
}
