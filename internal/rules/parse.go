package rules

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/alert"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/strictyaml"
	"github.com/capmon/capmon/internal/uses"
)

// maxBurst is the maximum number of uses of a burst. The engine stores the times of up to this many uses per container.
const maxBurst = 10000

// minWithin is the minimum time of a burst, because repeated uses are counted once per second.
const minWithin = Duration(time.Second)

// Load reads a file of rules. The error is a *[strictyaml.Error], or an error of package os if the file cannot be read.
func Load(path string) (File, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return File{}, err
	}
	return Parse(path, data)
}

// Parse parses a YAML file of rules. Unknown keys and keys without a value are errors. Parse does not validate sinks
// and spool. path is used in errors.
func Parse(path string, data []byte) (File, error) {
	file, err := parse(data)
	if err != nil {
		return File{}, strictyaml.Explain(path, err)
	}
	file.Path = path
	return file, nil
}

func parse(data []byte) (File, error) {
	body, err := strictyaml.Parse(data, "a file of rules", "rules")
	if err != nil {
		return File{}, err
	}
	var file File
	if err := strictyaml.Decode(body, &file); err != nil {
		return File{}, err
	}
	if len(file.Rules) == 0 {
		return File{}, strictyaml.ErrorAt(strictyaml.NodeAt(body, "$.rules"), "there are no rules")
	}
	if err := rejectEmptyLists(strictyaml.NodeAt(body, "$.rules")); err != nil {
		return File{}, err
	}
	return file, file.check(body)
}

// rejectEmptyLists returns an error for an empty list, which no use could match.
func rejectEmptyLists(node ast.Node) error {
	for _, node := range ast.Filter(ast.SequenceType, node) {
		if list, ok := node.(*ast.SequenceNode); ok && len(list.Values) == 0 {
			return strictyaml.ErrorAt(list, "the list is empty, so nothing would match: leave it out, or add elements")
		}
	}
	return nil
}

// check completes built-in rules, validates all values, and sets the lines of the rules.
func (f *File) check(body ast.Node) error {
	known, builtin := make(map[string]bool), []Rule(nil)
	for i := range f.Rules {
		rule, here := &f.Rules[i], position{body, fmt.Sprintf("$.rules[%d]", i)}
		rule.Line = strictyaml.Line(here.node())
		if rule.Builtin != "" {
			if builtin == nil {
				file, err := Builtin()
				if err != nil {
					return err
				}
				builtin = file.Rules
			}
			if !rule.complete(builtin) {
				return here.errorf("builtin", "there is no built-in rule %q: choose one of %s", rule.Builtin, names(builtin))
			}
		}
		if err := rule.check(here); err != nil {
			return err
		}
		if known[rule.Name] {
			return here.errorf("name", "two rules have the name %q: names must be unique", rule.Name)
		}
		known[rule.Name] = true
	}
	return nil
}

func names(rules []Rule) string {
	var all []string
	for _, rule := range rules {
		all = append(all, rule.Name)
	}
	return strings.Join(all, ", ")
}

// position is the position of a mapping in a file.
type position struct {
	body ast.Node
	path string
}

func (p position) node() ast.Node {
	return strictyaml.FirstKey(strictyaml.NodeAt(p.body, p.path))
}

// errorf returns an error at a key of the mapping, or at its first line if it does not have the key.
func (p position) errorf(key, format string, args ...any) error {
	node := strictyaml.NodeAt(p.body, p.path+"."+key)
	if key == "" || node == p.body {
		node = p.node()
	}
	return strictyaml.ErrorAt(node, format, args...)
}

func (r *Rule) check(here position) error {
	if r.Severity == "" {
		r.Severity = alert.Warning
	}
	_, err := alert.ParseSeverity(string(r.Severity))
	switch {
	case r.Name == "":
		return here.errorf("", "this rule has no name: add one; the alerts of a rule contain its name")
	case strings.ContainsFunc(r.Name, func(c rune) bool { return !unicode.IsPrint(c) }):
		return here.errorf("name", "the name %q has characters that are not printable", r.Name)
	case err != nil:
		return here.errorf("severity", "%v", err)
	case r.empty() && r.Profiles == nil && r.Burst == nil:
		return here.errorf("", "rule %q has no condition: add one, such as capabilities: [NET_RAW]", r.Name)
	case r.Alert != "" && r.Alert != First && r.Alert != Every:
		return here.errorf("alert", "%q is neither first nor every", r.Alert)
	case r.Burst != nil && r.Alert == First:
		return here.errorf("alert", "a burst counts every use: remove alert: first")
	case r.Burst != nil && (r.Burst.Uses < 2 || r.Burst.Uses > maxBurst):
		return here.errorf("burst", "a burst of %d uses is not possible: set uses to 2 to %d", r.Burst.Uses, maxBurst)
	case r.Burst != nil && r.Burst.Within == 0:
		return here.errorf("burst", "a burst requires within, such as 10s")
	case r.Burst != nil && r.Burst.Within < minWithin:
		return here.errorf("burst", "a burst within %s is not possible: capmon counts repeated uses once per second, so set within to 1s or more", r.Burst.Within)
	}
	if err := r.Conditions.check(here); err != nil {
		return err
	}
	for i, pattern := range r.Profiles {
		if _, err := matches(pattern, ""); err != nil || pattern == "" {
			return here.errorf(fmt.Sprintf("profiles[%d]", i), "invalid file pattern %q", pattern)
		}
	}
	for i := range r.Except {
		there := position{here.body, fmt.Sprintf("%s.except[%d]", here.path, i)}
		if r.Except[i].empty() {
			return there.errorf("", "an exception without a condition would allow everything: add a condition")
		}
		if err := r.Except[i].check(there); err != nil {
			return err
		}
	}
	return nil
}

// UnmarshalYAML reads a list of names of capabilities.
func (c *Capabilities) UnmarshalYAML(node ast.Node) error {
	const notList, notName = "capabilities must be a list, such as [NET_RAW, CHOWN]", "an element must be the name of a capability, such as NET_RAW"
	return strictyaml.ReadList(node, notList, notName, func(name string) error {
		one, err := capability.Parse(name)
		c.Set = c.With(one)
		return err
	})
}

// MarshalYAML returns the form that UnmarshalYAML reads.
func (c Capabilities) MarshalYAML() (any, error) {
	var names []string
	for _, one := range c.Sorted() {
		names = append(names, one.String())
	}
	return names, nil
}

// UnmarshalYAML reads true, false or a list of families.
func (r *RawSocket) UnmarshalYAML(node ast.Node) error {
	if truth, ok := node.(*ast.BoolNode); ok {
		r.Opened = truth.Value
		return nil
	}
	const wanted = "raw-socket must be true, false or a list of socket families, such as [packet, IPv6]"
	r.Opened = true
	return strictyaml.ReadList(node, wanted, wanted, func(name string) error {
		family := uses.RawSocket(name)
		if !slices.Contains(uses.RawSockets(), family) {
			return fmt.Errorf("unknown socket family %q: choose one of %s", name, joined(uses.RawSockets()))
		}
		r.Families = append(r.Families, family)
		return nil
	})
}

// MarshalYAML returns the form that UnmarshalYAML reads.
func (r RawSocket) MarshalYAML() (any, error) {
	if len(r.Families) > 0 {
		return r.Families, nil
	}
	return r.Opened, nil
}

// UnmarshalYAML reads a positive duration.
func (d *Duration) UnmarshalYAML(node ast.Node) error {
	scalar, ok := node.(ast.ScalarNode)
	if !ok || node.Type() == ast.AliasType {
		return strictyaml.ErrorAt(node, "the value must be a duration, such as 30s, 10m or 1h30m")
	}
	text := scalar.GetToken().Value
	length, err := time.ParseDuration(text)
	if err != nil || length <= 0 {
		return strictyaml.ErrorAt(node, "%q is not a positive duration such as 30s, 10m or 1h30m", text)
	}
	*d = Duration(length)
	return nil
}

// MarshalYAML returns the form that UnmarshalYAML reads.
func (d Duration) MarshalYAML() (any, error) { return d.String(), nil }

// Text returns the rules as a file that [Parse] reads. Built-in rules are complete. The file contains no sinks.
func (f File) Text() (string, error) {
	f.Sinks, f.Spool = nil, nil
	text, err := yaml.Marshal(f)
	return string(text), err
}

// check validates the conditions and compiles their patterns.
func (c *Conditions) check(here position) (err error) {
	for i, class := range c.Classes {
		if !slices.Contains(classify.Classes(), class) {
			return here.errorf(fmt.Sprintf("classes[%d]", i), "unknown class %q: choose one of %s", class, joined(classify.Classes()))
		}
	}
	if c.Answer != "" && c.Answer != Granted && c.Answer != Denied {
		return here.errorf("answer", "%q is neither granted nor denied", c.Answer)
	}
	for _, of := range c.patterns() {
		for i, pattern := range of.list {
			if text := problem(of.key, pattern); text != "" {
				return here.errorf(fmt.Sprintf("%s[%d]", of.key, i), "%s: pattern %q %s", of.key, pattern, text)
			}
		}
	}
	if text := c.contradiction(); text != "" {
		return here.errorf("", "%s", text)
	}
	return c.compile()
}

// problem returns why a pattern cannot match anything; "" if it can.
func problem(key, pattern string) string {
	if _, err := matches(pattern, ""); err != nil {
		return "is malformed: a [ needs a closing ], or a backslash before it"
	}
	label, _, _ := strings.Cut(pattern, "=")
	switch {
	case pattern == "", key == "labels" && label == "":
		return "is empty"
	case key == "executables" && !strings.HasPrefix(pattern, "/"):
		return "matches no path: it must begin with a slash, and * does not match a slash"
	case key == "executables" && strings.HasSuffix(pattern, "/"):
		return "matches no path: it ends with a slash"
	case (key == "containers" || key == "services" || key == "namespaces") && strings.Contains(pattern, "/"):
		return "matches nothing: these names contain no slash"
	}
	return ""
}

// contradiction returns why no use can meet all conditions; "" if one can.
func (c *Conditions) contradiction() string {
	only := func(classes ...classify.Class) bool {
		return len(c.Classes) > 0 && !slices.ContainsFunc(c.Classes, func(class classify.Class) bool { return !slices.Contains(classes, class) })
	}
	switch {
	case c.RawSocket != nil && c.RawSocket.Opened && c.Capabilities != nil && !c.Capabilities.Has(capability.NetRaw):
		return "no use can match: opening a raw socket requires NET_RAW, which capabilities does not contain"
	case c.Answer == Granted && only(classify.Denied, classify.Tolerated):
		return "no use can match: answer is granted, but classes contains only classes of denied checks"
	case c.Answer == Denied && only(classify.Needs()...):
		return "no use can match: answer is denied, but classes contains only classes of granted checks"
	case c.NestedUserns != nil && *c.NestedUserns && only(append(classify.Needs(), classify.Denied)...):
		return "no use can match: nested-userns is true, but checks in a nested user namespace have the class nested-userns, which classes does not contain"
	case c.NestedUserns != nil && !*c.NestedUserns && only(classify.NestedUserns):
		return "no use can match: nested-userns is false, but the only class is nested-userns"
	}
	return ""
}

// joined returns the values, separated by commas.
func joined[T ~string](values []T) string {
	var texts []string
	for _, value := range values {
		texts = append(texts, string(value))
	}
	return strings.Join(texts, ", ")
}
