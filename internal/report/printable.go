package report

import (
	"slices"
	"strconv"
	"strings"

	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/profile"
)

// summaries are a profile's, safe for a terminal: containers choose the names of
// their programs, and a profile file may come from anybody.
func summaries(p profile.Profile) []profile.Summary {
	all := profile.Summaries(p)
	for i := range all {
		makePrintable(&all[i])
	}
	return all
}

func makePrintable(s *profile.Summary) {
	for _, text := range []*string{&s.Container.ID, &s.Container.Name, &s.Container.Image, &s.EngineError} {
		*text = printable(*text)
	}
	s.Incomplete, s.Unexamined = printables(s.Incomplete), printables(s.Unexamined)
	s.Uses = slices.Clone(s.Uses)
	makeUsesPrintable(s.Uses)
	if s.Proof != nil {
		proof := *s.Proof
		makeProofPrintable(&proof)
		s.Proof = &proof
	}
}

func makeUsesPrintable(uses []profile.Use) {
	for i := range uses {
		use := &uses[i]
		use.Class = classify.Class(printable(string(use.Class)))
		for _, text := range []*string{&use.Program, &use.Call, &use.Site, &use.Reason, &use.Unsure} {
			*text = printable(*text)
		}
	}
}

// Printable is text that may come from anybody, made safe for one line of a terminal.
func Printable(s string) string { return printable(s) }

// printable lets nothing but graphic characters through as it is.
func printable(s string) string {
	quoted := strconv.QuoteToGraphic(s)
	return strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
}
