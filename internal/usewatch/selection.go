package usewatch

import (
	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/uses"
)

// Selection selects uses. The zero value selects all that matter ([uses.Use.Matters]).
type Selection struct {
	// Capabilities to select. If it is empty, all are selected.
	Capabilities capability.Set
	// All also selects checks that are neither needs nor denied needs.
	All bool
	// OnlyGranted selects only granted uses, OnlyDenied only denied uses.
	OnlyGranted, OnlyDenied bool
	// IDs of the containers to select. If it is nil, all are selected.
	IDs map[string]bool
	// Filter selects containers by what the engine reports. A container that the engine has not reported is selected if
	// its ID matches.
	Filter container.Filter
}

// wantsUse reports whether a use is selected by everything except the filter.
func (s Selection) wantsUse(use uses.Use) bool {
	return (s.Capabilities.Empty() || s.Capabilities.Has(use.Capability)) &&
		(s.All || use.Matters()) &&
		(use.Granted || !s.OnlyGranted) && (!use.Granted || !s.OnlyDenied) &&
		(s.IDs == nil || s.IDs[use.Container.ID])
}

// wantsContainer reports whether a container is selected, and whether that is certain. Before the engine has reported
// the container, the answer is certain only if it depends on nothing but the ID.
func (s Selection) wantsContainer(info container.Info, identified bool) (wanted, certain bool) {
	possible := s.IDs == nil || s.IDs[info.ID]
	wanted = possible && s.Filter.Match(info)
	return wanted, identified || wanted || !possible
}
