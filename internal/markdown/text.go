// Package markdown writes GitHub Flavored Markdown for job summaries and for comments on pull requests. Others choose
// the names of containers, images and programs. This package writes such names so that GitHub, GitLab and Gitea read
// them as text: not as a link, an image, HTML, a mention, a command or the end of a table cell.
package markdown

import (
	"html"
	"regexp"
	"slices"
	"strings"

	"github.com/capmon/capmon/internal/printable"
)

const (
	// maxCode and maxText limit one text, in characters. Longer texts lose their middle.
	maxCode = 256
	maxText = 2000
	// maxMark limits the mark of a code block: some parsers count at most 255 characters.
	maxMark = 100
)

// Text returns one line of text. Text writes plain English words unchanged, and each other word as code, because GitHub
// finds mentions (@name), references (#1, GH-1), emoji (:name:) and links in all text except code. The text may contain
// any bytes: Text shows characters that are not graphic as escapes.
func Text(s string) string { return format(s, code, func(s string) string { return s }) }

// Code returns a name or another text from others as code.
func Code(s string) string { return code(visible(s, maxCode)) }

// Block returns a code block with a language for syntax highlighting. It keeps line feeds and shows other characters
// that are not graphic as escapes. The marks around the block have more backquotes than the text has in a row.
func Block(language, s string) string {
	s = strings.Trim(printable.Lines(s), "\n")
	mark := "```"
	for _, run := range backquotes.FindAllString(s, -1) {
		if len(run) >= len(mark) {
			mark = run + "`"
		}
	}
	if len(mark) > maxMark {
		language, s, mark = "", "capmon cannot show this text in Markdown, because it has too many backquotes in a row", "```"
	}
	return mark + language + "\n" + s + "\n" + mark + "\n"
}

// visible returns s as one line without characters that are not graphic, shortened to limit characters. It keeps
// backslashes, because the text may already be the result of [printable.Text].
func visible(s string, limit int) string {
	s = shorten(s, 2*limit) // escapes only lengthen a text, so this loses nothing that the result contains
	return shorten(strings.ReplaceAll(printable.Lines(s), "\n", `\n`), limit)
}

// shorten removes the middle of a text with more than limit characters.
func shorten(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	all := []rune(s)
	if len(all) <= limit {
		return s
	}
	tail := limit / 3
	return string(all[:limit-tail-1]) + "…" + string(all[len(all)-tail:])
}

// format writes the plain words of a text with plain, and the others with code.
func format(s string, code, plain func(string) string) string {
	var out strings.Builder
	words := splitWords(visible(s, maxText))
	for i := 0; i < len(words); i++ {
		if i > 0 {
			out.WriteByte(' ')
		}
		w := words[i]
		if w.plain() {
			out.WriteString(plain(w.text()))
			continue
		}
		// Adjacent words without punctuation between them are one piece of code.
		for w.after == "" && i+1 < len(words) && words[i+1].before == "" && !words[i+1].plain() {
			i++
			w.core, w.after = w.core+" "+words[i].core, words[i].after
		}
		out.WriteString(plain(w.before) + code(w.core) + plain(w.after))
	}
	return out.String()
}

// word is a word with the punctuation before and after it.
type word struct{ before, core, after string }

var punctuated = regexp.MustCompile(`(?s)^(["(]*)(.*?)([.,;:?)"]*)$`)

// call matches a call with its arguments, such as socket(AF_INET, SOCK_RAW).
var call = regexp.MustCompile(`\w\([^()]{1,100}\)`)

// splitWords splits a text at single spaces. A call is one word. Spaces in a row, and those at the start and the end,
// stay in the words: Markdown would remove them.
func splitWords(s string) (words []word) {
	inCall := make([]bool, len(s))
	for _, at := range call.FindAllStringIndex(s, -1) {
		for i := at[0]; i < at[1]; i++ {
			inCall[i] = true
		}
	}
	start := 0
	for i := 1; i < len(s)-1; i++ {
		if s[i] == ' ' && s[i-1] != ' ' && s[i+1] != ' ' && !inCall[i] {
			words = append(words, parseWord(s[start:i]))
			start = i + 1
		}
	}
	if s != "" {
		words = append(words, parseWord(s[start:]))
	}
	return words
}

func parseWord(s string) word {
	parts := punctuated.FindStringSubmatch(s)
	if parts[2] == "" { // only punctuation, which can have a meaning at the start of a line
		return word{core: s}
	}
	w := word{before: parts[1], core: parts[2], after: parts[3]}
	for strings.HasPrefix(w.after, ")") && strings.Count(w.core, "(") > strings.Count(w.core, ")") { // it closes a call
		w.core, w.after = w.core+")", w.after[1:]
	}
	return w
}

func (w word) text() string { return w.before + w.core + w.after }

var (
	// harmless matches words that have no meaning in Markdown: English words, names of capabilities, small numbers and
	// durations.
	harmless = regexp.MustCompile(`^([A-Za-z]+('[a-z]+)?|[a-z]+(-[A-Za-z]+)+|[A-Z]+(_[A-Z]+)+|[0-9][0-9a-z]{0,5}|[0-9]{1,6}\.[0-9]{1,6}|→|…)$`)
	// commit matches words that GitHub could read as the hash of a commit.
	commit = regexp.MustCompile(`^[0-9A-Fa-f]{7,}$`)
	number = regexp.MustCompile(`^[0-9]+$`)
)

// plain reports whether a word can be written as it is.
func (w word) plain() bool {
	item := number.MatchString(w.core) && strings.ContainsAny(w.after, ".)") // 1. begins a list
	return harmless.MatchString(w.core) && !commit.MatchString(w.core) && !item
}

// code returns a code span. A table ends a cell at each |, even in code, so each | is text between two code spans.
func code(s string) string {
	parts := strings.Split(s, "|")
	for i, part := range parts {
		parts[i] = codeSpan(part)
	}
	return strings.Join(parts, "&#124;")
}

// codeSpan returns a code span for a text without |. The backquotes around it are a number that the text does not have
// in a row.
func codeSpan(s string) string {
	if s == "" {
		return ""
	}
	quotes := "`"
	for runs := backquotes.FindAllString(s, -1); slices.Contains(runs, quotes); {
		quotes += "`"
	}
	// Markdown removes one space from both ends of code.
	if strings.Trim(s, " ") != "" && strings.Trim(s, " `") != s {
		s = " " + s + " "
	}
	return quotes + s + quotes
}

var backquotes = regexp.MustCompile("`+")

func htmlCode(s string) string { return "<code>" + html.EscapeString(s) + "</code>" }
