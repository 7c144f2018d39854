package printable

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// WriteJSON writes a value as a line of JSON, in one Write. What a terminal might obey is
// escaped.
func WriteJSON(out io.Writer, value any) error {
	var line bytes.Buffer
	encoder := json.NewEncoder(&line)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return err
	}
	_, err := out.Write(escape(line.Bytes()))
	return err
}

// escape writes those characters of JSON as \u… that are not graphic. Apart from the final line
// feed they can only be in strings.
func escape(line []byte) []byte {
	var out []byte
	for _, r := range string(line) {
		switch {
		case r == '\n' || unicode.IsGraphic(r):
			out = utf8.AppendRune(out, r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			out = fmt.Appendf(out, `\u%04x\u%04x`, high, low)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
	}
	return out
}
