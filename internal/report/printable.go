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
	for _, text := range []*string{&s.Container.ID, &s.Container.Name, &s.Container.Image} {
		*text = printable(*text)
	}
	for _, texts := range []*[]string{&s.Incomplete, &s.Unexamined} {
		*texts = slices.Clone(*texts)
		for i, text := range *texts {
			(*texts)[i] = printable(text)
		}
	}
	s.Uses = slices.Clone(s.Uses)
	for i := range s.Uses {
		use := &s.Uses[i]
		use.Class = classify.Class(printable(string(use.Class)))
		for _, text := range []*string{&use.Program, &use.Call, &use.Site, &use.Reason, &use.Unsure} {
			*text = printable(*text)
		}
	}
}

// printable lets nothing but graphic characters through as it is.
func printable(s string) string {
	quoted := strconv.QuoteToGraphic(s)
	return strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
}
