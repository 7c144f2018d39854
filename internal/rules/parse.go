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

	"github.com/capmon/capmon/internal/alert"
	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/strictyaml"
	"github.com/capmon/capmon/internal/uses"
)

// maxBurst is how many uses a burst may take: as many moments are remembered per container.
const maxBurst = 10000

// leastWithin is the least time for a burst: uses that come again are counted as often.
const leastWithin = Duration(time.Second)

// Load reads a file of rules. The error is a *strictyaml.Error, or of the os package if the
// file cannot be read.
func Load(path string) (File, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return File{}, err
	}
	return Parse(path, data)
}

// Parse reads a file of rules in YAML, strictly: a key that means nothing is an error, and so is
// one with nothing behind it. What is in sinks and spool is not looked at.
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
		return File{}, strictyaml.At(strictyaml.Position(body, "$.rules"), "there are no rules")
	}
	if err := nothingEmpty(strictyaml.Position(body, "$.rules")); err != nil {
		return File{}, err
	}
	return file, file.check(body)
}

// nothingEmpty refuses empty lists: what is one of none?
func nothingEmpty(node ast.Node) error {
	for _, node := range ast.Filter(ast.SequenceType, node) {
		if list, ok := node.(*ast.SequenceNode); ok && len(list.Values) == 0 {
			return strictyaml.At(list, "the list is empty, which nothing would match: leave it out, or say what is in it")
		}
	}
	return nil
}

// check completes built-in rules, finds what is wrong with the values, and notes the lines of
// the rules.
func (f *File) check(body ast.Node) error {
	known, builtin := make(map[string]bool), []Rule(nil)
	for i := range f.Rules {
		rule, here := &f.Rules[i], place{body, fmt.Sprintf("$.rules[%d]", i)}
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
				return here.errorf("builtin", "there is no built-in rule %q, but %s", rule.Builtin, names(builtin))
			}
		}
		if err := rule.check(here); err != nil {
			return err
		}
		if known[rule.Name] {
			return here.errorf("name", "there are two rules with the name %q", rule.Name)
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

// place is a mapping in a file.
type place struct {
	body ast.Node
	path string
}

func (p place) node() ast.Node {
	return strictyaml.FirstKey(strictyaml.Position(p.body, p.path))
}

// errorf is an error at a key of the mapping, or where that begins if it is not written there.
func (p place) errorf(key, format string, args ...any) error {
	node := strictyaml.Position(p.body, p.path+"."+key)
	if key == "" || node == p.body {
		node = p.node()
	}
	return strictyaml.At(node, format, args...)
}

func (r *Rule) check(here place) error {
	if r.Severity == "" {
		r.Severity = alert.Warning
	}
	_, err := alert.ParseSeverity(string(r.Severity))
	switch {
	case r.Name == "":
		return here.errorf("", "this rule has no name: alerts call it by its name")
	case strings.ContainsFunc(r.Name, func(c rune) bool { return !unicode.IsPrint(c) }):
		return here.errorf("name", "the name %q has characters that cannot be printed", r.Name)
	case err != nil:
		return here.errorf("severity", "%v", err)
	case r.empty() && r.Profiles == nil && r.Burst == nil:
		return here.errorf("", "rule %q has no condition: say what it is about, such as capabilities: [NET_RAW]", r.Name)
	case r.Alert != "" && r.Alert != First && r.Alert != Every:
		return here.errorf("alert", "%q is neither first nor every", r.Alert)
	case r.Burst != nil && r.Alert == First:
		return here.errorf("alert", "a burst counts every use: leave alert: first out")
	case r.Burst != nil && (r.Burst.Uses < 2 || r.Burst.Uses > maxBurst):
		return here.errorf("burst", "a burst of %d uses: give 2 to %d", r.Burst.Uses, maxBurst)
	case r.Burst != nil && r.Burst.Within == 0:
		return here.errorf("burst", "a burst within which time? give within, such as 10s")
	case r.Burst != nil && r.Burst.Within < leastWithin:
		return here.errorf("burst", "a burst within %s: repeated uses are counted once a second, so give 1s or more", r.Burst.Within)
	}
	if err := r.Conditions.check(here); err != nil {
		return err
	}
	for i, pattern := range r.Profiles {
		if _, err := matches(pattern, ""); err != nil || pattern == "" {
			return here.errorf(fmt.Sprintf("profiles[%d]", i), "%q is no pattern of files", pattern)
		}
	}
	for i := range r.Except {
		there := place{here.body, fmt.Sprintf("%s.except[%d]", here.path, i)}
		if r.Except[i].empty() {
			return there.errorf("", "an exception without a condition would allow everything: say what it is about")
		}
		if err := r.Except[i].check(there); err != nil {
			return err
		}
	}
	return nil
}

// UnmarshalYAML reads a list of names.
func (c *Capabilities) UnmarshalYAML(node ast.Node) error {
	const notList, notName = "a list of capabilities is wanted, such as [NET_RAW, CHOWN]", "the name of a capability is wanted, such as NET_RAW"
	return strictyaml.Words(node, notList, notName, func(name string) error {
		one, err := capability.Parse(name)
		c.Set = c.With(one)
		return err
	})
}

// MarshalYAML writes what UnmarshalYAML reads.
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
	const wanted = "true, false or a list of families of sockets is wanted, such as [packet, IPv6]"
	r.Opened = true
	return strictyaml.Words(node, wanted, wanted, func(name string) error {
		family := uses.RawSocket(name)
		if !slices.Contains(uses.RawSockets(), family) {
			return fmt.Errorf("unknown family of sockets %q: choose one of %v", name, uses.RawSockets())
		}
		r.Families = append(r.Families, family)
		return nil
	})
}

// MarshalYAML writes what UnmarshalYAML reads.
func (r RawSocket) MarshalYAML() (any, error) {
	if len(r.Families) > 0 {
		return r.Families, nil
	}
	return r.Opened, nil
}

// UnmarshalYAML reads a time above zero.
func (d *Duration) UnmarshalYAML(node ast.Node) error {
	scalar, ok := node.(ast.ScalarNode)
	if !ok || node.Type() == ast.AliasType {
		return strictyaml.At(node, "a time is wanted, such as 30s, 10m or 1h30m")
	}
	text := scalar.GetToken().Value
	length, err := time.ParseDuration(text)
	if err != nil || length <= 0 {
		return strictyaml.At(node, "%q is no time above zero, such as 30s, 10m or 1h30m", text)
	}
	*d = Duration(length)
	return nil
}

// MarshalYAML writes what UnmarshalYAML reads.
func (d Duration) MarshalYAML() (any, error) { return d.String(), nil }

// Text writes the rules as a file that Parse reads, built-in ones in full, without the sinks.
func (f File) Text() (string, error) {
	f.Sinks, f.Spool = nil, nil
	text, err := yaml.Marshal(f)
	return string(text), err
}

// check finds what is wrong with conditions, and makes filters of the patterns.
func (c *Conditions) check(here place) (err error) {
	for i, class := range c.Classes {
		if !slices.Contains(classify.Classes(), class) {
			return here.errorf(fmt.Sprintf("classes[%d]", i), "unknown class %q: choose one of %v", class, classify.Classes())
		}
	}
	if c.Verdict != "" && c.Verdict != Granted && c.Verdict != Denied {
		return here.errorf("verdict", "%q is neither granted nor denied", c.Verdict)
	}
	for _, of := range c.patterns() {
		for i, pattern := range of.list {
			if text := fault(of.key, pattern); text != "" {
				return here.errorf(fmt.Sprintf("%s[%d]", of.key, i), "%s: pattern %q %s", of.key, pattern, text)
			}
		}
	}
	if text := c.contradiction(); text != "" {
		return here.errorf("", "%s", text)
	}
	return c.compile()
}

// fault is why a pattern can match nothing, "" if it can.
func fault(key, pattern string) string {
	if _, err := matches(pattern, ""); err != nil {
		return "is malformed: a [ needs a closing ], or a backslash before it"
	}
	label, _, _ := strings.Cut(pattern, "=")
	switch {
	case pattern == "", key == "labels" && label == "":
		return "is empty"
	case key == "executables" && !strings.HasPrefix(pattern, "/"):
		return "matches no path: it has to begin with a slash, and * stands for anything but a slash"
	case key == "executables" && strings.HasSuffix(pattern, "/"):
		return "matches no path: it ends with a slash"
	case (key == "containers" || key == "services" || key == "namespaces") && strings.Contains(pattern, "/"):
		return "matches nothing: no such name has a slash"
	}
	return ""
}

// contradiction is why no use can meet all conditions, "" if one can.
func (c *Conditions) contradiction() string {
	only := func(classes ...classify.Class) bool {
		return len(c.Classes) > 0 && !slices.ContainsFunc(c.Classes, func(class classify.Class) bool { return !slices.Contains(classes, class) })
	}
	switch {
	case c.RawSocket != nil && c.RawSocket.Opened && c.Capabilities != nil && !c.Capabilities.Has(capability.NetRaw):
		return "nothing can meet this: opening a raw socket takes NET_RAW, which is not among the capabilities"
	case c.Verdict == Granted && only(classify.Denied, classify.Tolerated):
		return "nothing can meet this: it is to be granted, and the classes are of what is denied"
	case c.Verdict == Denied && only(classify.Needs()...):
		return "nothing can meet this: it is to be denied, and the classes are of what is granted"
	case c.NestedUserns != nil && *c.NestedUserns && only(append(classify.Needs(), classify.Denied)...):
		return "nothing can meet this: what is asked in a user namespace of the container's own has the class nested-userns"
	case c.NestedUserns != nil && !*c.NestedUserns && only(classify.NestedUserns):
		return "nothing can meet this: nested-userns is false, and the class is nested-userns"
	}
	return ""
}
