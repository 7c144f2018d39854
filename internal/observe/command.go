package observe

import (
	"fmt"
	"slices"
	"sync"

	"github.com/capmon/capmon/internal/bundle"
	"github.com/capmon/capmon/monitor"
)

// PodmanContainer is a container that a command has started with Podman on this host.
type PodmanContainer struct {
	ID, Name string
	// Rootless: another user than root runs it.
	Rootless bool
}

// commandContainers are the containers that the command has started with Podman. It is safe for concurrent use.
type commandContainers struct {
	mu  sync.Mutex
	all []PodmanContainer
}

// maxCommandContainers is the number of containers that the observer remembers to report those that it did not see.
const maxCommandContainers = 10000

// add records the container that a monitor of Podman watches.
func (c *commandContainers) add(started monitor.StartedMonitor) {
	id, name, ok := bundle.ReadMonitor(started.Arguments)
	if !ok {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.all) < maxCommandContainers {
		c.all = append(c.all, PodmanContainer{ID: id, Name: name, Rootless: started.UID != 0})
	}
}

// FollowCommand makes the observer recognize the containers that a process and its descendants make
// ([profile.Run].OfCommand). The monitor's Options.FollowsCommand must be set.
func (o *Observer) FollowCommand(pid int) error { return o.monitor.FollowCommand(pid) }

// Unseen returns the containers that the command has started with Podman, but whose cgroups the kernel never reported.
// Call it after Stop, and only once.
func (o *Observer) Unseen() ([]PodmanContainer, error) {
	if err := o.monitor.FlushEvents(); err != nil {
		return nil, fmt.Errorf("reading the last events: %w", err)
	}
	<-o.eventsHandled.sent
	named, err := o.monitor.ContainerIDs()
	if err != nil {
		return nil, err
	}
	seen := make(map[string]bool)
	for _, id := range named {
		seen[id] = true
	}
	o.ofCommand.mu.Lock()
	defer o.ofCommand.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(o.ofCommand.all), func(c PodmanContainer) bool {
		known := seen[c.ID]
		seen[c.ID] = true // a container can be started more than once
		return known
	}), nil
}
