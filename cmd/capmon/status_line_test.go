package main

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/capmon/capmon/internal/printable"
)

func TestLinesAreWrittenAboveTheStatusLine(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	s := &statusLine{out: &out, width: func() int { return 20 }}
	write := func(line string) {
		if n, err := s.Write([]byte(line)); n != len(line) || err != nil {
			t.Errorf("%q: %d, %v", line, n, err)
		}
	}
	write("first\n")
	s.show("42s: 1 container")
	s.show("42s: 1 container")
	write("second\n")
	s.show("43s: 2 containers, 812 checks")
	s.show("")
	write("third\n")
	want := "first\n" + eraseLine + "42s: 1 container" + eraseLine + "second\n42s: 1 container" +
		eraseLine + "43s: 2 containers …" + eraseLine + "third\n"
	if out.String() != want {
		t.Errorf("got  %q\nwant %q", out.String(), want)
	}
}

func TestLinesAreCutBetweenWords(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		line  string
		width int
		want  string
	}{
		{"used so far: 5", 14, "used so far: 5"},
		{"used so far: 5", 13, "used so far …"}, // no colon at the end
		{"checks; used so far", 12, "checks …"},
		{"checks; used so far", 8, "checks …"},
		{"checks; used so far", 7, "…"},
		{"checks", 5, "…"},
		{"checks", 1, "…"},
		{"checks", 0, ""},
		{"checks", -1, ""},
		{"by 北京 in web", 12, "by 北京 in …"}, // wide characters
		{"by 北京 in web", 9, "by 北京 …"},
		{"by 北京 in web", 8, "by …"},
		{"by " + printable.Word("\x1b[31m\u202e") + " in web", 16, "by …"}, // never a part of \x1b
		{"by " + strings.Repeat("x", 1<<20), 80, "by …"},
		{"", 5, ""},
	} {
		if got := cutWords(test.line, test.width); got != test.want {
			t.Errorf("%.40q in %d columns: %q, want %q", test.line, test.width, got, test.want)
		}
	}
}

func FuzzCutLinesFit(f *testing.F) {
	f.Add("used so far: 5 of 14, newest: NET_RAW by 北京 in web", 30)
	f.Fuzz(func(t *testing.T, name string, width int) {
		width %= 200
		line := "newest: NET_RAW by " + printable.Word(name) + " in web"
		got := cutWords(line, width)
		if columns := text.StringWidthWithoutEscSequences(got); columns > max(0, width) || !utf8.ValidString(got) {
			t.Errorf("%q has %d columns, more than %d", got, columns, width)
		}
		words := strings.Fields(line)
		for i, word := range strings.Fields(strings.TrimSuffix(got, "…")) {
			if strings.TrimRight(words[i], " ,:;(") != strings.TrimRight(word, " ,:;(") {
				t.Errorf("%q has a part of the word %q", got, words[i])
			}
		}
	})
}
