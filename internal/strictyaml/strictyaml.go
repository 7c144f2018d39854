// Package strictyaml reads files in YAML that people write: a key that means nothing is an
// error, and so is one with nothing behind it, and an error names the line.
package strictyaml

import (
	"errors"
	"fmt"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"github.com/capmon/capmon/internal/printable"
)

// Error says what is wrong with a file, and where.
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

// Explain says in one line what is wrong with the file at a path and where: an *Error, of
// whatever error Parse, Decode and At have made.
func Explain(path string, err error) error {
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

// placed is an error at a token.
type placed struct {
	token *token.Token
	text  string
}

func (e *placed) Error() string { return e.text }

// At is an error at a node; of nil it is nowhere in particular.
func At(node ast.Node, format string, args ...any) error {
	text := fmt.Sprintf(format, args...)
	if node == nil { // an empty document has none
		return errors.New(text)
	}
	return &placed{node.GetToken(), text}
}

// Line of a node, 0 if it is not known.
func Line(node ast.Node) int {
	if node == nil {
		return 0
	}
	return lineOf(node.GetToken())
}

func lineOf(t *token.Token) int {
	if t == nil || t.Position == nil {
		return 0
	}
	return t.Position.Line
}

// Parse reads the one document that a file has. Errors call it by the noun, such as "a
// policy", and name what it has, such as "version: 1 and rules".
func Parse(data []byte, noun, has string) (ast.Node, error) {
	file, err := parser.ParseBytes(data, 0)
	if err != nil {
		return nil, err
	}
	if len(file.Docs) > 1 {
		return nil, At(file.Docs[1].Body, "%s is one document, and here begins another", noun)
	}
	if len(file.Docs) == 0 || file.Docs[0].Body == nil || file.Docs[0].Body.Type() == ast.NullType {
		return nil, fmt.Errorf("it is empty: %s has %s", noun, has)
	}
	body := file.Docs[0].Body
	for _, node := range ast.Filter(ast.TagType, body) { // the decoder panics where a list has one, and is none
		return nil, At(node, "%s means nothing here: leave it out", node.GetToken().Value)
	}
	return body, nothingMissing(body)
}

// nothingMissing refuses keys with nothing behind them: allow: may mean that nothing is
// allowed, or that nothing is said.
func nothingMissing(body ast.Node) error {
	for _, node := range ast.Filter(ast.MappingValueType, body) {
		if pair, ok := node.(*ast.MappingValueNode); ok && pair.Value.Type() == ast.NullType {
			return At(pair.Key, "there is nothing behind %s: leave it out, or say what it is", pair.Key)
		}
	}
	return nil
}

// Decode makes a value of a node. A key that the value has no field for is an error.
// Aliases are those of anchors in the node.
func Decode(node ast.Node, value any) error {
	return yaml.NodeToValue(node, value, yaml.Strict())
}

// Position is the node at a path, such as $.rules[0].name, or the whole where there is none.
func Position(body ast.Node, path string) ast.Node {
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

// FirstKey is where a mapping begins: its own token is a colon behind its first key, or a
// brace. Of other nodes it is the node itself.
func FirstKey(node ast.Node) ast.Node {
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

// Words reads a list of scalars and gives each to add, whose error is told at the word. What
// is said where there is another thing are notList and notWord.
func Words(node ast.Node, notList, notWord string, add func(string) error) error {
	sequence, ok := node.(*ast.SequenceNode)
	if !ok {
		return At(node, "%s", notList)
	}
	for _, element := range sequence.Values {
		if anchor, ok := element.(*ast.AnchorNode); ok {
			element = anchor.Value
		}
		if _, scalar := element.(ast.ScalarNode); !scalar || element.Type() == ast.AliasType {
			return At(element, "%s", notWord)
		}
		if err := add(element.GetToken().Value); err != nil {
			return At(element, "%v", err)
		}
	}
	return nil
}
