package top

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"
)

func TestSafe(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"web-1":                      "web-1",
		"":                           "",
		"a\x1b[31mb":                 `a\x1b[31mb`,
		"line\nfeed\ttab":            `line\nfeed\ttab`,
		`back\slash`:                 `back\\slash`,
		"\u202eabc":                  `\u202eabc`,
		"\u05d0bc \u0645":            `\u05d0bc \u0645`, // written from right to left
		"漢字 kana":                    "漢字 kana",
		"Zürich, łódź, Αθήνα":        "Zürich, łódź, Αθήνα",
		"e\u0301":                    `e\u0301`, // combining
		"\U0001f468\u200d\U0001f469": `\U0001f468\u200d\U0001f469`,
		"\u1100\u1161":               `\u1100\u1161`, // one syllable of two letters
		"\xff":                       `\xff`,
		"a\u2028b":                   `a\u2028b`,
	} {
		if got := safe(text); got != want {
			t.Errorf("%q: %q, wanted %q", text, got, want)
		}
	}
}

func TestLongTextsAreBounded(t *testing.T) {
	t.Parallel()
	for _, unit := range []string{"a", "漢", "\u202e", "\xff"} {
		if got := safe(strings.Repeat(unit, 1<<20)); len(got) > 10*maxText || !utf8.ValidString(got) {
			t.Errorf("1 MB of %q: %d bytes", unit, len(got))
		}
	}
}

// All terminals must agree about the width of a safe text, however they count.
func FuzzSafe(f *testing.F) {
	f.Add(hostile)
	f.Add("\u0e33\u0e33 \u0b95\u0bcd\u0bb7 \uff9e \u3099")
	f.Fuzz(func(t *testing.T, text string) {
		got := safe(text)
		if ansi.StringWidth(got) != ansi.StringWidthWc(got) || ansi.Strip(got) != got || strings.ContainsFunc(got, unicode.IsControl) || !utf8.ValidString(got) {
			t.Errorf("%q became %q", text, got)
		}
		for limit := range 20 {
			if w := ansi.StringWidth(cutEnd(got, limit)); w > limit {
				t.Errorf("%q cut to %d columns has %d", got, limit, w)
			}
			if w := ansi.StringWidth(cutStart(got, limit)); w > limit {
				t.Errorf("the end of %q cut to %d columns has %d", got, limit, w)
			}
		}
		for _, line := range wrap(got, 20, "  ") {
			if w := ansi.StringWidth(line); w > 20 {
				t.Errorf("a line of %q has %d columns: %q", got, w, line)
			}
		}
	})
}

func TestWrap(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		text  string
		limit int
		want  string
	}{
		{"", 10, ""},
		{"one two", 10, "one two"},
		{"one two three four", 10, "one two|  three|  four"},
		{"--cap-drop=ALL --cap-add=CHOWN", 20, "--cap-drop=ALL|  --cap-add=CHOWN"},
		{"abcdefghijklmnop", 10, "abcdefghij|  klmnop"},
		{"x abcdefghijklmnop y", 10, "x|  abcdefgh|  ijklmnop|  y"},
		{"    indented text here", 14, "    indented|  text here"},
		{"漢漢漢漢漢漢", 7, "漢漢漢|  漢漢|  漢"},
	} {
		if got := strings.Join(wrap(test.text, test.limit, "  "), "|"); got != test.want {
			t.Errorf("%q in %d columns: %q, wanted %q", test.text, test.limit, got, test.want)
		}
	}
}

func TestWrapOfSpaces(t *testing.T) {
	t.Parallel()
	// It takes hours if each space costs a look at the whole line.
	const most = 1 << 20
	lines := wrap("a"+strings.Repeat(" ", most)+"b", 80, "  ")
	if first, last := lines[0], lines[len(lines)-1]; first != "a" || strings.TrimSpace(last) != "b" || strings.TrimSpace(strings.Join(lines[1:len(lines)-1], "")) != "" {
		t.Errorf("the first line is %.20q, the last one %.20q of %d", first, last, len(lines))
	}
}
