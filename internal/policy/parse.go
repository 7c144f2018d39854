package policy

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"unicode"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/printable"
)

// Error says what is wrong with a policy, and where.
type Error struct {
	Path string
	Line int // 0 if it is nowhere in particular
	Text string
}

func (e *Error) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%s: %s", e.Path, e.Text)
	}
	return fmt.Sprintf("%s:%d: %s", e.Path, e.Line, e.Text)
}

// placed is an error at a token.
type placed struct {
	token *token.Token
	text  string
}

func (e *placed) Error() string { return e.text }

func at(node ast.Node, format string, args ...any) error {
	text := fmt.Sprintf(format, args...)
	if node == nil { // an empty document has none
		return errors.New(text)
	}
	return &placed{node.GetToken(), text}
}

// lineOf is the line of a token, 0 if it is not known.
func lineOf(t *token.Token) int {
	if t == nil || t.Position == nil {
		return 0
	}
	return t.Position.Line
}

// Load reads a policy from a file. The error is an *Error, or of the os package if the file
// cannot be read.
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
		return Policy{}, explain(path, err)
	}
	p.Path = path
	return p, nil
}

func parse(data []byte) (Policy, error) {
	file, err := parser.ParseBytes(data, 0)
	if err != nil {
		return Policy{}, err
	}
	if len(file.Docs) > 1 {
		return Policy{}, at(file.Docs[1].Body, "a policy is one document, and here begins another")
	}
	if len(file.Docs) == 0 || file.Docs[0].Body == nil || file.Docs[0].Body.Type() == ast.NullType {
		return Policy{}, errors.New("it is empty: a policy has version: 1 and rules")
	}
	body := file.Docs[0].Body
	if err := nothingMissing(body); err != nil {
		return Policy{}, err
	}
	var p Policy
	if err := yaml.NodeToValue(body, &p, yaml.Strict()); err != nil {
		return Policy{}, err
	}
	return p, p.check(body)
}

// nothingMissing refuses keys with nothing behind them: allow: may mean that nothing is
// allowed, or that nothing is said.
func nothingMissing(body ast.Node) error {
	for _, node := range ast.Filter(ast.MappingValueType, body) {
		if pair, ok := node.(*ast.MappingValueNode); ok && pair.Value.Type() == ast.NullType {
			return at(pair.Key, "there is nothing behind %s: leave it out, or say what it is", pair.Key)
		}
	}
	return nil
}

// check finds what is wrong with the values, and notes the lines of the rules.
func (p *Policy) check(body ast.Node) error {
	if p.Version != Version {
		return at(position(body, "$.version"), "version is %d: this capmon knows version: %d", p.Version, Version)
	}
	if len(p.Rules) == 0 {
		return at(position(body, "$.rules"), "there are no rules")
	}
	if err := checkVerdict(body, "$.unmatched", p.Unmatched); err != nil {
		return err
	}
	known := make(map[string]bool)
	for i := range p.Rules {
		rule, path := &p.Rules[i], fmt.Sprintf("$.rules[%d]", i)
		node := position(body, path)
		rule.Line = lineOf(firstKey(node).GetToken())
		if err := rule.check(body, path); err != nil {
			return err
		}
		if known[rule.Name] {
			return at(position(body, path+".name"), "there are two rules with the name %q", rule.Name)
		}
		known[rule.Name] = true
	}
	return nil
}

func (r *Rule) check(body ast.Node, path string) error {
	node := firstKey(position(body, path))
	switch {
	case r.Name == "":
		return at(node, "this rule has no name: reports call it by its name")
	case strings.ContainsFunc(r.Name, func(c rune) bool { return !unicode.IsPrint(c) }):
		return at(position(body, path+".name"), "the name %q has characters that cannot be printed", r.Name)
	case r.demandsNothing():
		return at(node, "rule %q demands nothing: give it deny, allow, deny-granted, allow-granted, max-unused, complete, whole-run or proved", r.Name)
	case r.deniesNothing():
		return at(node, "rule %q denies an empty list: name capabilities, or leave it out", r.Name)
	case r.MaxUnused != nil && *r.MaxUnused < 0:
		return at(position(body, path+".max-unused"), "max-unused is %d: it cannot be below 0", *r.MaxUnused)
	case r.Refused != "" && r.Deny == nil && r.Allow == nil:
		return at(position(body, path+".refused"), "refused is about deny and allow, and rule %q has neither", r.Name)
	}
	for key, selector := range map[string]*Selector{"match": r.Match, "except": r.Except} {
		if selector == nil {
			continue
		}
		if err := selector.compile(); err != nil {
			return at(position(body, path+"."+key), "%s: %v", key, err)
		}
		if len(selector.Container)+len(selector.Image)+len(selector.Service)+len(selector.Label) == 0 {
			return at(position(body, path+"."+key), "%s selects by nothing: give it container, image, service or label", key)
		}
	}
	return checkVerdict(body, path+".refused", r.Refused)
}

func checkVerdict(body ast.Node, path string, v Verdict) error {
	if slices.Contains([]Verdict{"", Allow, Deny}, v) {
		return nil
	}
	return at(position(body, path), "%q is neither allow nor deny", v)
}

// position is the node at a path, or the whole where there is none.
func position(body ast.Node, path string) ast.Node {
	p, err := yaml.PathString(path)
	if err != nil {
		return body
	}
	node, err := p.FilterNode(body)
	if err != nil || node == nil {
		return body
	}
	return node
}

// firstKey is where a mapping begins: its own token is a colon behind its first key, or a brace.
func firstKey(node ast.Node) ast.Node {
	switch node := node.(type) {
	case *ast.MappingNode:
		if len(node.Values) > 0 {
			return node.Values[0].Key
		}
	case *ast.MappingValueNode:
		return node.Key
	}
	return node
}

// UnmarshalYAML reads a list of names.
func (c *Capabilities) UnmarshalYAML(node ast.Node) error {
	list, ok := node.(*ast.SequenceNode)
	if !ok {
		return at(node, "a list of capabilities is wanted, such as [NET_RAW, CHOWN]")
	}
	for _, element := range list.Values {
		if anchor, ok := element.(*ast.AnchorNode); ok {
			element = anchor.Value
		}
		_, scalar := element.(ast.ScalarNode)
		if !scalar || element.Type() == ast.AliasType {
			return at(element, "the name of a capability is wanted, such as NET_RAW")
		}
		set, err := parseName(element.GetToken().Value)
		if err != nil {
			return at(element, "%v", err)
		}
		c.Set = c.Union(set)
	}
	return nil
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

// explain says in one line what is wrong and where.
func explain(path string, err error) error {
	var here *placed
	if errors.As(err, &here) {
		return &Error{path, lineOf(here.token), printable.Text(here.text)}
	}
	var syntax yaml.Error
	if errors.As(err, &syntax) {
		return &Error{path, lineOf(syntax.GetToken()), printable.Text(syntax.GetMessage())}
	}
	return &Error{Path: path, Text: printable.Text(err.Error())}
}
