package shell

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Shells must read each quoted word as the original word.
func TestShellsReadQuotedWordsUnchanged(t *testing.T) {
	words := []string{
		"plain", "", " ", "two words", "it's", `"`, `\`, `\n`, "$HOME", "`id`", "!!", "it's!", "~", "#", "*", "{a,b}", "a=b", "=a", "-", "--", "&;|<>()",
		"line\nfeed", "tab\t", "\x1b[31m", "\x01", "\xff\xfe", "\u202e", "ü北京🦀", "é\x01é'\\", "\x7f0", strings.Repeat("'", 50),
	}
	for _, interpreter := range [][]string{{"bash"}, {"busybox", "sh"}, {"env", "LC_ALL=C", "bash"}} {
		out, err := exec.CommandContext(t.Context(), interpreter[0], append(interpreter[1:], "-c", `printf '%s\0' `+Line(words))...).Output()
		if err != nil {
			t.Fatalf("%v: %v", interpreter, err)
		}
		if diff := cmp.Diff(words, strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")); diff != "" {
			t.Errorf("%v: %s", interpreter, diff)
		}
	}
	for _, word := range words {
		for _, r := range Quote(word) {
			if r < ' ' || r == '\x7f' || r == '\u202e' {
				t.Errorf("%q became %q", word, Quote(word))
			}
		}
	}
}
