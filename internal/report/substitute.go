package report

import (
	"github.com/capmon/capmon/internal/alternatives"
	"github.com/capmon/capmon/internal/profile"
)

// Substitutes returns what may replace a container's capabilities, one line each. The lines are safe for a terminal.
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
