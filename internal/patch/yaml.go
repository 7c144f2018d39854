package patch

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// yamlFile is a YAML text with its parsed form and the pending edits.
type yamlFile struct {
	text  []byte
	lines []int // offset of the beginning of each line
	// newline is the line end in this file.
	newline string
	// json: the file is JSON and has to remain JSON.
	json bool
	// compose: the file is a compose file, with the tags and variables of Compose.
	compose   bool
	documents []*yaml.Node
	// aliased are the anchored nodes that aliases repeat.
	aliased map[*yaml.Node]bool
	edits   []edit
	changes []change
	// warnings say why the lists may have no effect.
	warnings []string
}

// position is a position in the data of a file.
type position struct {
	document int
	path     []any // keys and indices
}

func (p position) child(key any) position {
	return position{p.document, append(slices.Clip(p.path), key)}
}

// change is the effect of an edit: a list at a position.
type change struct {
	position
	words []string
}

func parseYAML(text []byte) (*yamlFile, error) {
	if !utf8.Valid(text) {
		return nil, errors.New("it is not UTF-8")
	}
	f := &yamlFile{text: text, newline: "\n", json: json.Valid(bytes.TrimPrefix(text, []byte("\ufeff"))), aliased: make(map[*yaml.Node]bool)}
	f.findLines()
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	for {
		var document yaml.Node
		err := decoder.Decode(&document)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, unreadable(text, err)
		}
		f.documents = append(f.documents, document.Content[0])
		f.findAliased(&document)
	}
	if _, err := decodeAll(text); err != nil { // fails for the {{ }} of a template, which is a mapping in the key of a mapping
		return nil, unreadable(text, err)
	}
	return f, nil
}

func unreadable(text []byte, err error) error {
	if bytes.Contains(text, []byte("{{")) {
		return fmt.Errorf("it is a template and not YAML: write the lists by hand, or into the values that it is rendered with (for a Helm chart: --for helm): %w", err)
	}
	return fmt.Errorf("it is not YAML: %w", err)
}

// findLines splits the text into lines as the parser does (is_break in yamlprivateh.go).
func (f *yamlFile) findLines() {
	start := 0
	if bytes.HasPrefix(f.text, []byte("\ufeff")) {
		start = len("\ufeff") // the parser does not count it
	}
	f.lines = []int{start}
	if i := bytes.IndexByte(f.text, '\n'); i > 0 && f.text[i-1] == '\r' {
		f.newline = "\r\n"
	}
	for i, r := range string(f.text) {
		switch r {
		case '\r':
			if i+1 < len(f.text) && f.text[i+1] == '\n' {
				continue
			}
			f.lines = append(f.lines, i+1)
		case '\n', '\u0085', '\u2028', '\u2029':
			f.lines = append(f.lines, i+utf8.RuneLen(r))
		}
	}
}

func (f *yamlFile) findAliased(node *yaml.Node) {
	if node.Kind == yaml.AliasNode {
		f.aliased[node.Alias] = true
		return
	}
	for _, child := range node.Content {
		f.findAliased(child)
	}
}

// offset returns where a node begins, including its tag and anchor.
func (f *yamlFile) offset(node *yaml.Node) int {
	at := f.lines[node.Line-1]
	for range node.Column - 1 {
		_, size := utf8.DecodeRune(f.text[at:])
		at += size
	}
	return at
}

// line returns the text from an offset to the end of its line, without the line end.
func (f *yamlFile) line(at int) []byte {
	return bytes.TrimRight(f.text[at:f.nextLine(at)], "\r\n\u0085\u2028\u2029")
}

// nextLine returns the offset of the line after the one that contains an offset.
func (f *yamlFile) nextLine(at int) int {
	if next, _ := slices.BinarySearch(f.lines, at+1); next < len(f.lines) {
		return f.lines[next]
	}
	return len(f.text)
}

// content returns where a node's own text begins, after its tag and anchor.
func (f *yamlFile) content(node *yaml.Node) int {
	at := f.offset(node)
	for at < len(f.text) && (f.text[at] == '!' || f.text[at] == '&') {
		for at < len(f.text) && !strings.ContainsRune(" \t\r\n", rune(f.text[at])) {
			at++
		}
		for at < len(f.text) && strings.ContainsRune(" \t", rune(f.text[at])) {
			at++
		}
	}
	return at
}

// member returns the key node and the value of a key that is written in the mapping itself; nil if it is not.
func member(mapping *yaml.Node, key string) (name, value *yaml.Node) {
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == key && mapping.Content[i].Kind == yaml.ScalarNode {
			return mapping.Content[i], mapping.Content[i+1]
		}
	}
	return nil, nil
}

// members iterates over the keys and values that are written in a mapping itself, without those that it merges (<<).
func members(mapping *yaml.Node) iter.Seq2[*yaml.Node, *yaml.Node] {
	return func(yield func(key, value *yaml.Node) bool) {
		if mapping.Kind != yaml.MappingNode {
			return
		}
		for i := 0; i+1 < len(mapping.Content); i += 2 {
			if key := mapping.Content[i]; key.Tag != "!!merge" && !yield(key, mapping.Content[i+1]) {
				return
			}
		}
	}
}

// items returns the items of a list, none if the node is not a list.
func items(list *yaml.Node) []*yaml.Node {
	list = resolved(list)
	if list == nil || list.Kind != yaml.SequenceNode {
		return nil
	}
	return list.Content
}

// resolved returns the target of an alias, or the node itself if it is not an alias.
func resolved(node *yaml.Node) *yaml.Node {
	if node != nil && node.Kind == yaml.AliasNode {
		return node.Alias
	}
	return node
}

// scalar returns a node's text, "" if it has none.
func scalar(node *yaml.Node) string {
	if node = resolved(node); node == nil || node.Kind != yaml.ScalarNode {
		return ""
	}
	return node.Value
}

// lookup returns the value of a key in a mapping, or in the mappings that it merges (<<).
func lookup(mapping *yaml.Node, key string) *yaml.Node {
	if mapping.Kind == yaml.AliasNode {
		mapping = mapping.Alias
	}
	if mapping.Kind != yaml.MappingNode {
		return nil
	}
	if _, value := member(mapping, key); value != nil {
		return value
	}
	_, merged := member(mapping, "<<")
	if merged == nil {
		return nil
	}
	if merged.Kind != yaml.SequenceNode {
		return lookup(merged, key)
	}
	for _, one := range merged.Content {
		if value := lookup(one, key); value != nil {
			return value
		}
	}
	return nil
}

// requireUnshared returns an error unless the node is a mapping that no alias shares. A shared mapping cannot be
// changed for one of its users only.
func (f *yamlFile) requireUnshared(node *yaml.Node, what string) error {
	switch {
	case node.Kind == yaml.AliasNode:
		return fmt.Errorf("line %d: %s is the alias %q: replace it with a copy of the value", node.Line, what, "*"+node.Value)
	case f.aliased[node]:
		return fmt.Errorf("line %d: %s is also used by the alias %q, so the change would have an effect there too: replace the alias with a copy of the value", node.Line, what, "*"+node.Anchor)
	case node.Kind != yaml.MappingNode:
		return fmt.Errorf("line %d: %s is not a mapping", node.Line, what)
	}
	return nil
}

// requireUnprivileged returns an error if a mapping, or a mapping that it merges, makes the container privileged.
func (f *yamlFile) requireUnprivileged(mapping *yaml.Node, what string) error {
	value := resolved(lookup(mapping, "privileged"))
	if value == nil {
		return nil
	}
	var privileged bool
	if value.Kind == yaml.ScalarNode && (value.Tag == "!!null" || value.Decode(&privileged) == nil && !privileged) || f.compose && f.isFalse(value, what) {
		return nil
	}
	return fmt.Errorf("line %d: %s has privileged: %q, which grants all capabilities, even if you drop some, and access to devices: remove it first, then profile again",
		value.Line, what, value.Value)
}

// variableWithDefault matches a variable with a default value.
var variableWithDefault = regexp.MustCompile(`^\$\{\w+:?-([^${}]*)\}$`)

// isFalse reports whether Compose reads a value as false (toBoolean, loader/interpolate.go of compose-go), at least
// while the variable in it is not set.
func (f *yamlFile) isFalse(value *yaml.Node, what string) bool {
	if value.Tag == reset {
		return true
	}
	text := value.Value
	match := variableWithDefault.FindStringSubmatch(text)
	if match != nil {
		text = match[1]
	}
	if value.Kind != yaml.ScalarNode || !slices.Contains([]string{"false", "no", "off", "n"}, strings.ToLower(text)) {
		return false
	}
	if match != nil {
		f.warnings = append(f.warnings, fmt.Sprintf("%s has privileged: %q: if the variable is set to true, the container has all capabilities, even if you drop some", what, value.Value))
	}
	return true
}

// finish applies the edits and verifies that only the intended data have changed.
func (f *yamlFile) finish() (after []byte, warnings []string, err error) {
	after = apply(f.text, f.edits)
	want, err := decodeAll(f.text)
	if err != nil {
		return nil, nil, err
	}
	for _, c := range f.changes {
		list := make([]any, 0, len(c.words))
		for _, word := range c.words {
			list = append(list, word)
		}
		if want[c.document], err = withValue(want[c.document], c.path, list); err != nil {
			return nil, nil, err
		}
	}
	if got, err := decodeAll(after); err != nil || !reflect.DeepEqual(sortedAt(got, f.changes), sortedAt(want, f.changes)) {
		return nil, nil, errUnsafe
	}
	return after, f.warnings, nil
}

func decodeAll(text []byte) ([]any, error) {
	var all []any
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	for {
		var document any
		switch err := decoder.Decode(&document); {
		case errors.Is(err, io.EOF):
			return all, nil
		case err != nil:
			return nil, err
		}
		all = append(all, document)
	}
}

// withValue returns data with a value at a path. It creates missing mappings on the path.
func withValue(data any, path []any, value any) (any, error) {
	if len(path) == 0 {
		return value, nil
	}
	switch key := path[0].(type) {
	case string:
		mapping, ok := data.(map[string]any)
		if !ok && data != nil {
			return nil, fmt.Errorf("%s is not a member of a mapping", key)
		}
		child, err := withValue(mapping[key], path[1:], value)
		if mapping == nil {
			mapping = make(map[string]any)
		}
		mapping[key] = child
		return mapping, err
	case int:
		list, ok := data.([]any)
		if !ok || key >= len(list) {
			return nil, fmt.Errorf("%d is not a member of a list", key)
		}
		child, err := withValue(list[key], path[1:], value)
		list[key] = child
		return list, err
	}
	return nil, fmt.Errorf("%v is neither key nor index", path[0])
}

// sortedAt sorts the lists at the positions of the changes, because their order has no meaning.
func sortedAt(data []any, changes []change) []any {
	for _, c := range changes {
		if c.document >= len(data) {
			continue
		}
		at := data[c.document]
		for _, step := range c.path {
			switch key := step.(type) {
			case string:
				mapping, _ := at.(map[string]any)
				at = mapping[key]
			case int:
				list, ok := at.([]any)
				if at = nil; ok && key < len(list) {
					at = list[key]
				}
			}
		}
		if list, ok := at.([]any); ok {
			slices.SortFunc(list, func(one, other any) int { return strings.Compare(fmt.Sprint(one), fmt.Sprint(other)) })
		}
	}
	return data
}
