// Package printable makes text that others chose (names of containers and programs,
// labels, paths) safe for terminals and for files that people read.
package printable

import (
	"strconv"
	"strings"
	"unicode"
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

// Word is text that others chose as one word of a line: as it is, or in quotes if it is not
// plainly one.
func Word(text string) string {
	plain := func(r rune) bool {
		return unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("…-._/:@+=,~[]#%*", r)
	}
	if text != "" && utf8.ValidString(text) && strings.IndexFunc(text, func(r rune) bool { return !plain(r) }) < 0 {
		return text
	}
	return strconv.QuoteToGraphic(text)
}
