package container

import (
	"testing"

	apievents "github.com/containerd/containerd/api/events"
	"github.com/containerd/containerd/api/types"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

func TestEventsOfContainerd(t *testing.T) {
	c := &Containerd{skipDocker: func() bool { return true }}
	for _, test := range []struct {
		namespace, topic string
		event            proto.Message
		want             Event // Type "": capmon does not use it
	}{
		{"default", topicContainerCreate, &apievents.ContainerCreate{ID: "web", Image: "bb"}, Event{Type: Created, ID: "default/web", Image: "bb", Engine: "containerd"}},
		{"default", topicTaskCreate, &apievents.TaskCreate{ContainerID: "web", Pid: 7}, Event{Type: Started, ID: "default/web", Pid: 7, Engine: "containerd"}},
		{"other", topicTaskExit, &apievents.TaskExit{ContainerID: "web", ID: "web"}, Event{Type: Died, ID: "other/web", Engine: "containerd"}},
		{"other", topicTaskExit, &apievents.TaskExit{ContainerID: "web", ID: "of an exec"}, Event{}},
		{"default", topicContainerDelete, &apievents.ContainerDelete{ID: "web"}, Event{Type: Removed, ID: "default/web", Engine: "containerd"}},
		{"default", "/images/create", &apievents.ImageCreate{Name: "bb"}, Event{}},
		{dockerNamespace, topicContainerCreate, &apievents.ContainerCreate{ID: "web"}, Event{}},
	} {
		value, err := anypb.New(test.event)
		if err != nil {
			t.Fatal(err)
		}
		got, ok := c.eventOf(&types.Envelope{Timestamp: timestamppb.Now(), Namespace: test.namespace, Topic: test.topic, Event: value})
		if ok != (test.want.Type != "") || got.Type != test.want.Type || got.ID != test.want.ID || got.Image != test.want.Image || got.Pid != test.want.Pid {
			t.Errorf("%s %s: %+v, %v; wanted %+v", test.namespace, test.topic, got, ok, test.want)
		}
		if died := got.Type == Died; died != (got.ExitStatus != nil) {
			t.Errorf("%s: exit status %v", test.topic, got.ExitStatus)
		}
	}
}
