package page

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/capmon/capmon/internal/printable"
)

// The maximum sizes of texts in bytes. Anyone can choose the names of containers, and write a profile.
const (
	maxName    = 256
	maxText    = 1 << 10
	maxCaution = 16 << 10 // a caution can list many programs
	maxCode    = 64 << 10
	maxKey     = 80
)

// name returns a text that others chose, such as a name, in a form that is safe to display.
func name(s string) string {
	if len(s) <= maxName {
		return shorten(printable.Text(s), 2*maxName)
	}
	return fmt.Sprintf("%s… (%d bytes)", start(printable.Text(s[:maxName]), maxName), len(s))
}

// shorten cuts a text that is longer than limit, and appends its length. The text has to be safe to display.
func shorten(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	return fmt.Sprintf("%s… (%d bytes)", start(s, limit), len(s))
}

// start returns at most limit bytes of a text, without a part of a character.
func start(s string, limit int) string {
	end := min(limit, len(s))
	for end < len(s) && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end]
}

func shortenAll(texts []string, limit int) []string {
	short := make([]string, 0, len(texts))
	for _, text := range texts {
		short = append(short, shorten(text, limit))
	}
	return short
}

// code returns the lines of a text to copy. ok is false if the text is too long: a part of it could be wrong.
func code(text string) (lines Lines, ok bool) {
	if len(text) > maxCode {
		return nil, false
	}
	return strings.Split(strings.TrimRight(printable.Lines(text), "\n"), "\n"), true
}

// keys returns a unique key for each name, which is the name itself if possible.
func keys(names []string) []string {
	taken, last := make(map[string]bool), make(map[string]int) // last is the last number after a text
	all := make([]string, 0, len(names))
	for _, name := range names {
		key := name
		if len(key) > maxKey {
			sum := sha256.Sum256([]byte(name))
			key = name[:maxKey/2] + "…" + hex.EncodeToString(sum[:8])
		}
		key = printable.Text(key)
		for base := printable.Text(name[:min(len(name), maxKey/2)]); taken[key]; {
			last[base] = max(last[base], 1) + 1
			key = fmt.Sprintf("%s-%d", base, last[base])
		}
		taken[key] = true
		all = append(all, key)
	}
	return all
}
