package container

import (
	"context"
	"fmt"
	"time"

	apievents "github.com/containerd/containerd/api/events"
	"github.com/containerd/containerd/api/services/events/v1"
	"github.com/containerd/containerd/api/types"
	"google.golang.org/protobuf/proto"

	"github.com/capmon/capmon/internal/bundle"
	"github.com/capmon/capmon/internal/containerid"
)

// The topics of containerd's events that capmon uses. containerd sends /tasks/create when the runtime has made the
// container, before it starts the container's program.
const (
	topicContainerCreate = "/containers/create"
	topicContainerDelete = "/containers/delete"
	topicTaskCreate      = "/tasks/create"
	topicTaskExit        = "/tasks/exit"
)

// topicFilters selects the topics above.
var topicFilters = []string{
	`topic=="` + topicContainerCreate + `"`, `topic=="` + topicContainerDelete + `"`,
	`topic=="` + topicTaskCreate + `"`, `topic=="` + topicTaskExit + `"`,
}

// Events implements [Engine]. containerd keeps no events, so all of them are later than the call. [Started] is the
// creation of the task: the container's program starts a bit later.
func (c *Containerd) Events(ctx context.Context, _ time.Time) (<-chan Event, <-chan error) {
	out, failed := make(chan Event), make(chan error, 1)
	// The subscription has begun when Events returns: List would not have what happens before.
	stream, err := events.NewEventsClient(c.connection).Subscribe(ctx, &events.SubscribeRequest{Filters: topicFilters})
	go func() {
		defer close(failed)
		for err == nil {
			var envelope *types.Envelope
			if envelope, err = stream.Recv(); err != nil {
				break
			}
			event, ok := c.eventOf(envelope)
			if !ok {
				continue
			}
			select {
			case out <- event:
			case <-ctx.Done():
				return
			}
		}
		if ctx.Err() == nil {
			failed <- c.failed("following the events", err)
		}
	}()
	return out, failed
}

// Past implements [Engine]. containerd keeps no events.
func (c *Containerd) Past(context.Context, time.Time, time.Time) ([]Event, error) { return nil, nil }

// eventOf returns the event in an envelope. It returns false if capmon does not use it.
func (c *Containerd) eventOf(envelope *types.Envelope) (Event, bool) {
	namespace, value := envelope.GetNamespace(), envelope.GetEvent().GetValue()
	if c.skips(namespace) {
		return Event{}, false
	}
	event := Event{Engine: bundle.Containerd, Time: envelope.GetTimestamp().AsTime()}
	if namespace == dockerNamespace {
		event.Engine = "" // Docker
	}
	id, err := event.read(envelope.GetTopic(), value)
	if err != nil || id == "" {
		return Event{}, false
	}
	event.ID = containerid.Qualified(namespace, id)
	return event, true
}

// read sets the type of an event and what it says about that. It returns the ID of the container, "" if capmon does not
// use the event.
func (e *Event) read(topic string, value []byte) (id string, err error) {
	switch topic {
	case topicContainerCreate:
		var created apievents.ContainerCreate
		err = proto.Unmarshal(value, &created)
		e.Type, e.Image, id = Created, created.GetImage(), created.GetID()
	case topicContainerDelete:
		var deleted apievents.ContainerDelete
		err = proto.Unmarshal(value, &deleted)
		e.Type, id = Removed, deleted.GetID()
	case topicTaskCreate:
		var created apievents.TaskCreate
		err = proto.Unmarshal(value, &created)
		e.Type, e.Pid, id = Started, int(created.GetPid()), created.GetContainerID()
	case topicTaskExit:
		var exited apievents.TaskExit
		err = proto.Unmarshal(value, &exited)
		if exited.GetID() != exited.GetContainerID() {
			return "", err // the end of a process of ctr task exec
		}
		exitStatus := int(exited.GetExitStatus())
		e.Type, e.ExitStatus, id = Died, &exitStatus, exited.GetContainerID()
	}
	if err != nil {
		return "", fmt.Errorf("reading an event of containerd: %w", err)
	}
	return id, nil
}
