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

// WriteJSON writes a value as a line of JSON, with a single Write. Characters that can control a terminal are escaped.
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

// Writer returns a writer for lines of JSON or of logs. It escapes characters that can control a terminal. A Write must
// not end within a character.
func Writer(out io.Writer) io.Writer { return writer{out} }

type writer struct{ io.Writer }

func (w writer) Write(lines []byte) (int, error) {
	if _, err := w.Writer.Write(escape(lines)); err != nil {
		return 0, err
	}
	return len(lines), nil
}

// escape replaces characters that are not graphic with \u…, except tabs and line feeds, which never occur in a JSON
// string.
func escape(line []byte) []byte {
	var out []byte
	for _, r := range string(line) {
		switch {
		case r == '\n' || r == '\t' || unicode.IsGraphic(r):
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
