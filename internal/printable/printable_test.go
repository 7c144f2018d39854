package printable

import "testing"

func TestOnlyGraphicCharactersPassAsTheyAre(t *testing.T) {
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
