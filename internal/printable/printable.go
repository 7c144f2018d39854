// Package printable makes text that others chose (names of containers and programs,
// labels, paths) safe for terminals and for files that people read.
package printable

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// Text lets nothing but graphic characters through as it is: a line feed becomes \n, an
// escape \x1b, a backslash two.
func Text(s string) string {
	quoted := strconv.QuoteToGraphic(s)
	return strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
}

// Lines is for commands and other text that is laid out by whoever writes it, and quoted
// as it has to be: line feeds and backslashes stay.
func Lines(s string) string {
	var out strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == '\n' || r == '\\' {
			out.WriteRune(r)
		} else {
			out.WriteString(Text(s[i : i+size]))
		}
		i += size
	}
	return out.String()
}
