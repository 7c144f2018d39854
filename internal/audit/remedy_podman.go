package audit

import (
	"fmt"

	"github.com/capmon/capmon/internal/dockerflags"
	"github.com/capmon/capmon/internal/findings"
	"github.com/capmon/capmon/internal/shell"
)

// podmanRemedy returns how to fix a container of Podman. It has no commands that create the container again: Podman
// reports some settings in terms that podman run does not accept.
func (e evidence) podmanRemedy() Remedy {
	var r Remedy
	if !e.observed() || len(e.doubts()) > 0 {
		r.Observe, r.NewStart = e.observePodman(), len(e.gaps()) > 0
	}
	if !e.observed() || e.container.Status == findings.Manual {
		return r
	}
	list := e.summary.List()
	r.Waived = e.container.waived().Minus(list)
	list = list.Union(r.Waived)
	r.List, r.Certain, r.Proved = &list, len(e.doubts()) == 0 && !e.container.Grants.Privileged, e.proved()
	r.Notes = []string{"create the container again as before, but with these options: " + dockerflags.Line(list)}
	return r
}

// observePodman returns the commands that observe a new container, and then audit it. The user makes the new container.
func (e evidence) observePodman() []string {
	name, file := shell.Quote(e.container.Name), shell.Quote("./"+e.container.Name+".json")
	return []string{
		fmt.Sprintf("capmon profile --for=%s --save=%s --container=%s # while it records, replace the container with a new one", e.thresholds.Observed, file, name),
		fmt.Sprintf("capmon audit --profile=%s %s", file, name),
	}
}
