package audit

import (
	"slices"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/findings"
	"github.com/capmon/capmon/internal/waiver"
)

// waive lists the waivers that cover capabilities of the container. If the container fails, waive decides its status
// again without the capabilities that valid waivers cover. A container that would then pass is waived.
func (e evidence) waive(waivers *waiver.Matching) {
	c, coverage := e.container, waivers.Cover(e.questionable())
	c.Waived, c.ExpiredWaivers = coverage.Valid, coverage.Expired
	if c.Status != findings.Fail || len(c.WaiverTexts()) == 0 {
		return
	}
	rest := e.without(coverage)
	status, reasons := rest.status()
	switch status {
	case findings.Pass:
		c.Status = findings.Waived
	case findings.Manual:
		c.Status = findings.Manual
		for _, reason := range reasons {
			if !slices.Contains(c.Reasons, reason) {
				c.Reasons = append(c.Reasons, reason)
			}
		}
	default:
		c.Reasons = append(c.Reasons, rest.notWaived()...)
	}
}

// questionable returns the granted capabilities that may not be needed, so that a waiver can accept them: those that
// capmon did not see in use, and those whose use is unsure. Everything is questionable about a privileged container.
func (e evidence) questionable() capability.Set {
	switch {
	case e.container.Grants.Privileged || !e.observed():
		return e.granted()
	case e.minimal():
		return e.unused()
	case e.proved():
		return e.granted().Minus(e.summary.Needs().Intersect(e.summary.List()))
	}
	return e.unused().Union(e.summary.Unsure().Intersect(e.granted()))
}

// without returns the evidence about the container without the capabilities that valid waivers cover. Only a waiver for
// ALL covers that the container is privileged. That nobody has restricted its capabilities is covered if each default
// capability that capmon did not see in use is.
func (e evidence) without(coverage waiver.Coverage) evidence {
	rest := *e.container
	set := e.granted().Minus(coverage.Set())
	rest.Grants.Set = &set
	rest.Grants.Privileged = rest.Grants.Privileged && !coverage.All()
	usual := capability.DockerDefault()
	if e.unused().Intersect(usual).Minus(coverage.Set()).Empty() {
		rest.Grants.Dropped = usual.Minus(set)
	}
	e.container = &rest
	return e
}

// notWaived returns what keeps a container failing although there are waivers.
func (e evidence) notWaived() []string {
	missing := e.certainlyUnused()
	if e.container.Grants.Dropped.Empty() {
		missing = missing.Union(e.unused().Intersect(capability.DockerDefault()))
	}
	switch {
	case e.container.Grants.Privileged:
		return []string{"no valid waiver covers that it is privileged: only a waiver for ALL does"}
	case missing.Empty():
		return nil
	}
	return []string{"no valid waiver covers " + names(missing)}
}

// waived returns the capabilities that valid waivers cover.
func (c *ContainerResult) waived() capability.Set { return waiver.Coverage{Valid: c.Waived}.Set() }

// WaiverTexts describes the waivers of the container, the valid ones first.
func (c *ContainerResult) WaiverTexts() []string {
	return waiver.Coverage{Valid: c.Waived, Expired: c.ExpiredWaivers}.Texts()
}
