package policy

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"unicode"

	"github.com/goccy/go-yaml/ast"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/strictyaml"
)

// Load reads a policy from a file. The error is a [*strictyaml.Error], or an error of package os if the file cannot be
// read.
func Load(path string) (Policy, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Policy{}, err
	}
	return Parse(path, data)
}

// Parse reads a policy in YAML, strictly: unknown keys and keys without a value are errors.
func Parse(path string, data []byte) (Policy, error) {
	p, err := parse(data)
	if err != nil {
		return Policy{}, strictyaml.Explain(path, err)
	}
	p.Path = path
	return p, nil
}

func parse(data []byte) (Policy, error) {
	body, err := strictyaml.Parse(data, "a policy", "version: 1 and rules")
	if err != nil {
		return Policy{}, err
	}
	var p Policy
	if err := strictyaml.Decode(body, &p); err != nil {
		return Policy{}, err
	}
	return p, p.check(body)
}

// check validates the values and sets the lines of the rules.
func (p *Policy) check(body ast.Node) error {
	if p.Version != Version {
		return strictyaml.ErrorAt(strictyaml.NodeAt(body, "$.version"), "unsupported version %d: this version of capmon reads policies of version %d", p.Version, Version)
	}
	if len(p.Rules) == 0 {
		return strictyaml.ErrorAt(strictyaml.NodeAt(body, "$.rules"), "there are no rules")
	}
	if !slices.Contains([]Outcome{"", Pass, Fail}, p.Unmatched) {
		return strictyaml.ErrorAt(strictyaml.NodeAt(body, "$.unmatched"), "unmatched is %q: write pass or fail", p.Unmatched)
	}
	known := make(map[string]bool)
	for i := range p.Rules {
		rule, path := &p.Rules[i], fmt.Sprintf("$.rules[%d]", i)
		node := strictyaml.NodeAt(body, path)
		rule.Line = strictyaml.Line(strictyaml.FirstKey(node))
		if err := rule.check(body, path); err != nil {
			return err
		}
		if known[rule.Name] {
			return strictyaml.ErrorAt(strictyaml.NodeAt(body, path+".name"), "there are two rules with the name %q", rule.Name)
		}
		known[rule.Name] = true
	}
	return nil
}

func (r *Rule) check(body ast.Node, path string) error {
	node := strictyaml.FirstKey(strictyaml.NodeAt(body, path))
	switch {
	case r.Name == "":
		return strictyaml.ErrorAt(node, "this rule has no name: add a unique name for reports")
	case strings.ContainsFunc(r.Name, func(c rune) bool { return !unicode.IsPrint(c) }):
		return strictyaml.ErrorAt(strictyaml.NodeAt(body, path+".name"), "the name %q has characters that cannot be printed", r.Name)
	case r.requiresNothing():
		return strictyaml.ErrorAt(node, "rule %q requires nothing: add deny, allow, deny-granted, allow-granted, max-unused, complete, whole-run or proved", r.Name)
	case r.deniesNothing():
		return strictyaml.ErrorAt(node, "rule %q denies an empty list: name capabilities, or remove the key", r.Name)
	case r.MaxUnused != nil && *r.MaxUnused < 0:
		return strictyaml.ErrorAt(strictyaml.NodeAt(body, path+".max-unused"), "max-unused is %d: it must be 0 or more", *r.MaxUnused)
	case r.IgnoreDenied && r.Deny == nil && r.Allow == nil:
		return strictyaml.ErrorAt(strictyaml.NodeAt(body, path+".ignore-denied"), "ignore-denied requires deny or allow, and rule %q has neither", r.Name)
	}
	for key, selector := range map[string]*Selector{"match": r.Match, "except": r.Except} {
		if selector == nil {
			continue
		}
		if err := selector.compile(); err != nil {
			return strictyaml.ErrorAt(strictyaml.NodeAt(body, path+"."+key), "%s: %v", key, err)
		}
		if len(selector.Container)+len(selector.Image)+len(selector.Service)+len(selector.Label) == 0 {
			return strictyaml.ErrorAt(strictyaml.NodeAt(body, path+"."+key), "%s is empty: add container, image, service or label", key)
		}
	}
	return nil
}

// UnmarshalYAML reads a list of names.
func (c *Capabilities) UnmarshalYAML(node ast.Node) error {
	const notList, notName = "expected a list of capabilities, such as [NET_RAW, CHOWN]", "expected the name of a capability, such as NET_RAW"
	return strictyaml.ReadList(node, notList, notName, func(name string) error {
		set, err := capability.ParseSet(name)
		c.Set = c.Union(set)
		return err
	})
}
