package observe

import (
	"fmt"
	"os"
	"syscall"

	"go.uber.org/zap"

	"github.com/capmon/capmon/internal/kernel"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/monitor"
)

// examine reads which capabilities a file carries that a process has just begun
// to execute, if that still does.
func (o *Observer) examine(event monitor.Event) {
	executable := fmt.Sprintf("/proc/%d/exe", event.PID)
	info, err := os.Stat(executable)
	if err != nil || info.Sys().(*syscall.Stat_t).Ino != event.File.Inode {
		return // it has ended or executes another file: examineRest comes to it
	}
	carried, err := kernel.ReadFileCapabilities(executable)
	if err != nil {
		o.log.Debug("examining a program", zap.Uint32("pid", event.PID), zap.Error(err))
		return
	}
	o.note(profile.Program{Cgroup: event.Cgroup, File: *event.File}, carried)
}

func (o *Observer) note(program profile.Program, carried kernel.FileCapabilities) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.files[program] = carried
}

// examineRest looks in the layers of a container's root file system for the files
// that could not be read while they were executed.
func (o *Observer) examineRest(containers []monitor.Container) {
	for _, c := range containers {
		o.mu.Lock()
		layers := o.infos[c.ID].Layers
		o.mu.Unlock()
		for _, execution := range c.Executions {
			program := profile.Program{Cgroup: c.Cgroup, File: execution.File}
			o.mu.Lock()
			_, known := o.files[program]
			o.mu.Unlock()
			if known || execution.Cut || !execution.Overlay {
				continue
			}
			if carried, ok := inLayers(layers, execution.Path); ok {
				o.note(program, carried)
			}
		}
	}
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
