package policy

import (
	"slices"

	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/waiver"
)

// Waive moves the violations that waivers cover to ContainerResult.Waived. waivers may be nil.
func (r *Result) Waive(waivers *waiver.Review) {
	r.Waivers = waivers
	for i := range r.Containers {
		r.Containers[i].waive(waivers.Match(r.Containers[i].info()))
	}
}

func (c *ContainerResult) waive(waivers *waiver.Matching) {
	var remaining []Violation
	for _, v := range c.Violations {
		if v.waivable() {
			v.Waivers = waivers.Cover(v.Capabilities)
		}
		if v.waived() {
			c.Waived = append(c.Waived, v)
		} else {
			remaining = append(remaining, v)
		}
	}
	c.Violations = remaining
}

// info returns what waivers match. The ID and the digest of the image are missing if runs of other builds contributed.
func (c *ContainerResult) info() container.Info {
	info := infoOf(c.Container)
	info.Unconfirmed = c.Container.Unconfirmed
	if !c.SeveralBuilds {
		info.ImageID, info.ImageDigest = c.Container.ImageID, c.Container.ImageDigest
	}
	return info
}

// waivable reports whether the violation is about capabilities that the container used or was granted. Nobody can
// accept what capmon does not know. A long setup also means that capmon may not know everything.
func (v Violation) waivable() bool {
	return slices.Contains([]ViolationKind{Used, Denied, Granted, Unused, New}, v.Kind)
}

// waived reports whether the rule allows what the waivers do not cover.
func (v Violation) waived() bool {
	covered := v.Waivers.Set()
	return !covered.Empty() && v.Capabilities.Minus(covered).Len() <= v.allowed
}

// WaiverTexts describes the waivers of the violation, and what of a violation that fails they do not cover.
func (v Violation) WaiverTexts() []string {
	texts := v.Waivers.Texts()
	if len(v.Waivers.Valid) > 0 && !v.waived() {
		texts = append(texts, "no valid waiver covers "+v.Capabilities.Minus(v.Waivers.Set()).Text())
	}
	return texts
}
