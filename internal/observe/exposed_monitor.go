package observe

import (
	"context"
	"time"

	"github.com/capmon/capmon/monitor"
)

// exposedMonitor is the part of [monitor.Monitor] that users of an [Observer] may call. The other methods, such as Stop
// and Next, would disturb the observer.
type exposedMonitor interface {
	ID() string
	Began() time.Time
	Hook() monitor.Hook
	Continued() bool
	Now() time.Time

	DroppedEvents() (events uint64, pending bool, err error)
	Losses() (monitor.Losses, error)
	ContainerLosses() (map[uint64]monitor.ContainerLosses, error)
	LargestContainers(of monitor.Losses) ([]monitor.LargestContainer, error)
	SocketHolders(ctx context.Context, wanted func(monitor.Socket) bool, found func(monitor.SocketHolder)) error
	Descendants(cgroup uint64) []int
	CgroupInfo(cgroup uint64) (monitor.CgroupInfo, bool, error)

	// SetReportedUntil must be called only when the Consumer has handled everything that was recorded until that time.
	SetReportedUntil(time.Time) error
}
