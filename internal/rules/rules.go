// Package rules evaluates rules for the uses of capabilities that package uses reports, and returns alerts.
package rules

import (
	"reflect"
	"slices"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/alert"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/uses"
)

// File is a file of rules.
type File struct {
	// Rules, at least one. Each rule is evaluated for every use, so their order does not matter.
	Rules []Rule `yaml:"rules" jsonschema:"minItems=1"`
	// Sinks that get the alerts, in addition to standard output.
	Sinks ast.Node `yaml:"sinks,omitempty"`
	// Spool is the place of alerts that wait for sinks.
	Spool ast.Node `yaml:"spool,omitempty"`
	// Path of the file; "" if the rules are not from a file.
	Path string `yaml:"-"`
}

// Rule alerts on uses that meet all its conditions, unless they also meet an exception.
type Rule struct {
	// Name of the rule, which its alerts contain. It must be unique and printable. The default is the name of Builtin.
	Name string `yaml:"name,omitempty"`
	// Builtin is the name of a built-in rule that provides the defaults of all other keys.
	Builtin string `yaml:"builtin,omitempty"`
	// Severity of the alerts: info, warning (the default) or critical.
	Severity alert.Severity `yaml:"severity,omitempty"`

	Conditions `yaml:",inline"`

	// Profiles lists patterns of files of capmon profile --save, relative to the file of rules. * and ? do not match a
	// slash. The rule then alerts only on capabilities that no container of the same image used in these profiles.
	Profiles []string `yaml:"profiles,omitempty" jsonschema:"minItems=1"`
	// Burst makes the rule alert only on many uses of a container in a short time.
	Burst *Burst `yaml:"burst,omitempty"`
	// Alert selects the uses that the rule alerts on: first (the default) for the first use of each pattern of use, or
	// every. With a burst, every use counts.
	Alert Frequency `yaml:"alert,omitempty"`
	// CoolDown is the time after an alert for which further uses of the same container only count: 30s, 10m, 1h30m. The
	// next alert of the rule reports their number. Without it, the rule cools down for a minute only after a hundred
	// alerts about the same capability and container in a minute.
	CoolDown Duration `yaml:"cool-down,omitempty"`
	// Except lists exceptions. The rule does not alert on a use that meets all conditions of an exception.
	Except []Conditions `yaml:"except,omitempty" jsonschema:"minItems=1"`

	// Line of the rule in the file; 0 if unknown.
	Line int `yaml:"-"`

	baseline *baseline
}

// Conditions of a rule or an exception. A use must meet all conditions that are set. It meets a list if it matches at
// least one element. In patterns, * and ? do not match a slash, and [...] matches one of several characters.
type Conditions struct {
	// Capabilities of the uses.
	Capabilities *Capabilities `yaml:"capabilities,omitempty"`
	// RawSocket: true for uses that open a raw socket, false for all other uses, or a list of socket families: IPv4,
	// IPv6, packet, XDP.
	RawSocket *RawSocket `yaml:"raw-socket,omitempty"`
	// Answer of the kernel to the check: granted or denied.
	Answer KernelAnswer `yaml:"answer,omitempty"`
	// Classes of the uses. Without classes, a rule matches needs, denied checks that would be needs, and raw sockets.
	Classes []classify.Class `yaml:"classes,omitempty" jsonschema:"minItems=1"`
	// NestedUserns: true for uses in a user namespace that the container created, false for all other uses.
	NestedUserns *bool `yaml:"nested-userns,omitempty"`
	// Containers lists patterns of names, and IDs: complete, or at least their first 12 digits.
	Containers []string `yaml:"containers,omitempty" jsonschema:"minItems=1"`
	// Images lists patterns of image names, with or without docker.io/library: nginx:1.27, or nginx for any tag.
	Images []string `yaml:"images,omitempty" jsonschema:"minItems=1"`
	// Labels lists patterns of labels: KEY for any value, or KEY=VALUE.
	Labels []string `yaml:"labels,omitempty" jsonschema:"minItems=1"`
	// Services lists patterns of the names of services, of Compose or Swarm.
	Services []string `yaml:"services,omitempty" jsonschema:"minItems=1"`
	// Namespaces lists patterns of the names of Kubernetes namespaces.
	Namespaces []string `yaml:"namespaces,omitempty" jsonschema:"minItems=1"`
	// Executables lists patterns of complete paths in the container.
	Executables []string `yaml:"executables,omitempty" jsonschema:"minItems=1"`

	filter container.Filter
}

// Burst is a number of uses of one container within a time.
type Burst struct {
	// Uses is the number of uses: 2 to 10000.
	Uses int `yaml:"uses" jsonschema:"minimum=2,maximum=10000"`
	// Within is the maximum time from the first to the last use: 1s or more.
	Within Duration `yaml:"within"`
}

// KernelAnswer is the kernel's answer to a check.
type KernelAnswer string

// The answers.
const (
	Granted KernelAnswer = "granted"
	Denied  KernelAnswer = "denied"
)

// Frequency selects the uses that a rule alerts on.
type Frequency string

// The frequencies.
const (
	First Frequency = "first" // the first use of each pattern of use
	Every Frequency = "every"
)

// Capabilities is a set that is a list of names in YAML. Names are case-insensitive, and CAP_ is optional.
type Capabilities struct{ capability.Set }

// RawSocket is a condition on raw sockets.
type RawSocket struct {
	// Opened selects uses that open a raw socket. If it is false, the condition selects all other uses.
	Opened bool
	// Families that are selected; none for all.
	Families []uses.RawSocket
}

// Duration is a duration with a unit in YAML, such as 10s, 5m or 1h30m.
type Duration time.Duration

func (d Duration) String() string { return time.Duration(d).String() }

// every reports whether the rule counts uses that are not the first of their pattern of use.
func (r Rule) every() bool { return r.Alert == Every || r.Burst != nil }

// NeedsEvery reports whether a rule counts uses that are not the first of their pattern of use.
func (f File) NeedsEvery() bool {
	return slices.ContainsFunc(f.Rules, Rule.every)
}

// NeedsAll reports whether a rule selects classes other than needs and denied.
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

// same reports whether two rules are equal, regardless of their lines and the contents of their profiles.
func (r Rule) same(other Rule) bool {
	r.Line, other.Line = 0, 0
	r.baseline, other.baseline = nil, nil // the profiles may have changed
	return reflect.DeepEqual(r, other)
}
