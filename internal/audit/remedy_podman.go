package audit

import (
	"fmt"
	"math"

	"github.com/capmon/capmon/internal/container"
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

// observePodman returns the commands that observe a restart of the container, and then audit it.
func (e evidence) observePodman() []string {
	name := e.container.Name
	start, stop := "restart", "restart"
	if !e.container.Running {
		start, stop = "start", "stop"
	}
	podman := func(command string) string { return shell.Line([]string{container.Podman, command, name}) }
	file := shell.Quote("./" + name + ".json")
	script := fmt.Sprintf("%s && sleep %d && %s", podman(start), int(math.Ceil(e.thresholds.Observed.Seconds())), podman(stop))
	return []string{
		fmt.Sprintf("capmon profile --save=%s --all-containers --container=%s -- sh -c %s", file, shell.Quote(name), shell.Quote(script)),
		fmt.Sprintf("capmon audit --profile=%s %s", file, shell.Quote(name)),
	}
}
