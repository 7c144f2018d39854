package profile

import (
	"slices"

	"github.com/capmon/capmon/internal/classify"
)

// Judged returns the profile without the sandboxes of pods, and the containers that it left out. A sandbox holds the
// namespaces of its pod and runs no workload: what it was granted says nothing about the containers of the pod. A
// sandbox that needed a capability, or was denied one, stays: users choose what runs in it.
func (p Profile) Judged() (Profile, []Container) {
	active := make(map[[4]string]bool)
	for _, run := range p.Runs {
		if !run.idleSandbox() {
			active[run.Container.key()] = true
		}
	}
	var leftOut []Container
	judged := p
	judged.Runs = slices.DeleteFunc(slices.Clone(p.Runs), func(run Run) bool {
		if active[run.Container.key()] {
			return false
		}
		if !slices.ContainsFunc(leftOut, func(c Container) bool { return c.key() == run.Container.key() }) {
			leftOut = append(leftOut, run.Container)
		}
		return true
	})
	if len(leftOut) == 0 {
		return p, nil
	}
	return judged, leftOut
}

// idleSandbox reports whether the run is of a sandbox that needed no capability, as far as capmon knows.
func (r Run) idleSandbox() bool {
	return r.Container.Sandbox && len(r.Incomplete) == 0 && !slices.ContainsFunc(r.Uses, func(u UsePattern) bool {
		return u.Class.Need() || u.Class == classify.Denied
	})
}
