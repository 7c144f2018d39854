package observe

import (
	"fmt"
	"os"
	"syscall"

	"github.com/capmon/capmon/internal/kernel"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/monitor"
)

// examine reads which capabilities a file carries that was executed for the first
// time: through the process, if that still executes it, or where the file lies.
func (o *Observer) examine(id string, cgroup uint64, execution monitor.Execution) {
	program := profile.Program{Cgroup: cgroup, File: execution.File}
	o.mu.Lock()
	_, known := o.files[program]
	layers := o.infos[id].Layers
	o.mu.Unlock()
	if known {
		return
	}
	carried, ok := throughProcess(execution)
	if !ok && execution.Overlay && !execution.Cut {
		carried, ok = inLayers(layers, execution.Path)
	}
	if ok {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.files[program] = carried
	}
}

// examineRest tries once more for the files that could not be read when they were
// executed: the engine may not have told by then where they are.
func (o *Observer) examineRest(containers []monitor.Container) {
	for _, c := range containers {
		for _, execution := range c.Executions {
			o.examine(c.ID, c.Cgroup, execution)
		}
	}
}

func throughProcess(execution monitor.Execution) (kernel.FileCapabilities, bool) {
	executable := fmt.Sprintf("/proc/%d/exe", execution.PID)
	info, err := os.Stat(executable)
	if err != nil || info.Sys().(*syscall.Stat_t).Ino != execution.File.Inode {
		return kernel.FileCapabilities{}, false // it has ended, or executes another file
	}
	carried, err := kernel.ReadFileCapabilities(executable)
	return carried, err == nil
}

// inLayers looks in the order in which the file system does. The directory that the
// container wrote to goes with the container; a file from there is not found then, or
// found as it was in the image.
func inLayers(layers []string, path string) (kernel.FileCapabilities, bool) {
	for _, layer := range layers {
		if carried, err := kernel.ReadFileCapabilitiesBelow(layer, path); err == nil {
			return carried, true
		}
	}
	return kernel.FileCapabilities{}, false
}
