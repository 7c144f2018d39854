// Package shell quotes words for the shell commands that capmon prints.
package shell

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// bare matches words that need no quotes in any shell. A word must not begin with =, because zsh then looks for a
// command.
var bare = regexp.MustCompile(`^[A-Za-z0-9%+,./:@_-][A-Za-z0-9%+,./:=@_-]*$`)

// Quote quotes text as one shell word. The text must not contain NUL. Text with invisible characters becomes $'…',
// which bash, zsh, ksh and busybox understand, so that the result is printable. Quote writes such characters as bytes,
// because the meaning of \u depends on the locale.
func Quote(word string) string {
	if bare.MatchString(word) {
		return word
	}
	if !graphic(word) {
		return escaped(word)
	}
	// Single quotes, because in double quotes bash expands ! in interactive use, and every shell expands other
	// characters.
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

func graphic(word string) bool {
	for _, r := range word {
		if !strconv.IsGraphic(r) || r == utf8.RuneError {
			return false
		}
	}
	return true
}

func escaped(word string) string {
	var out strings.Builder
	out.WriteString("$'")
	for i := 0; i < len(word); {
		r, size := utf8.DecodeRuneInString(word[i:])
		switch {
		case r == '\'' || r == '\\':
			out.WriteByte('\\')
			out.WriteRune(r)
		case strconv.IsGraphic(r) && r != utf8.RuneError:
			out.WriteRune(r)
		default:
			for _, b := range []byte(word[i : i+size]) {
				fmt.Fprintf(&out, `\x%02x`, b)
			}
		}
		i += size
	}
	return out.String() + "'"
}

// Line returns a command line that can be pasted into a shell.
func Line(words []string) string {
	quoted := make([]string, len(words))
	for i, word := range words {
		quoted[i] = Quote(word)
	}
	return strings.Join(quoted, " ")
}
