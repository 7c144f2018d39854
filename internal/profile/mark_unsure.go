package profile

import (
	"regexp"
	"slices"
	"time"

	"github.com/capmon/capmon/capability"
)

// unsureRules mark a need as unsure because of its files: most programs continue if the kernel denies them access to
// all of these files.
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
		if _, others := (Summary{Uses: r.Uses, Files: files}).FilesOf([]UsePattern{use}); !others {
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

// atStop is the reason why KILL may not be needed if the first signal to another user's process was sent after the
// engine began to stop the container.
const atStop = "first used after the stop of the container began: the processes that cannot be signaled without this capability end with the container, unless a program waits for them"

// beforeStop is the largest delay between the stop signal and the time in the engine's event. The engine reads the
// clock after it has sent the signal.
const beforeStop = time.Second

// markSignalsAtStop marks the need for KILL as unsure if it arose only because the run was stopped. moments are the
// stops of the container; the first one after the start belongs to the run.
func (r *Run) markSignalsAtStop(moments []time.Time) {
	if r.Started == nil || r.Running {
		return
	}
	i := slices.IndexFunc(moments, r.Started.Before)
	if i < 0 {
		return
	}
	for j, use := range r.Uses {
		if use.Capability == capability.Kill && use.Class.Need() && use.Unsure == "" && use.First.After(moments[i].Add(-beforeStop)) {
			r.Uses[j].Unsure = atStop
		}
	}
}
