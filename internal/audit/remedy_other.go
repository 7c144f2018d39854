package audit

import (
	"fmt"
	"path"
	"strings"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/dockerflags"
	"github.com/capmon/capmon/internal/findings"
	"github.com/capmon/capmon/internal/settings"
	"github.com/capmon/capmon/internal/shell"
)

// remedyWithoutDocker returns how to fix a container of another engine. It has no commands that create the container
// again: Podman reports some settings in terms that podman run does not accept, and the other engines do not have the
// settings of the user.
func (e evidence) remedyWithoutDocker() Remedy {
	var r Remedy
	if !e.observed() || len(e.doubts()) > 0 {
		r.Observe, r.NewStart = e.observeReplacement(), len(e.gaps()) > 0
	}
	if !e.observed() || e.container.Status == findings.Manual {
		return r
	}
	list := e.summary.List()
	r.Waived = e.container.waived().Minus(list)
	list = list.Union(r.Waived)
	r.List, r.Certain, r.Proved = &list, len(e.doubts()) == 0 && !e.container.Grants.Privileged, e.proved()
	r.addCautions(e.summary, list)
	r.Notes = append(r.Notes, e.container.withList(list))
	return r
}

// withList describes how to create the container with a list.
func (c *ContainerResult) withList(list capability.Set) string {
	switch {
	case c.PodName != "":
		text := fmt.Sprintf("in the specification of %s in the namespace %s, set for the container %s: %s",
			c.specification(), c.Namespace, path.Base(c.Name), settings.SecurityContext(list))
		if c.Grants.Privileged {
			text += ", and remove privileged: true"
		}
		return text
	case c.Engine == container.Podman:
		return "create the container again as before, but with these options: " + dockerflags.Line(list)
	}
	return "create the container again as before; with nerdctl, use these options: " + dockerflags.Line(list) +
		"; with another client, use capmon flags --for oci"
}

// specification returns the object of Kubernetes whose specification describes the container's pod.
func (c *ContainerResult) specification() string {
	if !strings.Contains(c.Owner, "/") {
		return "Pod/" + c.PodName
	}
	return c.Owner
}

// observeReplacement returns the commands that observe a new container, and then audit it. The user makes the new
// container. A new pod has another name, unless it is a static pod or has no owner.
func (e evidence) observeReplacement() []string {
	c := e.container
	names, audited, replaced := c.Name, []string{c.Name}, "container"
	if c.PodName != "" {
		replaced = "pod"
	}
	if _, owner, found := strings.Cut(c.Owner, "/"); found {
		names, audited = c.Namespace+"/"+owner+"-*/"+path.Base(c.Name), nil
	}
	return []string{
		fmt.Sprintf("capmon profile --for=%s --save=%s --container=%s # while it records, replace the %s with a new one",
			e.thresholds.Observed, shell.Quote(profileFile(c.Name)), shell.Quote(names), replaced),
		auditProfile(c.Name, audited...),
	}
}
