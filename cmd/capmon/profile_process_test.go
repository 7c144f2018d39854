package main

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// The kernel's maps have room for IDs of 127 bytes.
func TestNamesOfCommandsAreShort(t *testing.T) {
	for command, want := range map[string]string{
		"/usr/bin/tar":                     "tar",
		"./" + strings.Repeat("x", 255):    strings.Repeat("x", maxCommandName),
		strings.Repeat("\xffa", 127):       strings.Repeat("�a", maxCommandName/len("�a")),
		"x" + strings.Repeat("é", 127):     "x" + strings.Repeat("é", (maxCommandName-1)/len("é")),
		"name\nwith\x1b[31m control codes": "name\nwith\x1b[31m control codes",
	} {
		if got := commandName(command); got != want || len(got) > maxCommandName || !utf8.ValidString(got) {
			t.Errorf("%q: %q", command, got)
		}
	}
}
