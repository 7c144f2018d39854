package profile

import (
	"regexp"
	"slices"

	"github.com/capmon/capmon/capability"
)

// unsureRules mark a need as unsure because of its files: most programs continue if the kernel denies them the
// capability for all of these files.
var unsureRules = []struct {
	capabilities capability.Set
	path         *regexp.Regexp // matches the path of each file
	reason       string
}{
	{
		capability.Of(capability.Chown, capability.Fowner),
		regexp.MustCompile(`/[^/]+\.pid$`),
		"the calls changed the owner or mode of PID files only; most programs continue if the kernel denies this",
	},
	{
		capability.Of(capability.DACOverride, capability.DACReadSearch),
		regexp.MustCompile(`^/proc/[0-9]+/(task/[0-9]+/)?(mem|auxv)$`),
		"a debugger that cannot open /proc/PID/mem or auxv reads the memory with ptrace",
	},
}

// markUnsureByFiles applies unsureRules to the needs whose files are all known.
func (r *Run) markUnsureByFiles() {
	byKey := make(map[accessKey][]File)
	for _, file := range r.Files {
		byKey[file.accessKey()] = append(byKey[file.accessKey()], file)
	}
	for i, use := range r.Uses {
		files := byKey[use.accessKey()]
		if !use.Class.Need() || use.Unsure != "" || len(files) == 0 {
			continue
		}
		if _, others := (Summary{Uses: r.Uses, Files: files}).FilesOf([]Use{use}); !others {
			r.Uses[i].Unsure = unsureReason(use.Capability, files)
		}
	}
}

// unsureReason returns the reason of the first rule that matches all files of a need, "" if none does.
func unsureReason(c capability.Capability, files []File) string {
	for _, rule := range unsureRules {
		differs := func(f File) bool { return !rule.path.MatchString(f.Path) }
		if rule.capabilities.Has(c) && !slices.ContainsFunc(files, differs) {
			return rule.reason
		}
	}
	return ""
}
