package observe

import (
	"cmp"
	"context"
	"os"

	"go.uber.org/zap"

	"github.com/capmon/capmon/internal/profile"
)

// recorderData is what is known about this recording's host and engine. The observer's mu guards it.
type recorderData struct {
	profile.Recorder
	described bool // whether the engine has described itself
}

// newRecorderData returns what is known without the engine. The name of the host is that of this process's UTS
// namespace: in a container, it is the name of the container.
func newRecorderData(version string) recorderData {
	host, _ := os.Hostname() // if it is unknown, profiles do not contain it
	return recorderData{Recorder: profile.Recorder{Host: host, Capmon: version}}
}

// Recorder returns the host, the engine and the version of capmon of this recording. If the engine has not described
// itself yet, Recorder asks it.
func (o *Observer) Recorder(ctx context.Context) profile.Recorder {
	o.describeEngineOnce(ctx)
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.recorder.Recorder
}

// describeEngineOnce calls describeEngine until it has succeeded once.
func (o *Observer) describeEngineOnce(ctx context.Context) {
	o.mu.Lock()
	described := o.recorder.described
	o.mu.Unlock()
	if !described {
		o.describeEngine(ctx)
	}
}

// describeEngine asks the engine for its version and the name of its host, if profiles are wanted. capmon may run in a
// container, which has another name than its host. If the engine runs on another kernel, it does not know this host.
func (o *Observer) describeEngine(ctx context.Context) {
	if o.engine == nil || !o.wantsProfiles() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, engineTimeout)
	defer cancel()
	version, err := o.engine.Version(ctx)
	if err != nil {
		o.log.Debug("the engine does not describe itself; profiles do not contain its version", zap.Error(err))
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.recorder.described = true
	if version.Kernel == o.observation.Kernel {
		o.recorder.Engine = cmp.Or(version.Title, o.engine.Name()+" "+version.Engine)
		o.recorder.Host = cmp.Or(version.Host, o.recorder.Host)
	}
}
