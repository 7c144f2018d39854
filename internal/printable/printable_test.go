package printable

import (
	"strings"
	"testing"
)

func TestTextEscapesNonGraphicCharacters(t *testing.T) {
	for text, want := range map[string]string{
		"web":                       "web",
		`"quoted" 'too'`:            `"quoted" 'too'`,
		"größer ← 北京":               "größer ← 北京",
		"\x1b[31mred\x1b[0m":        `\x1b[31mred\x1b[0m`,
		"two\nlines":                `two\nlines`,
		"tab\tand\rreturn":          `tab\tand\rreturn`,
		"right-to-left \u202e here": `right-to-left \u202e here`,
		"no UTF-8: \xff":            `no UTF-8: \xff`,
		`a\b`:                       `a\\b`,
	} {
		if got := Text(text); got != want {
			t.Errorf("%q became %q, wanted %q", text, got, want)
		}
	}
	if got, want := Lines("one \\\n\x1btwo \xff"), "one \\\n\\x1btwo \\xff"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestWriterEscapesControlCharacters(t *testing.T) {
	var out strings.Builder
	const line = "WARN\tweb \x1b[2J\u202e\u009b\U000e0001 größer \xff\n"
	n, err := Writer(&out).Write([]byte(line))
	if want := "WARN\tweb \\u001b[2J\\u202e\\u009b\\udb40\\udc01 größer \ufffd\n"; n != len(line) || err != nil || out.String() != want {
		t.Errorf("%d, %v: %q, wanted %q", n, err, out.String(), want)
	}
}

func TestChoice(t *testing.T) {
	for want, words := range map[string][]string{"": nil, "a": {"a"}, "a or b": {"a", "b"}, "a, b or c": {"a", "b", "c"}} {
		if got := Choice(words); got != want {
			t.Errorf("%q became %q, wanted %q", words, got, want)
		}
	}
}
