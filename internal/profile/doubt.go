package profile

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/capmon/capmon/internal/capability"
)

// doubts are what the files of a need say against it: a program most likely goes on if it is denied
// the capability for all of these files.
var doubts = []struct {
	capabilities capability.Set
	says         func(Use, File) bool
	reason       string
}{
	{
		capability.Of(capability.Chown, capability.Fowner),
		isNamed(`/[^/]+\.pid$`),
		"only PID files were given to another owner or mode; most programs go on if they may not",
	},
	{
		capability.Of(capability.DACOverride, capability.DACReadSearch),
		isNamed(`^/proc/[0-9]+/(task/[0-9]+/)?(mem|auxv)$`),
		"a debugger that may not open /proc/PID/mem or auxv reads the memory by ptrace",
	},
	{
		capability.Of(capability.Fowner),
		hasModeInImage,
		"the image has this mode already; a program that goes on without the call does not need it",
	},
}

func isNamed(pattern string) func(Use, File) bool {
	compiled := regexp.MustCompile(pattern)
	return func(_ Use, f File) bool { return compiled.MatchString(f.Path) }
}

// hasModeInImage reports whether the image has the file with the mode that a call sets.
func hasModeInImage(use Use, file File) bool {
	call, arguments, _ := strings.Cut(use.Call, "(")
	mode, err := strconv.ParseUint(strings.TrimSuffix(arguments, ")"), 8, 32)
	return err == nil && ChangesMode(call) && file.InImage != nil && !file.InImage.Link && file.InImage.Mode == octal(uint32(mode))
}

// doubt marks the needs that the files say something against, if all files of a need are known.
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
			r.Uses[i].Unsure = doubtOf(use, files)
		}
	}
}

// doubtOf is what the files say against a need, "" if one of them says nothing.
func doubtOf(use Use, files []File) string {
	for _, doubt := range doubts {
		silent := func(f File) bool { return !doubt.says(use, f) }
		if doubt.capabilities.Has(use.Capability) && !slices.ContainsFunc(files, silent) {
			return doubt.reason
		}
	}
	return ""
}
