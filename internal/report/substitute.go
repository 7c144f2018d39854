package report

import (
	"github.com/capmon/capmon/internal/alternatives"
	"github.com/capmon/capmon/internal/profile"
)

// Substitutes tell what may serve in place of a container's capabilities, each in a line
// that is safe for a terminal.
func Substitutes(s profile.Summary) []string {
	makePrintable(&s)
	return substitutes(s)
}

func substitutes(s profile.Summary) []string {
	var lines []string
	for _, found := range alternatives.Of(s) {
		lines = append(lines, found.String())
	}
	return lines
}
