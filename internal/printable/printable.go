// Package printable makes text from other sources (names of containers and programs, labels, paths) safe for terminals
// and for files that people read. It also formats lists for sentences.
package printable

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Text escapes all characters of s that are not graphic: a line feed becomes \n, an escape character \x1b, a backslash
// two backslashes.
func Text(s string) string {
	quoted := strconv.QuoteToGraphic(s)
	return strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
}

// Lines is like [Text] but keeps line feeds and backslashes. It is for commands and other text that is already laid out
// and quoted.
func Lines(s string) string {
	var out strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == '\n' || strconv.IsGraphic(r) && r != utf8.RuneError {
			out.WriteRune(r)
		} else {
			out.WriteString(Text(s[i : i+size]))
		}
		i += size
	}
	return out.String()
}

// Word returns text as one word of a line. It adds quotes if the text would not be read as one word.
func Word(text string) string {
	plain := func(r rune) bool {
		return unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("…-._/:@+=,~[]#%*", r)
	}
	if text != "" && utf8.ValidString(text) && strings.IndexFunc(text, func(r rune) bool { return !plain(r) }) < 0 {
		return text
	}
	return strconv.QuoteToGraphic(text)
}

// Choice returns the words as a choice in a sentence: a, b or c.
func Choice(words []string) string {
	last := len(words) - 1
	if last < 1 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:last], ", ") + " or " + words[last]
}
