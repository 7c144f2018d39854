package policy

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"unicode"

	"github.com/goccy/go-yaml/ast"

	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/strictyaml"
)

// Load reads a policy from a file. The error is a *strictyaml.Error, or of the os
// package if the file cannot be read.
func Load(path string) (Policy, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Policy{}, err
	}
	return Parse(path, data)
}

// Parse reads a policy in YAML, strictly: a key that means nothing is an error, and so is one
// with nothing behind it.
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

// check finds what is wrong with the values, and notes the lines of the rules.
func (p *Policy) check(body ast.Node) error {
	if p.Version != Version {
		return strictyaml.At(strictyaml.Position(body, "$.version"), "version is %d: this capmon knows version: %d", p.Version, Version)
	}
	if len(p.Rules) == 0 {
		return strictyaml.At(strictyaml.Position(body, "$.rules"), "there are no rules")
	}
	if err := checkVerdict(body, "$.unmatched", p.Unmatched); err != nil {
		return err
	}
	known := make(map[string]bool)
	for i := range p.Rules {
		rule, path := &p.Rules[i], fmt.Sprintf("$.rules[%d]", i)
		node := strictyaml.Position(body, path)
		rule.Line = strictyaml.Line(strictyaml.FirstKey(node))
		if err := rule.check(body, path); err != nil {
			return err
		}
		if known[rule.Name] {
			return strictyaml.At(strictyaml.Position(body, path+".name"), "there are two rules with the name %q", rule.Name)
		}
		known[rule.Name] = true
	}
	return nil
}

func (r *Rule) check(body ast.Node, path string) error {
	node := strictyaml.FirstKey(strictyaml.Position(body, path))
	switch {
	case r.Name == "":
		return strictyaml.At(node, "this rule has no name: reports call it by its name")
	case strings.ContainsFunc(r.Name, func(c rune) bool { return !unicode.IsPrint(c) }):
		return strictyaml.At(strictyaml.Position(body, path+".name"), "the name %q has characters that cannot be printed", r.Name)
	case r.demandsNothing():
		return strictyaml.At(node, "rule %q requires nothing: give it deny, allow, deny-granted, allow-granted, max-unused, complete, whole-run or proved", r.Name)
	case r.deniesNothing():
		return strictyaml.At(node, "rule %q denies an empty list: name capabilities, or leave it out", r.Name)
	case r.MaxUnused != nil && *r.MaxUnused < 0:
		return strictyaml.At(strictyaml.Position(body, path+".max-unused"), "max-unused is %d: it cannot be below 0", *r.MaxUnused)
	case r.Denied != "" && r.Deny == nil && r.Allow == nil:
		return strictyaml.At(strictyaml.Position(body, path+".denied"), "denied is about deny and allow, and rule %q has neither", r.Name)
	}
	for key, selector := range map[string]*Selector{"match": r.Match, "except": r.Except} {
		if selector == nil {
			continue
		}
		if err := selector.compile(); err != nil {
			return strictyaml.At(strictyaml.Position(body, path+"."+key), "%s: %v", key, err)
		}
		if len(selector.Container)+len(selector.Image)+len(selector.Service)+len(selector.Label) == 0 {
			return strictyaml.At(strictyaml.Position(body, path+"."+key), "%s selects by nothing: give it container, image, service or label", key)
		}
	}
	return checkVerdict(body, path+".denied", r.Denied)
}

func checkVerdict(body ast.Node, path string, v Verdict) error {
	if slices.Contains([]Verdict{"", Allow, Deny}, v) {
		return nil
	}
	return strictyaml.At(strictyaml.Position(body, path), "%q is neither allow nor deny", v)
}

// UnmarshalYAML reads a list of names.
func (c *Capabilities) UnmarshalYAML(node ast.Node) error {
	const notList, notName = "a list of capabilities is wanted, such as [NET_RAW, CHOWN]", "the name of a capability is wanted, such as NET_RAW"
	return strictyaml.Words(node, notList, notName, func(name string) error {
		set, err := parseName(name)
		c.Set = c.Union(set)
		return err
	})
}

func parseName(name string) (capability.Set, error) {
	switch strings.ToUpper(name) {
	case "ALL":
		return ^capability.Set(0), nil
	case "DEFAULT":
		return capability.DockerDefault(), nil
	}
	c, err := capability.Parse(name)
	return capability.Of(c), err
}
