package rules

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/alert"
	"github.com/capmon/capmon/internal/printable"
	"github.com/capmon/capmon/internal/uses"
)

const (
	// maxStates is the maximum number of pairs of a rule and a container that have a state.
	maxStates = 16384
	// maxWarnedImages is the maximum number of images that warnings about a missing profile name.
	maxWarnedImages = 1024
	// If a rule without a cool-down returns floodAlerts alerts about the same container and capability within
	// floodPeriod, it cools down for floodPeriod. So a flood cannot fill a sink or hide the alerts of other containers,
	// even if each use has a new process name.
	floodAlerts = 100
	floodPeriod = time.Minute
	// maxDelay is the maximum time from a use until the engine gets it. Container engines need time to name a
	// container.
	maxDelay = 5 * time.Second
)

// Evaluator evaluates rules. It loses no use: the counts of a rule's alerts and of the uses that it still holds back
// add up to the uses that match the rule. It is not safe for concurrent use.
type Evaluator struct {
	rules        []Rule
	states       map[key]*state
	warnedImages map[string]bool // images without a profile that warnings have named
	full         bool            // the engine has maxStates states and could not add another one
	warnings     []string
}

// key identifies a state.
type key struct {
	rule, container string
	// capability is set only if the rule has neither a cool-down nor a burst, which apply to all capabilities together.
	capability capability.Capability
}

func (r *Rule) key(use uses.Use) key {
	k := key{rule: r.Name, container: use.Container.ID}
	if r.Burst == nil && r.CoolDown == 0 {
		k.capability = use.Capability
	}
	return k
}

// state is the state of a rule for a container. It exists during a cool-down, or if the container had alerts or a
// possible burst recently.
type state struct {
	began    time.Time   // time of the first counted alert; not used if the rule has a cool-down
	alerts   int         // number of alerts since began
	until    time.Time   // cool-down: its end
	held     uint64      // cool-down: number of uses in it
	last     match       // cool-down: last use in it
	window   []timeCount // uses of a possible burst, by time
	lastUsed time.Time   // when the last use was added to window
}

// match is a use that matches a rule. If the match is uncertain, unsure describes the unknown value.
type match struct {
	use    uses.Use
	unsure string
}

// timeCount is the number of uses at a time.
type timeCount struct {
	time  time.Time
	count uint64
}

// New returns an engine for rules whose profiles are loaded.
func New(file File) *Evaluator {
	return &Evaluator{rules: file.Rules, states: make(map[key]*state), warnedImages: make(map[string]bool)}
}

// Evaluate returns the alerts of a use. now is the current time.
func (e *Evaluator) Evaluate(use uses.Use, now time.Time) (alerts []alert.Alert) {
	for i := range e.rules {
		rule := &e.rules[i]
		if !use.First && !rule.every() {
			continue
		}
		e.warnAboutMissingProfile(rule, use)
		if j := rule.judge(use); j.alerts != no {
			alerts = append(alerts, e.add(rule, match{use, j.unsure}, now)...)
		}
	}
	return alerts
}

// add adds a match to its state. It returns an alert, or holds the use back.
func (e *Evaluator) add(rule *Rule, m match, now time.Time) []alert.Alert {
	s := e.state(rule.key(m.use))
	count := m.use.Count
	switch {
	case s == nil && rule.Burst != nil: // earlier uses are unknown
		if count < uint64(rule.Burst.Uses) {
			return nil
		}
		return []alert.Alert{rule.alert(m, count)}
	case s == nil:
		return []alert.Alert{rule.alert(m, count)}
	case now.Before(s.until):
		s.held, s.last = s.held+count, m
		return nil
	case s.held > 0:
		count += s.held
		s.held = 0
		s.until = now.Add(rule.coolDown())
		return []alert.Alert{rule.alert(m, count)}
	case rule.Burst != nil:
		var complete bool
		if count, complete = s.addToBurst(*rule.Burst, m.use, now); !complete {
			return nil
		}
	}
	s.startCoolDown(rule, now)
	return []alert.Alert{rule.alert(m, count)}
}

// coolDown returns the duration of a cool-down of the rule.
func (r *Rule) coolDown() time.Duration { return cmp.Or(time.Duration(r.CoolDown), floodPeriod) }

// startCoolDown starts a cool-down after an alert. If the rule has none, it does so after floodAlerts alerts.
func (s *state) startCoolDown(rule *Rule, now time.Time) {
	if rule.CoolDown > 0 {
		s.until = now.Add(rule.coolDown())
		return
	}
	if now.Sub(s.began) >= floodPeriod {
		s.began, s.alerts = now, 0
	}
	if s.alerts++; s.alerts >= floodAlerts {
		s.until = now.Add(rule.coolDown())
	}
}

// state returns the state for a key, and creates it if necessary. It returns nil if there are too many states.
func (e *Evaluator) state(k key) *state {
	if s, ok := e.states[k]; ok {
		return s
	}
	if len(e.states) >= maxStates {
		if !e.full {
			e.warn("more than %d pairs of a rule and a container have recent uses or a cool-down: for further pairs, each matching use is an alert, and bursts are not detected", maxStates)
		}
		e.full = true
		return nil
	}
	s := &state{}
	e.states[k] = s
	return s
}

// addToBurst adds a use to a possible burst. If the burst is complete, it returns the number of its uses.
func (s *state) addToBurst(burst Burst, use uses.Use, now time.Time) (count uint64, complete bool) {
	i, _ := slices.BinarySearchFunc(s.window, use.Time, func(c timeCount, t time.Time) int { return cmp.Or(c.time.Compare(t), -1) })
	s.window = slices.Insert(s.window, i, timeCount{use.Time, use.Count})
	s.lastUsed = now
	begin := s.window[len(s.window)-1].time.Add(-time.Duration(burst.Within))
	s.window = slices.DeleteFunc(s.window, func(c timeCount) bool { return c.time.Before(begin) })
	for _, c := range s.window {
		count += c.count
	}
	if count < uint64(burst.Uses) {
		return 0, false
	}
	s.window = nil
	return count, true
}

// Due returns alerts of the uses that were held back by cool-downs that have ended. It also removes states that are
// no longer needed. Call it about once per second.
func (e *Evaluator) Due(now time.Time) []alert.Alert {
	return e.release(func(rule *Rule, s *state) bool {
		if now.Before(s.until) {
			return false
		}
		s.until = now.Add(rule.coolDown())
		return true
	}, now)
}

// Close returns alerts of all uses that are held back.
func (e *Evaluator) Close() []alert.Alert {
	return e.release(func(*Rule, *state) bool { return true }, time.Time{})
}

// release returns alerts of the uses that are held back, for the states that ends selects. The alerts are sorted by
// time.
func (e *Evaluator) release(ends func(*Rule, *state) bool, now time.Time) (alerts []alert.Alert) {
	for i := range e.rules {
		rule := &e.rules[i]
		for k, s := range e.states {
			switch {
			case k.rule != rule.Name:
			case s.held == 0:
				if s.canBeRemoved(rule, now) {
					delete(e.states, k)
				}
			case ends(rule, s):
				alerts = append(alerts, rule.alert(s.last, s.held))
				s.held = 0
			}
		}
	}
	slices.SortStableFunc(alerts, func(one, other alert.Alert) int { return one.Time.Compare(other.Time) })
	return alerts
}

// canBeRemoved reports whether a state that holds nothing back is no longer needed.
func (s *state) canBeRemoved(rule *Rule, now time.Time) bool {
	if now.Before(s.until) || now.Before(s.began.Add(floodPeriod)) {
		return false
	}
	return len(s.window) == 0 || now.After(s.lastUsed.Add(time.Duration(rule.Burst.Within)+maxDelay))
}

// Replace replaces the rules. Unchanged rules keep their states. It returns alerts of the uses that the other rules
// hold back.
func (e *Evaluator) Replace(file File) []alert.Alert {
	unchanged := make(map[string]bool)
	for _, rule := range file.Rules {
		unchanged[rule.Name] = slices.ContainsFunc(e.rules, func(old Rule) bool { return old.same(rule) })
	}
	alerts := e.release(func(rule *Rule, _ *state) bool { return !unchanged[rule.Name] }, time.Time{})
	maps.DeleteFunc(e.states, func(k key, _ *state) bool { return !unchanged[k.rule] })
	e.rules = file.Rules
	clear(e.warnedImages) // there may be profiles of them now
	return alerts
}

// Warnings returns the warnings since the last call.
func (e *Evaluator) Warnings() []string {
	warnings := e.warnings
	e.warnings = nil
	return warnings
}

func (e *Evaluator) warn(format string, args ...any) {
	e.warnings = append(e.warnings, fmt.Sprintf(format, args...))
}

// warnAboutMissingProfile warns once per image that a rule has no profile of it.
func (e *Evaluator) warnAboutMissingProfile(rule *Rule, use uses.Use) {
	image := use.Container.Image
	if rule.Profiles == nil || use.Container.Unidentified || rule.baseline.knows(image) || len(rule.baseline.images) == 0 {
		return
	}
	id := rule.Name + "\x00" + imageName(image)
	if met, _ := rule.match(use); met == no || e.warnedImages[id] || len(e.warnedImages) > maxWarnedImages {
		return
	}
	e.warnedImages[id] = true
	switch {
	case len(e.warnedImages) > maxWarnedImages:
		e.warn("rule %q: further images without a profile are not listed", rule.Name)
	case image == "":
		e.warn("rule %q does not alert on containers whose image the engine did not report", rule.Name)
	default:
		e.warn("rule %q: there is no profile of image %s, so the rule does not alert on it", rule.Name, printable.Word(image))
	}
}

// alert returns an alert of a match, with the number of uses that it reports.
func (r *Rule) alert(m match, count uint64) alert.Alert {
	return alert.New(r.Name, r.Severity, r.summary(m, count), count, m.use)
}
