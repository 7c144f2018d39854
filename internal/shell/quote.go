// Package shell writes words for a shell, as in the commands that capmon prints.
package shell

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// bare are the words that mean themselves in every shell; zsh looks for a command where a
// word begins with =.
var bare = regexp.MustCompile(`^[A-Za-z0-9%+,./:@_-][A-Za-z0-9%+,./:=@_-]*$`)

// Quote makes one word of a shell out of any text without NUL. Text with characters that
// cannot be seen becomes $'…', which bash, zsh, ksh and busybox understand, and is
// printable. It is given in bytes, for what \u means depends on the locale.
func Quote(word string) string {
	if bare.MatchString(word) {
		return word
	}
	if !graphic(word) {
		return escaped(word)
	}
	// Not in double quotes, where an interactive bash looks for ! and the shell for more.
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

// Line is a command line as it is typed.
func Line(words []string) string {
	quoted := make([]string, len(words))
	for i, word := range words {
		quoted[i] = Quote(word)
	}
	return strings.Join(quoted, " ")
}
