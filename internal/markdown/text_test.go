package markdown

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestText(t *testing.T) {
	for text, want := range map[string]string{
		"":                           "",
		"it was observed for 3.5 s":  "it was observed for 3.5 s",
		"NET_RAW, SYS_ADMIN (risky)": "NET_RAW, SYS_ADMIN (risky)",
		"set-user-ID and no-new-privileges; capmon's list": "set-user-ID and no-new-privileges; capmon's list",
		"ask @org/team.":                        "ask `@org/team`.",
		"closes #1, GH-2 and org/name#3":        "closes `#1`, `GH-2` and `org/name#3`",
		"commit deadbeef of 1234567":            "commit `deadbeef` of `1234567`",
		"see https://x.y or www.x.y":            "see `https://x.y` or `www.x.y`",
		"mail a@b.c":                            "mail `a@b.c`",
		":smile: $x$ ~~no~~":                    "`:smile`: `$x$ ~~no~~`",
		"*a* _b_ <b> &amp; [x](y) ![i](j)":      "`*a* _b_ <b> &amp`; `[x](y) ![i](j)`",
		"add --cap-add=ALL (or not).":           "add `--cap-add=ALL` (or not).",
		"1. first":                              "`1`. first",
		"1) first":                              "`1`) first",
		"# a":                                   "`#` a",
		"- a":                                   "`-` a",
		": a":                                   "`:` a",
		"(seen: bind(AF_INET, port 80), chown)": "(seen: `bind(AF_INET, port 80)`, chown)",
		"/close":                                "`/close`",
		"two\nlines\x1b\u202e":                  "`two\\nlines\\x1b\\u202e`",
		"a|b":                                   "`a`&#124;`b`",
		`\|`:                                    "`\\`&#124;",
		"tick ` and `` tock":                    "tick `` ` `` and ` `` ` tock",
		"a  b ":                                 "` a  b  `",
		" ":                                     "` `",
		"größer":                                "`größer`",
	} {
		if got := Text(text); got != want {
			t.Errorf("%q became\n%s, want\n%s", text, got, want)
		}
	}
}

func TestCode(t *testing.T) {
	for text, want := range map[string]string{
		"":        "",
		"web":     "`web`",
		"a b":     "`a b`",
		"`":       "`` ` ``",
		"a`b``c":  "```a`b``c```",
		"x|":      "`x`&#124;",
		"||":      "&#124;&#124;",
		"  ":      "`  `",
		" a":      "`  a `",
		"a\\":     "`a\\`",
		"<b>&amp": "`<b>&amp`",
	} {
		if got := Code(text); got != want {
			t.Errorf("%q became\n%s, want\n%s", text, got, want)
		}
	}
}

func TestBlock(t *testing.T) {
	for text, want := range map[string]string{
		"docker run\n":                    "```sh\ndocker run\n```\n",
		"a\n```\n<b>\x1b":                 "````sh\na\n```\n<b>\\x1b\n````\n",
		"two\n\nlines `x`":                "```sh\ntwo\n\nlines `x`\n```\n",
		"a\n" + strings.Repeat("`", 1000): "```\ncapmon cannot show this text in Markdown, because it has too many backquotes in a row\n```\n",
	} {
		if got := Block("sh", text); got != want {
			t.Errorf("%q became\n%s, want\n%s", text, got, want)
		}
	}
}

// A long text keeps its start and its end.
func TestLongTextsAreShortened(t *testing.T) {
	for name, shortened := range map[string]string{
		"code": Code("a" + strings.Repeat("ü", 1<<20) + "z"), "summary": Summary("a", "i", strings.Repeat("ü", 1<<20)+"z"),
		"text": Text("a" + strings.Repeat("ü", 1<<20) + "z"), "backquotes": Code("a" + strings.Repeat("`", 1<<20) + "z"),
	} {
		if n := utf8.RuneCountInString(shortened); n > maxText+100 || !strings.Contains(shortened, "…") || !strings.Contains(shortened, "a") || !strings.Contains(shortened, "z") {
			t.Errorf("%s: %d characters", name, n)
		}
	}
	long := strings.Repeat("a caution with many words. ", 60)
	if got := Text(long + "end"); got != long+"end" {
		t.Errorf("%d characters became %d", len(long)+3, len(got))
	}
}
