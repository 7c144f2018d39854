package observe

import (
	"context"
	"errors"
	"os"
	"testing"

	"go.uber.org/zap"

	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/profile"
)

// describing is an engine that describes itself.
type describing struct {
	container.Engine
	version container.Version
	err     error
}

func (d *describing) Name() string { return "docker" }

func (d *describing) Version(context.Context) (container.Version, error) { return d.version, d.err }

func TestRecorder(t *testing.T) {
	own, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	const here, elsewhere = "6.18.1", "6.1.0"
	denied := errors.New("403 Forbidden")
	for name, test := range map[string]struct {
		engine container.Engine
		want   profile.Recorder
	}{
		"without an engine":          {nil, profile.Recorder{Host: own, Capmon: "v0.9"}},
		"the engine of the host":     {&describing{version: container.Version{Engine: "28.2.2", Host: "web1", Kernel: here}}, profile.Recorder{Host: "web1", Engine: "docker 28.2.2", Capmon: "v0.9"}},
		"an engine without a name":   {&describing{version: container.Version{Engine: "28.2.2", Kernel: here}}, profile.Recorder{Host: own, Engine: "docker 28.2.2", Capmon: "v0.9"}},
		"the engine of another host": {&describing{version: container.Version{Engine: "28.2.2", Host: "web2", Kernel: elsewhere}}, profile.Recorder{Host: own, Capmon: "v0.9"}},
		"a socket with few rights":   {&describing{err: denied}, profile.Recorder{Host: own, Capmon: "v0.9"}},
	} {
		o := &Observer{engine: test.engine, log: zap.NewNop(), observation: profile.Observation{Kernel: here}, recorder: newRecorderData("v0.9")}
		if got := o.Recorder(t.Context()); got != test.want {
			t.Errorf("%s: got %+v, wanted %+v", name, got, test.want)
		}
	}
}

// An engine may answer later, and may be upgraded while capmon records.
func TestRecorderIsThatOfTheLatestAnswer(t *testing.T) {
	engine := &describing{err: errors.New("connection refused")}
	o := &Observer{engine: engine, log: zap.NewNop(), recorder: newRecorderData("v0.9")}
	answers := func(version, want string) {
		t.Helper()
		engine.err, engine.version = nil, container.Version{Engine: version, Host: "web1"}
		if got := o.Recorder(t.Context()); got.Engine != want {
			t.Errorf("got %+v, wanted %s", got, want)
		}
	}
	if got := o.Recorder(t.Context()); got.Engine != "" {
		t.Errorf("the engine did not answer: %+v", got)
	}
	answers("28.2.2", "docker 28.2.2")
	answers("28.5.2", "docker 28.2.2") // the connection to the engine still exists
	o.describeEngine(t.Context())
	answers("28.5.2", "docker 28.5.2")
}
