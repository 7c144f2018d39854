package report

import (
	"fmt"
	"slices"
	"strings"

	"github.com/capmon/capmon/internal/dockerrun"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/substitute"
)

// Substitutes tell what may serve in place of a container's capabilities, each in a line
// that is safe for a terminal.
func Substitutes(s profile.Summary) []string {
	makePrintable(&s)
	return substitutes(s)
}

// substitutes say what to do, and what that rests on.
func substitutes(s profile.Summary) []string {
	var lines []string
	for _, found := range substitute.Of(s) {
		line := fmt.Sprintf("may do instead of %s: ", names(found.Instead))
		if len(found.Flags) > 0 {
			line += dockerrun.Line(found.Flags) + ": "
		}
		seen := found.Seen
		if len(seen) > usesShown {
			seen = append(slices.Clone(seen[:usesShown]), "…")
		}
		lines = append(lines, line+fmt.Sprintf("%s (seen: %s)", found.Text, strings.Join(seen, ", ")))
	}
	return lines
}
