package report

import (
	"slices"

	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/printable"
	"github.com/capmon/capmon/internal/profile"
)

// summaries returns the summaries of a profile with texts that are safe for a terminal. Containers choose the names of
// their programs, and a profile file may come from an untrusted source.
func summaries(p profile.Profile) []profile.Summary {
	all := profile.Summaries(p)
	for i := range all {
		makePrintable(&all[i])
	}
	return all
}

// Printable returns a summary with texts that are safe for a terminal and for [Describe]. Its labels, image ID and
// image digest are unchanged.
func Printable(s profile.Summary) profile.Summary {
	makePrintable(&s)
	return s
}

func makePrintable(s *profile.Summary) {
	c := &s.Container
	for _, text := range []*string{
		&c.ID, &c.Name, &c.Image, &c.Unconfirmed, &c.Engine, &c.Pod, &c.Namespace, &c.PodName, &c.PodUID, &c.Owner, &s.EngineError,
	} {
		*text = printable.Text(*text)
	}
	s.Incomplete, s.Unexamined, s.Readers = printables(s.Incomplete), printables(s.Unexamined), printables(s.Readers)
	s.Uses = slices.Clone(s.Uses)
	makeUsesPrintable(s.Uses)
	s.Lifted = slices.Clone(s.Lifted)
	for i := range s.Lifted {
		s.Lifted[i].Program, s.Lifted[i].Transport = printable.Text(s.Lifted[i].Program), printable.Text(s.Lifted[i].Transport)
	}
	s.Files = slices.Clone(s.Files)
	makeFilesPrintable(s.Files)
	if s.Proof != nil {
		proof := *s.Proof
		makeProofPrintable(&proof)
		s.Proof = &proof
	}
}

func makeUsesPrintable(uses []profile.UsePattern) {
	for i := range uses {
		use := &uses[i]
		use.Class = classify.Class(printable.Text(string(use.Class)))
		for _, text := range []*string{&use.Program, &use.Call, &use.Site, &use.Reason, &use.Unsure} {
			*text = printable.Text(*text)
		}
	}
}

func makeFilesPrintable(files []profile.File) {
	for i := range files {
		file := &files[i]
		for _, text := range []*string{&file.Program, &file.Call, &file.Site, &file.Path} {
			*text = printable.Text(*text)
		}
		file.Found, file.Directory = printableFile(file.Found), printableFile(file.Directory)
	}
}

func printableFile(place *profile.FileInfo) *profile.FileInfo {
	if place == nil {
		return nil
	}
	return &profile.FileInfo{
		Path: printable.Text(place.Path), Owner: place.Owner, Group: place.Group,
		Mode: printable.Text(place.Mode), Image: place.Image, Link: place.Link,
		Lacks: printable.Text(place.Lacks),
	}
}
