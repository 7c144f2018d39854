package settings

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf16"
)

// object is a JSON object.
type object = map[string]any

// asciiJSON returns indented JSON in ASCII without control characters, which is safe for a terminal.
func asciiJSON(v any) string {
	var data bytes.Buffer
	encoder := json.NewEncoder(&data)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(v); err != nil {
		panic(err) // strings, lists and maps of them can always be encoded
	}
	var text strings.Builder
	for _, r := range data.String() {
		if r < 0x7f {
			text.WriteRune(r)
			continue
		}
		for _, unit := range utf16.Encode([]rune{r}) {
			fmt.Fprintf(&text, `\u%04x`, unit)
		}
	}
	return text.String()
}

// members joins sections of JSON. It returns a single section unchanged, and several sections as members of an object,
// with their labels as names. It writes no notes, because JSON has no comments.
func members(sections []section) string {
	if len(sections) == 1 {
		return sections[0].text
	}
	all := make(map[string]json.RawMessage)
	for _, s := range sections {
		all[s.Label] = json.RawMessage(s.text)
	}
	return asciiJSON(all)
}
