package profile

import (
	"regexp"
	"slices"

	"github.com/capmon/capmon/internal/capability"
)

// doubts are what the files of a need say against it: a program most likely goes on if it is denied
// the capability for all of these files.
var doubts = []struct {
	capabilities capability.Set
	path         *regexp.Regexp
	reason       string
}{
	{
		capability.Of(capability.Chown, capability.Fowner),
		regexp.MustCompile(`/[^/]+\.pid$`),
		"only PID files were given to another owner or mode; most programs go on if they may not",
	},
	{
		capability.Of(capability.DACOverride, capability.DACReadSearch),
		regexp.MustCompile(`^/proc/[0-9]+/(task/[0-9]+/)?(mem|auxv)$`),
		"a debugger that may not open /proc/PID/mem or auxv reads the memory by ptrace",
	},
}

// doubt marks the needs that the files say something against, if all files of a need are known.
func (r *Run) doubt() {
	of := make(map[wayOfUse][]File)
	for _, file := range r.Files {
		of[file.way()] = append(of[file.way()], file)
	}
	for i, use := range r.Uses {
		if !use.Class.Need() || use.Unsure != "" {
			continue
		}
		files := of[use.way()]
		_, others := Summary{Uses: r.Uses, Files: files}.FilesOf([]Use{use})
		if !others {
			r.Uses[i].Unsure = doubtOf(use.Capability, files)
		}
	}
}

// doubtOf is what the files say against the need of a capability, "" if one of them says nothing.
func doubtOf(c capability.Capability, files []File) string {
	for _, doubt := range doubts {
		says := func(f File) bool { return doubt.path.MatchString(f.Path) }
		if len(files) > 0 && doubt.capabilities.Has(c) && !slices.ContainsFunc(files, func(f File) bool { return !says(f) }) {
			return doubt.reason
		}
	}
	return ""
}
