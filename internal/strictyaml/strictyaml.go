// Package strictyaml reads YAML files that people write. Unknown keys and keys without a value are errors, and each
// error contains the line.
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

// Error describes a mistake in a file and its position.
type Error struct {
	Path string
	Line int // 0 if the error has no position
	Text string
}

func (e *Error) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%s: %s", e.Path, e.Text)
	}
	return fmt.Sprintf("%s:%d: %s", e.Path, e.Line, e.Text)
}

// Explain returns an [*Error] with the path, the line and a description in one line. err is an error of [Parse],
// [Decode] or [ErrorAt].
func Explain(path string, err error) error {
	var positioned *positionedError
	if errors.As(err, &positioned) {
		return &Error{path, lineOf(positioned.token), printable.Text(positioned.text)}
	}
	var syntax yaml.Error
	if errors.As(err, &syntax) {
		return &Error{path, lineOf(syntax.GetToken()), printable.Text(syntax.GetMessage())}
	}
	return &Error{Path: path, Text: printable.Text(err.Error())}
}

// positionedError is an error at a token.
type positionedError struct {
	token *token.Token
	text  string
}

func (e *positionedError) Error() string { return e.text }

// ErrorAt returns an error at a node, or an error without a position if the node is nil.
func ErrorAt(node ast.Node, format string, args ...any) error {
	text := fmt.Sprintf(format, args...)
	if node == nil { // an empty document
		return errors.New(text)
	}
	return &positionedError{node.GetToken(), text}
}

// Line returns the line of a node, 0 if it is not known.
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

// Parse reads a file with one document. noun and keys are for error messages: the noun for the file, such as "a
// policy", and the keys that it must have, such as "version: 1 and rules".
func Parse(data []byte, noun, keys string) (ast.Node, error) {
	file, err := parser.ParseBytes(data, 0)
	if err != nil {
		return nil, err
	}
	if len(file.Docs) > 1 {
		return nil, ErrorAt(file.Docs[1].Body, "%s must be one document, and a second one begins here", noun)
	}
	if len(file.Docs) == 0 || file.Docs[0].Body == nil || file.Docs[0].Body.Type() == ast.NullType {
		return nil, fmt.Errorf("it is empty: %s must have %s", noun, keys)
	}
	body := file.Docs[0].Body
	for _, node := range ast.Filter(ast.TagType, body) { // the decoder panics on a tag where it expects a list
		return nil, ErrorAt(node, "the tag %s is not allowed: remove it", node.GetToken().Value)
	}
	return body, checkValues(body)
}

// checkValues rejects keys without a value. For example, "allow:" could mean that nothing is allowed, or that nothing
// is restricted.
func checkValues(body ast.Node) error {
	for _, node := range ast.Filter(ast.MappingValueType, body) {
		if pair, ok := node.(*ast.MappingValueNode); ok && pair.Value.Type() == ast.NullType {
			return ErrorAt(pair.Key, "%s has no value: give it one, or remove the key", pair.Key)
		}
	}
	return nil
}

// Decode decodes a node into a value. A key for which the value has no field is an error. Aliases refer to anchors in
// the node.
func Decode(node ast.Node, value any) error {
	return yaml.NodeToValue(node, value, yaml.Strict())
}

// NodeAt returns the node at a path, such as $.rules[0].name, or body if there is none.
func NodeAt(body ast.Node, path string) ast.Node {
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

// FirstKey returns the first key of a mapping, or the node itself if it is not a mapping. The token of a mapping is the
// brace or the colon after its first key, so it is not the beginning.
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

// ReadList calls add for each scalar in a list. An error of add gets the position of the scalar. notList and notScalar
// are the messages for other nodes.
func ReadList(node ast.Node, notList, notScalar string, add func(string) error) error {
	sequence, ok := node.(*ast.SequenceNode)
	if !ok {
		return ErrorAt(node, "%s", notList)
	}
	for _, element := range sequence.Values {
		if anchor, ok := element.(*ast.AnchorNode); ok {
			element = anchor.Value
		}
		if _, scalar := element.(ast.ScalarNode); !scalar || element.Type() == ast.AliasType {
			return ErrorAt(element, "%s", notScalar)
		}
		if err := add(element.GetToken().Value); err != nil {
			return ErrorAt(element, "%v", err)
		}
	}
	return nil
}
