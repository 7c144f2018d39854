package uses

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
	// OnlyGranted and OnlyDenied leave the others out.
	OnlyGranted, OnlyDenied bool
	// IDs of the containers that are wanted; nil for all.
	IDs map[string]bool
	// Filter by what the engine tells. A container that it has not told of is wanted if its ID is.
	Filter container.Filter
}

// wantsUse tells by all but the container's description.
func (s Selection) wantsUse(use Use) bool {
	return (s.Capabilities.Empty() || s.Capabilities.Has(use.Capability)) &&
		(s.All || use.Matters()) &&
		(use.Granted || !s.OnlyGranted) && (!use.Granted || !s.OnlyDenied) &&
		(s.IDs == nil || s.IDs[use.Container.ID])
}

// wantsContainer reports whether a container is wanted. As long as the engine has not told of it,
// that is not certain, unless the ID alone decides.
func (s Selection) wantsContainer(info container.Info, told bool) (wanted, certain bool) {
	possible := s.IDs == nil || s.IDs[info.ID]
	wanted = possible && s.Filter.Match(info)
	return wanted, told || wanted || !possible
}
