package profile

import (
	"regexp"
	"slices"

	"github.com/capmon/capmon/internal/capability"
)

// doubts are the rules that make a need unsure by its files: a program most likely goes on if the kernel
// denies it the capability for all of these files.
var doubts = []struct {
	capabilities capability.Set
	path         *regexp.Regexp // that each file has
	reason       string
}{
	{
		capability.Of(capability.Chown, capability.Fowner),
		regexp.MustCompile(`/[^/]+\.pid$`),
		"the calls changed the owner or mode of PID files only; most programs go on if the kernel refuses this",
	},
	{
		capability.Of(capability.DACOverride, capability.DACReadSearch),
		regexp.MustCompile(`^/proc/[0-9]+/(task/[0-9]+/)?(mem|auxv)$`),
		"a debugger that cannot open /proc/PID/mem or auxv reads the memory by ptrace",
	},
}

// doubt marks needs as unsure by the rules of doubts, if all files of a need are known.
func (r *Run) doubt() {
	of := make(map[wayOfUse][]File)
	for _, file := range r.Files {
		of[file.way()] = append(of[file.way()], file)
	}
	for i, use := range r.Uses {
		files := of[use.way()]
		if !use.Class.Need() || use.Unsure != "" || len(files) == 0 {
			continue
		}
		if _, others := (Summary{Uses: r.Uses, Files: files}).FilesOf([]Use{use}); !others {
			r.Uses[i].Unsure = doubtOf(use.Capability, files)
		}
	}
}

// doubtOf is the reason of the first rule that holds for all files of a need, "" if none does.
func doubtOf(c capability.Capability, files []File) string {
	for _, doubt := range doubts {
		differs := func(f File) bool { return !doubt.path.MatchString(f.Path) }
		if doubt.capabilities.Has(c) && !slices.ContainsFunc(files, differs) {
			return doubt.reason
		}
	}
	return ""
}
