package top

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"
	"golang.org/x/text/unicode/bidi"

	"github.com/capmon/capmon/internal/printable"
)

// maxText is the maximum number of bytes of a text on the screen. Names can be very long.
const maxText = 4096

// safe returns a text that others chose, such as a name, in a form that is safe for one line of the screen.
func safe(s string) string { return escape(printable.Text(bound(s))) }

// bound returns the beginning of a text that is too long for the screen.
func bound(s string) string {
	if len(s) <= maxText {
		return s
	}
	end := maxText
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "…"
}

// escape escapes the characters of a text that can control a terminal. It also escapes characters whose width or
// position differs between terminals: combining characters, characters that are written from right to left, and emojis.
func escape(s string) string {
	if isASCII(s) {
		return s
	}
	kept := escapeUnless(s, isPortable)
	if ansi.StringWidth(kept) != ansi.StringWidthWc(kept) { // the characters may combine in other ways
		return escapeUnless(s, func(r rune) bool { return r == '…' })
	}
	return kept
}

// isASCII reports whether a text has only printable ASCII characters.
func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// isPortable reports whether all terminals show a character that is not ASCII alike.
func isPortable(r rune) bool {
	if strings.ContainsRune("…–—‘’“”→", r) {
		return true
	}
	if !unicode.In(r, unicode.Letter, unicode.Nd, unicode.Pd, unicode.Ps, unicode.Pe, unicode.Po) {
		return false
	}
	properties, _ := bidi.LookupRune(r)
	switch properties.Class() {
	case bidi.R, bidi.AL, bidi.AN:
		return false
	}
	return true
}

// escapeUnless replaces all characters but printable ASCII and those for which keep returns true.
func escapeUnless(s string, keep func(rune) bool) string {
	var out strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r >= ' ' && r <= '~':
			out.WriteRune(r)
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&out, `\x%02x`, s[i])
		case keep(r):
			out.WriteRune(r)
		case r > 0xffff:
			fmt.Fprintf(&out, `\U%08x`, r)
		default:
			fmt.Fprintf(&out, `\u%04x`, r)
		}
		i += size
	}
	return out.String()
}

// width returns the number of columns of a safe text.
func width(s string) int {
	if isASCII(s) {
		return len(s)
	}
	return ansi.StringWidth(s)
}

// fitting returns how many bytes of a safe text fit in limit columns. It reads only these bytes, because texts can be
// long.
func fitting(s string, limit int) int {
	for i, r := range s {
		if r <= '~' {
			limit--
		} else {
			limit -= ansi.StringWidth(string(r))
		}
		if limit < 0 {
			return i
		}
	}
	return len(s)
}

// cutEnd removes the end of a text that is wider than limit.
func cutEnd(s string, limit int) string {
	if limit < 1 {
		return ""
	}
	if fitting(s, limit) == len(s) {
		return s
	}
	return s[:fitting(s, limit-1)] + "…"
}

// cutStart removes the start of a text that is wider than limit: the end of an image's name says most.
func cutStart(s string, limit int) string {
	if limit < 1 {
		return ""
	}
	if fitting(s, limit) == len(s) {
		return s
	}
	at := fitting(s, width(s)-limit+1)
	for width(s[at:]) > limit-1 { // the limit is in the middle of a wide character
		_, size := utf8.DecodeRuneInString(s[at:])
		at += size
	}
	return "…" + s[at:]
}

// pad appends spaces to a text up to a width, or prepends them.
func pad(s string, to int, right bool) string {
	spaces := strings.Repeat(" ", max(to-width(s), 0))
	if right {
		return spaces + s
	}
	return s + spaces
}

// wrap returns a text as lines that are at most limit columns wide. It breaks lines at spaces, and words that are wider
// than a line anywhere. Further lines begin with the indent.
func wrap(s string, limit int, indent string) []string {
	var lines []string
	var line strings.Builder
	used, started := 0, false // used is the width of the line; started: the line has more than the indent
	add := func(text string) {
		line.WriteString(text)
		used += width(text)
	}
	flush := func() {
		lines = append(lines, strings.TrimRight(line.String(), " "))
		line.Reset()
		used, started = 0, false
		add(indent)
	}
	for word := range strings.SplitSeq(s, " ") {
		if started && (used >= limit || fitting(word, limit-used-1) < len(word)) {
			flush()
		}
		if started {
			add(" ")
		}
		for { // more than once only at the start of a line
			n := fitting(word, limit-used)
			if n == len(word) {
				break
			}
			if n == 0 { // not even one character fits
				_, n = utf8.DecodeRuneInString(word)
			}
			add(word[:n])
			word = word[n:]
			flush()
		}
		add(word)
		started = true
	}
	return append(lines, strings.TrimRight(line.String(), " "))
}

// count returns a number with a noun.
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
