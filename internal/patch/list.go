package patch

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// entry is a member of a mapping that is to be there: a list of words, or a mapping of
// such members.
type entry struct {
	key     string
	words   []string
	members []entry
	// optional: if it is missing, that means the empty list.
	optional bool
}

// set makes the mapping at a place have entries. preferred are keys that new ones may
// stand behind.
func (f *yamlFile) set(mapping *yaml.Node, at place, entries []entry, preferred ...string) error {
	var missing []entry
	for _, e := range entries {
		key, value := member(mapping, e.key)
		if value == nil {
			_, merges := member(mapping, "<<")
			if !e.optional || len(e.words) > 0 || merges != nil {
				missing = append(missing, e)
				f.note(at, e)
			}
			continue
		}
		if err := f.change(key, value, at, e); err != nil {
			return err
		}
	}
	if len(missing) > 0 {
		f.insert(mapping, missing, preferred)
	}
	return nil
}

// note takes down what an entry that is written anew means.
func (f *yamlFile) note(at place, e entry) {
	at = at.below(e.key)
	if e.members == nil {
		f.changes = append(f.changes, change{at, e.words})
	}
	for _, m := range present(e.members) {
		f.note(at, m)
	}
}

func (f *yamlFile) change(key, value *yaml.Node, at place, e entry) error {
	if value.Kind == yaml.ScalarNode && value.Tag == "!!null" && value.Anchor == "" {
		f.note(at, e)
		return f.fill(key, value, e)
	}
	if e.members != nil {
		if err := f.alone(value, e.key); err != nil {
			return err
		}
		return f.set(value, at.below(e.key), e.members)
	}
	if f.compose {
		e.words = respelled(e.words, value)
	}
	f.note(at, e)
	switch {
	case value.Anchor != "":
		return fmt.Errorf("line %d: %s has the anchor %q, under which others may repeat it: write it out there", value.Line, e.key, "&"+value.Anchor)
	case strings.HasPrefix(value.Tag, "!") && !strings.HasPrefix(value.Tag, "!!") && value.Tag != override:
		return fmt.Errorf("line %d: %s has the tag %q, which gives it another meaning: take it out", value.Line, e.key, value.Tag)
	case value.Kind == yaml.AliasNode:
		start := f.offset(value)
		f.replace(start, start+len("*"+value.Value), inline(e, f.json))
		return nil
	case value.Kind != yaml.SequenceNode:
		return fmt.Errorf("line %d: %s is no list", value.Line, e.key)
	case same(value, e.words):
		return nil
	case value.Style&yaml.FlowStyle != 0:
		return f.replaceFlow(value, e)
	}
	return f.replaceItems(key, value, e)
}

// respelled are words as a list spells those of them that it has, if that means the same to Docker
// (NormalizeLegacyCapabilities, oci/caps/utils.go of moby): in any case, with CAP_ or without.
func respelled(words []string, list *yaml.Node) []string {
	words = slices.Clone(words)
	for _, item := range items(list) {
		if i := slices.Index(words, bare(scalar(item))); i >= 0 && item.Kind == yaml.ScalarNode {
			words[i] = item.Value
		}
	}
	return words
}

// bare is the name of a capability as Docker's documents and Kubernetes have it.
func bare(name string) string { return strings.TrimPrefix(strings.ToUpper(name), "CAP_") }

// same tells whether a list has the words, in whatever order.
func same(list *yaml.Node, words []string) bool {
	var has []string
	for _, item := range list.Content {
		if item.Kind != yaml.ScalarNode {
			return false
		}
		has = append(has, item.Value)
	}
	slices.Sort(has)
	return slices.Equal(has, slices.Sorted(slices.Values(words)))
}

func (f *yamlFile) replace(start, end int, text string) {
	f.edits = append(f.edits, edit{start, end, text})
}

// fill gives a key without a value one.
func (f *yamlFile) fill(key, value *yaml.Node, e entry) error {
	if value.Value != "" { // null or ~
		at := f.content(value)
		f.replace(at, at+len(value.Value), inline(e, f.json))
		return nil
	}
	at, ok := f.colon(key)
	if !ok {
		return fmt.Errorf("line %d: %s has no value that could be replaced", key.Line, e.key)
	}
	f.replace(at, at, " "+inline(e, f.json))
	return nil
}

// colon is the place behind the colon of a key.
func (f *yamlFile) colon(key *yaml.Node) (at int, ok bool) {
	start := f.content(key)
	i := bytes.IndexByte(f.line(start), ':')
	return start + i + 1, i >= 0
}

// replaceFlow replaces a list in brackets.
func (f *yamlFile) replaceFlow(list *yaml.Node, e entry) error {
	start := f.content(list)
	end, ok := closing(f.text, start)
	if !ok {
		return fmt.Errorf("line %d: the end of %s is not found", list.Line, e.key)
	}
	quoted := len(list.Content) > 0 && list.Content[0].Style&yaml.DoubleQuotedStyle != 0
	f.replace(start, end, inline(e, quoted || f.json))
	return nil
}

// closing is the place behind the bracket that closes the one at start.
func closing(text []byte, start int) (end int, ok bool) {
	if start >= len(text) || text[start] != '[' {
		return 0, false
	}
	var quote byte
	for i := start + 1; i < len(text); i++ {
		switch c := text[i]; {
		case quote != 0:
			if c == '\\' && quote == '"' {
				i++
			} else if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == '#' && strings.IndexByte(" \t\n", text[i-1]) >= 0:
			if i += bytes.IndexByte(append(text[i:len(text):len(text)], '\n'), '\n'); i >= len(text) {
				return 0, false
			}
		case c == '[':
			return 0, false // a list in the list is none of capabilities
		case c == ']':
			return i + 1, true
		}
	}
	return 0, false
}

// replaceItems changes a list of an item per line: what is needed stays, with its
// comments.
func (f *yamlFile) replaceItems(key, list *yaml.Node, e entry) error {
	wanted := slices.Clone(e.words)
	first := f.lines[list.Content[0].Line-1]
	at := first // where new items go: behind the last one that stays
	for _, item := range list.Content {
		if item.Kind != yaml.ScalarNode || !f.isItem(item) {
			return fmt.Errorf("line %d: %s has something else than a name in a line of its own", item.Line, e.key)
		}
		start := f.lines[item.Line-1]
		if i := slices.Index(wanted, item.Value); i >= 0 {
			wanted = slices.Delete(wanted, i, i+1)
			at = f.nextLine(start)
			continue
		}
		if i := slices.Index(wanted, bare(item.Value)); i >= 0 && f.respell(item, wanted[i]) {
			wanted = slices.Delete(wanted, i, i+1)
			at = f.nextLine(start)
			continue
		}
		f.replace(start, f.nextLine(start), "")
	}
	if len(e.words) == 0 {
		colon, ok := f.colon(key)
		if !ok || colon > first {
			return fmt.Errorf("line %d: %s does not stand in front of its list", key.Line, e.key)
		}
		f.replace(colon, colon, " []")
		return nil
	}
	indent := f.line(first)
	indent = indent[:bytes.IndexByte(indent, '-')]
	var text string
	for _, word := range wanted {
		text += string(indent) + "- " + word + f.newline
	}
	f.insertLines(at, text)
	return nil
}

// respell gives an item another spelling, and leaves the comment behind it; false if it is written
// in too unusual a way.
func (f *yamlFile) respell(item *yaml.Node, word string) bool {
	start := f.content(item)
	if c := f.text[start]; c == '"' || c == '\'' {
		start++
	}
	if !bytes.HasPrefix(f.text[start:], []byte(item.Value)) {
		return false
	}
	f.replace(start, start+len(item.Value), word)
	return true
}

// isItem tells whether an item's line has nothing but it and a comment.
func (f *yamlFile) isItem(item *yaml.Node) bool {
	var alone []string
	err := yaml.Unmarshal(f.line(f.lines[item.Line-1]), &alone)
	return err == nil && slices.Equal(alone, []string{item.Value})
}

// insertLines puts whole lines at the beginning of a line, or at the end of a file whose
// last line does not end.
func (f *yamlFile) insertLines(at int, text string) {
	if text == "" {
		return
	}
	if at == len(f.text) && !slices.Contains(f.lines, at) {
		text = f.newline + strings.TrimSuffix(text, f.newline)
	}
	f.replace(at, at, text)
}

// insert adds entries to a mapping that does not have them.
func (f *yamlFile) insert(mapping *yaml.Node, entries []entry, preferred []string) {
	if mapping.Style&yaml.FlowStyle != 0 {
		f.insertFlow(mapping, entries)
		return
	}
	indent := strings.Repeat(" ", mapping.Content[0].Column-1)
	if start, ok := f.neighbour(mapping, preferred); ok {
		f.insertLines(f.nextLine(start), f.block(entries, indent))
		return
	}
	// Before the first key, which may stand behind the dash of a list's item.
	text := f.block(entries, indent)
	f.replace(f.offset(mapping.Content[0]), f.offset(mapping.Content[0]), strings.TrimPrefix(text, indent)+indent)
}

func (f *yamlFile) insertFlow(mapping *yaml.Node, entries []entry) {
	at := f.content(mapping) + len("{")
	var texts []string
	for _, e := range entries {
		texts = append(texts, inlineMember(e, f.json))
	}
	text := strings.Join(texts, ", ")
	switch {
	case len(mapping.Content) == 0:
	case bytes.IndexByte([]byte("\r\n"), f.text[at]) >= 0:
		text += ","
	default:
		text += ", "
	}
	f.replace(at, at, text)
}

// neighbour is the line of a member that takes no other one: of a preferred key if there
// is one.
func (f *yamlFile) neighbour(mapping *yaml.Node, preferred []string) (start int, ok bool) {
	for _, key := range preferred {
		if name, value := member(mapping, key); name != nil && f.isMember(name, value) {
			return f.lines[name.Line-1], true
		}
	}
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if f.isMember(mapping.Content[i], mapping.Content[i+1]) {
			return f.lines[mapping.Content[i].Line-1], true
		}
	}
	return 0, false
}

// isMember tells whether a key and its scalar are a line's rest.
func (f *yamlFile) isMember(key, value *yaml.Node) bool {
	if value.Kind != yaml.ScalarNode || value.Line != key.Line || value.Value == "" || value.Anchor != "" {
		return false
	}
	start := f.offset(key)
	var alone map[string]string
	err := yaml.Unmarshal(f.line(start), &alone)
	return err == nil && len(alone) == 1 && alone[key.Value] == value.Value
}

// block is entries as lines.
func (f *yamlFile) block(entries []entry, indent string) string {
	var text strings.Builder
	for _, e := range entries {
		if e.members == nil {
			text.WriteString(indent + e.key + ": " + inline(e, false) + f.newline)
			continue
		}
		text.WriteString(indent + e.key + ":" + f.newline + f.block(present(e.members), indent+"  "))
	}
	return text.String()
}

// present are the entries that have to be written where there are none.
func present(entries []entry) []entry {
	return slices.DeleteFunc(slices.Clone(entries), func(e entry) bool { return e.optional && len(e.words) == 0 })
}

// inline is an entry's value in one line, with quotes as JSON needs them.
func inline(e entry, quoted bool) string {
	var parts []string
	if e.members == nil {
		for _, word := range e.words {
			parts = append(parts, quote(word, quoted))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	}
	for _, m := range present(e.members) {
		parts = append(parts, inlineMember(m, quoted))
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

func inlineMember(e entry, quoted bool) string {
	return quote(e.key, quoted) + ": " + inline(e, quoted)
}

func quote(word string, quoted bool) string {
	if quoted {
		return `"` + word + `"`
	}
	return word
}
