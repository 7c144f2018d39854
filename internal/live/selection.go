package live

import (
	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/container"
)

// Selection says which uses are wanted. The zero value wants all that matter.
type Selection struct {
	// Capabilities that are wanted; all if it is empty.
	Capabilities capability.Set
	// All: also checks that are neither needs nor refusals of such.
	All bool
	// OnlyGranted and OnlyRefused leave the others out.
	OnlyGranted, OnlyRefused bool
	// IDs of the containers that are wanted; nil for all.
	IDs map[string]bool
	// Filter by what the engine tells. What it has not told passes: it might be wanted.
	Filter container.Filter
}

// wantsUse tells by all but the container's description.
func (s Selection) wantsUse(use Use) bool {
	return (s.Capabilities.Empty() || s.Capabilities.Has(use.Capability)) &&
		(s.All || use.Matters()) &&
		(use.Granted || !s.OnlyGranted) && (!use.Granted || !s.OnlyRefused) &&
		(s.IDs == nil || s.IDs[use.Container.ID])
}

// wantsContainer tells by what the engine says, which is told if it has answered.
func (s Selection) wantsContainer(info container.Info, told bool) bool {
	return (s.IDs == nil || s.IDs[info.ID]) && (!told || s.Filter.Match(info))
}
