// Package rules finds alerts in the uses of capabilities that internal/uses tells of: which
// rules there are, which uses they are about, and when they alert.
package rules

import (
	"reflect"
	"slices"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/capmon/capmon/internal/alert"
	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/uses"
)

// File is what a file of rules holds.
type File struct {
	// Rules, at least one. Each looks at every use; their order does not matter.
	Rules []Rule `yaml:"rules" jsonschema:"minItems=1"`
	// Sinks are where alerts go besides standard output.
	Sinks ast.Node `yaml:"sinks,omitempty"`
	// Spool is where alerts wait for sinks that do not take them.
	Spool ast.Node `yaml:"spool,omitempty"`
	// Path of the file that it was read from, "" if it was none.
	Path string `yaml:"-"`
}

// Rule alerts of uses that meet all its conditions, unless an exception does.
type Rule struct {
	// Name of the rule, by which alerts call it: unique, in printable characters. A built-in rule
	// has one.
	Name string `yaml:"name,omitempty"`
	// Builtin is the name of the built-in rule that this one is, but for what is given here.
	Builtin string `yaml:"builtin,omitempty"`
	// Severity of its alerts: info, warning, which is the default, or critical.
	Severity alert.Severity `yaml:"severity,omitempty"`

	Conditions `yaml:",inline"`

	// Profiles are files of capmon profile --save; in their names * and ? stand for anything but a
	// slash, and names are relative to the file of rules. With them the rule is only about
	// capabilities that no container of the same image uses in them.
	Profiles []string `yaml:"profiles,omitempty" jsonschema:"minItems=1"`
	// Burst makes the rule one about many uses of a container in a short time.
	Burst *Burst `yaml:"burst,omitempty"`
	// Alert says of which uses it does: first, which is the default, of the first one of each way,
	// or every. With a burst, every one counts.
	Alert Frequency `yaml:"alert,omitempty"`
	// CoolDown is how long after an alert further uses of the same container are counted, and told
	// by the next alert of the rule: 30s, 10m, 1h30m. Without it, none are, but after a hundred
	// alerts in a minute of the same capability and container, which begin one of a minute.
	CoolDown Duration `yaml:"cool-down,omitempty"`
	// Except lists what is allowed: the rule does not alert of uses that meet all conditions of
	// one of these.
	Except []Conditions `yaml:"except,omitempty" jsonschema:"minItems=1"`

	// Line of the file, or 0.
	Line int `yaml:"-"`

	baseline *baseline
}

// Conditions that a use may meet. It has to meet all that are given, and of a list, one element
// of it. In patterns * and ? stand for anything but a slash, [...] for one of some characters.
type Conditions struct {
	// Capabilities that are used.
	Capabilities *Capabilities `yaml:"capabilities,omitempty"`
	// RawSocket: true for the opening of raw sockets alone, false for all else, or a list of
	// families: IPv4, IPv6, packet, XDP.
	RawSocket *RawSocket `yaml:"raw-socket,omitempty"`
	// Verdict of the kernel: granted or denied.
	Verdict Verdict `yaml:"verdict,omitempty"`
	// Classes of the uses. A rule without them is about what was needed, or denied and would
	// have been, and raw sockets.
	Classes []classify.Class `yaml:"classes,omitempty" jsonschema:"minItems=1"`
	// NestedUserns: true for uses in a user namespace that the container made itself, false for
	// all others.
	NestedUserns *bool `yaml:"nested-userns,omitempty"`
	// Containers lists patterns of names, or of IDs or their first 12 digits.
	Containers []string `yaml:"containers,omitempty" jsonschema:"minItems=1"`
	// Images lists patterns of image names: nginx:1.27 or, for any tag, nginx; with or without
	// docker.io/library.
	Images []string `yaml:"images,omitempty" jsonschema:"minItems=1"`
	// Labels lists patterns of labels: KEY, with any value, or KEY=VALUE.
	Labels []string `yaml:"labels,omitempty" jsonschema:"minItems=1"`
	// Services lists patterns of the names of services, of compose or of a swarm.
	Services []string `yaml:"services,omitempty" jsonschema:"minItems=1"`
	// Namespaces lists patterns of the names of Kubernetes' namespaces.
	Namespaces []string `yaml:"namespaces,omitempty" jsonschema:"minItems=1"`
	// Executables lists patterns of whole paths, as the container sees them.
	Executables []string `yaml:"executables,omitempty" jsonschema:"minItems=1"`

	filter container.Filter
}

// Burst is how many uses it takes, and within which time, in one container.
type Burst struct {
	// Uses that make a burst: 2 to 10000.
	Uses int `yaml:"uses" jsonschema:"minimum=2,maximum=10000"`
	// Within is the time from the first to the last of them: 1s or more.
	Within Duration `yaml:"within"`
}

// Verdict is the kernel's answer.
type Verdict string

// The verdicts.
const (
	Granted Verdict = "granted"
	Denied  Verdict = "denied"
)

// Frequency says of which uses a rule alerts.
type Frequency string

// The frequencies.
const (
	First Frequency = "first" // of the first one of each way
	Every Frequency = "every"
)

// Capabilities is a set that is written as a list of names, in any case, with CAP_ in front
// or not.
type Capabilities struct{ capability.Set }

// RawSocket says which raw sockets are meant.
type RawSocket struct {
	// Opened: the opening of one is meant, not all else.
	Opened bool
	// Families that are meant; none for all.
	Families []uses.RawSocket
}

// Duration is a time that is written as 10s, 5m or 1h30m.
type Duration time.Duration

func (d Duration) String() string { return time.Duration(d).String() }

// every reports whether uses count that are not the first of their way.
func (r Rule) every() bool { return r.Alert == Every || r.Burst != nil }

// NeedsEvery reports whether a rule looks at uses that are not the first of their way.
func (f File) NeedsEvery() bool {
	return slices.ContainsFunc(f.Rules, Rule.every)
}

// NeedsAll reports whether a rule looks at uses that do not matter by themselves.
func (f File) NeedsAll() bool {
	for _, rule := range f.Rules {
		for _, class := range rule.Classes {
			if !class.Need() && class != classify.Denied {
				return true
			}
		}
	}
	return false
}

// same reports whether two rules say the same, wherever they are written.
func (r Rule) same(other Rule) bool {
	r.Line, other.Line = 0, 0
	r.baseline, other.baseline = nil, nil // what the profiles say may change
	return reflect.DeepEqual(r, other)
}
