package patch

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// entry is a member that a mapping must have: a list of words, or a mapping of such members.
type entry struct {
	key     string
	words   []string
	members []entry
	// optional: a missing member means the empty list.
	optional bool
}

// set changes the mapping so that it has the entries. New entries are inserted after one of the preferred keys if
// possible.
func (f *yamlFile) set(mapping *yaml.Node, at position, entries []entry, preferred ...string) error {
	var missing []entry
	for _, e := range entries {
		key, value := member(mapping, e.key)
		if value == nil {
			_, merges := member(mapping, "<<")
			if !e.optional || len(e.words) > 0 || merges != nil {
				missing = append(missing, e)
				f.recordChange(at, e)
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

// recordChange records the effect of an entry that is written.
func (f *yamlFile) recordChange(at position, e entry) {
	at = at.child(e.key)
	if e.members == nil {
		f.changes = append(f.changes, change{at, e.words})
	}
	for _, m := range required(e.members) {
		f.recordChange(at, m)
	}
}

func (f *yamlFile) change(key, value *yaml.Node, at position, e entry) error {
	if value.Kind == yaml.ScalarNode && value.Tag == "!!null" && value.Anchor == "" {
		f.recordChange(at, e)
		return f.fill(key, value, e)
	}
	if e.members != nil {
		if err := f.requireUnshared(value, e.key); err != nil {
			return err
		}
		return f.set(value, at.child(e.key), e.members)
	}
	if f.compose {
		e.words = keepSpelling(e.words, value)
	}
	f.recordChange(at, e)
	switch {
	case value.Anchor != "":
		return fmt.Errorf("line %d: %s has the anchor %q, so an alias may use the same list: replace the aliases with copies of the list, and remove the anchor", value.Line, e.key, "&"+value.Anchor)
	case strings.HasPrefix(value.Tag, "!") && !strings.HasPrefix(value.Tag, "!!") && value.Tag != override:
		return fmt.Errorf("line %d: %s has the tag %q, which gives it another meaning: remove the tag", value.Line, e.key, value.Tag)
	case value.Kind == yaml.AliasNode:
		start := f.offset(value)
		f.replace(start, start+len("*"+value.Value), inlineValue(e, f.json))
		return nil
	case value.Kind != yaml.SequenceNode:
		return fmt.Errorf("line %d: %s is not a list", value.Line, e.key)
	case same(value, e.words):
		return nil
	case value.Style&yaml.FlowStyle != 0:
		return f.replaceFlow(value, e)
	}
	return f.replaceItems(key, value, e)
}

// keepSpelling returns the words in the spelling that the list has for them. Docker accepts names in upper and lower
// case, with and without CAP_ (NormalizeLegacyCapabilities, oci/caps/utils.go of moby).
func keepSpelling(words []string, list *yaml.Node) []string {
	words = slices.Clone(words)
	for _, item := range items(list) {
		if i := slices.Index(words, bare(scalar(item))); i >= 0 && item.Kind == yaml.ScalarNode {
			words[i] = item.Value
		}
	}
	return words
}

// bare returns the name of a capability as Docker's documents and Kubernetes write it.
func bare(name string) string { return strings.TrimPrefix(strings.ToUpper(name), "CAP_") }

// same reports whether a list has exactly these words, in any order.
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

// fill adds a value to a key without one.
func (f *yamlFile) fill(key, value *yaml.Node, e entry) error {
	if value.Value != "" { // null or ~
		at := f.content(value)
		f.replace(at, at+len(value.Value), inlineValue(e, f.json))
		return nil
	}
	at, ok := f.colon(key)
	if !ok {
		return fmt.Errorf("line %d: capmon cannot find the colon after %s: write \"%s: []\"", key.Line, e.key, e.key)
	}
	f.replace(at, at, " "+inlineValue(e, f.json))
	return nil
}

// colon returns the offset after the colon of a key.
func (f *yamlFile) colon(key *yaml.Node) (at int, ok bool) {
	start := f.content(key)
	i := bytes.IndexByte(f.line(start), ':')
	return start + i + 1, i >= 0
}

// replaceFlow replaces a list in brackets.
func (f *yamlFile) replaceFlow(list *yaml.Node, e entry) error {
	start := f.content(list)
	end, ok := closingBracket(f.text, start)
	if !ok {
		return fmt.Errorf("line %d: capmon cannot find the end of %s: write nothing but names of capabilities between the brackets", list.Line, e.key)
	}
	quoted := len(list.Content) > 0 && list.Content[0].Style&yaml.DoubleQuotedStyle != 0
	f.replace(start, end, inlineValue(e, quoted || f.json))
	return nil
}

// closingBracket returns the offset after the bracket that closes the one at start.
func closingBracket(text []byte, start int) (end int, ok bool) {
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
			return 0, false // a nested list cannot contain capabilities
		case c == ']':
			return i + 1, true
		}
	}
	return 0, false
}

// replaceItems changes a list with one item per line. Needed items stay, with their comments.
func (f *yamlFile) replaceItems(key, list *yaml.Node, e entry) error {
	wanted := slices.Clone(e.words)
	first := f.lines[list.Content[0].Line-1]
	at := first // offset of new items: after the last item that stays
	for _, item := range list.Content {
		if item.Kind != yaml.ScalarNode || !f.isItem(item) {
			return fmt.Errorf("line %d: an item of %s is not a name on its own line: write each name as \"- NAME\" on its own line", item.Line, e.key)
		}
		start := f.lines[item.Line-1]
		if i := slices.Index(wanted, item.Value); i >= 0 {
			wanted = slices.Delete(wanted, i, i+1)
			at = f.nextLine(start)
			continue
		}
		if i := slices.Index(wanted, bare(item.Value)); i >= 0 && f.changeSpelling(item, wanted[i]) {
			wanted = slices.Delete(wanted, i, i+1)
			at = f.nextLine(start)
			continue
		}
		f.replace(start, f.nextLine(start), "")
	}
	if len(e.words) == 0 {
		colon, ok := f.colon(key)
		if !ok || colon > first {
			return fmt.Errorf("line %d: capmon cannot find the colon between %s and its list: write \"%s:\" in the line before the list", key.Line, e.key, e.key)
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

// changeSpelling changes the spelling of an item and keeps the comment after it. It returns false if the item is
// written in an unusual form.
func (f *yamlFile) changeSpelling(item *yaml.Node, word string) bool {
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

// isItem reports whether the line of an item has only the item and a comment.
func (f *yamlFile) isItem(item *yaml.Node) bool {
	var alone []string
	err := yaml.Unmarshal(f.line(f.lines[item.Line-1]), &alone)
	return err == nil && slices.Equal(alone, []string{item.Value})
}

// insertLines inserts whole lines at the beginning of a line, or at the end of a file whose last line has no line end.
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
	// Before the first key, which may follow the dash of a list item.
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

// neighbour returns the line of a member after which new members can be inserted: of a preferred key if there is one.
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

// isMember reports whether a key and its scalar value fill the rest of the line.
func (f *yamlFile) isMember(key, value *yaml.Node) bool {
	if value.Kind != yaml.ScalarNode || value.Line != key.Line || value.Value == "" || value.Anchor != "" {
		return false
	}
	start := f.offset(key)
	var alone map[string]string
	err := yaml.Unmarshal(f.line(start), &alone)
	return err == nil && len(alone) == 1 && alone[key.Value] == value.Value
}

// block returns the entries as lines.
func (f *yamlFile) block(entries []entry, indent string) string {
	var text strings.Builder
	for _, e := range entries {
		if e.members == nil {
			text.WriteString(indent + e.key + ": " + inlineValue(e, false) + f.newline)
			continue
		}
		text.WriteString(indent + e.key + ":" + f.newline + f.block(required(e.members), indent+"  "))
	}
	return text.String()
}

// required returns the entries that capmon has to write if they are missing.
func required(entries []entry) []entry {
	return slices.DeleteFunc(slices.Clone(entries), func(e entry) bool { return e.optional && len(e.words) == 0 })
}

// inlineValue returns an entry's value on one line, with quotes if the file is JSON.
func inlineValue(e entry, quoted bool) string {
	var parts []string
	if e.members == nil {
		for _, word := range e.words {
			parts = append(parts, quote(word, quoted))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	}
	for _, m := range required(e.members) {
		parts = append(parts, inlineMember(m, quoted))
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

func inlineMember(e entry, quoted bool) string {
	return quote(e.key, quoted) + ": " + inlineValue(e, quoted)
}

func quote(word string, quoted bool) string {
	if quoted {
		return `"` + word + `"`
	}
	return word
}
