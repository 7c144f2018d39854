package observe

import (
	"context"

	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/untrustedfs"
	"github.com/capmon/capmon/monitor"
)

// readFileCapabilities reads the capabilities of a file that was executed for the first time. Folded executions have no
// file.
func (o *Observer) readFileCapabilities(ctx context.Context, id string, cgroup uint64, execution monitor.Execution) {
	if execution.Folded {
		return
	}
	program := profile.ProgramOf(cgroup, execution)
	o.mu.Lock()
	_, known := o.files.capabilities[program]
	layers, engineProc := o.fromEngine.infos[id].Layers, o.fromEngine.procOf(o.fromEngine.infos[id])
	o.mu.Unlock()
	if known {
		return
	}
	request := untrustedfs.Program{EngineProc: engineProc, PID: execution.PID, Device: execution.File.Device, Inode: execution.File.Inode, Changed: execution.Version.Changed}
	if !execution.Cut {
		request.Path = execution.Path
		if execution.Overlay {
			request.Layers = layers
		}
	}
	if answer, ok := o.lookUp(ctx, cgroup, untrustedfs.Request{Program: &request}); ok {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.files.capabilities[program] = answer.Capabilities
	}
}
