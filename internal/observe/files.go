package observe

import (
	"maps"

	"github.com/capmon/capmon/internal/kernel"
	"github.com/capmon/capmon/internal/profile"
)

// fileRecords are the files of containers that have not been forgotten. The observer's mu guards them.
type fileRecords struct {
	capabilities map[profile.Program]kernel.FileCapabilities
	paths        resolvedPaths
	// executables are the paths of executed files. They are recorded only for a consumer.
	executables map[profile.Program]string
	// firstProcesses are the PIDs of the first processes seen of the containers, by cgroup.
	firstProcesses map[uint64]int
}

func newFileRecords() fileRecords {
	return fileRecords{
		capabilities: make(map[profile.Program]kernel.FileCapabilities), paths: newResolvedPaths(),
		executables: make(map[profile.Program]string), firstProcesses: make(map[uint64]int),
	}
}

// forget removes the files of the containers in these cgroups.
func (f *fileRecords) forget(gone map[uint64]bool) {
	maps.DeleteFunc(f.capabilities, func(program profile.Program, _ kernel.FileCapabilities) bool { return gone[program.Cgroup] })
	maps.DeleteFunc(f.executables, func(program profile.Program, _ string) bool { return gone[program.Cgroup] })
	maps.DeleteFunc(f.firstProcesses, func(cgroup uint64, _ int) bool { return gone[cgroup] })
	f.paths.forget(gone)
}

// recordFirstProcess records the first process that was seen of a container. In most cases it lives as long as the
// container.
func (o *Observer) recordFirstProcess(cgroup uint64, pid int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.files.firstProcesses[cgroup] == 0 {
		o.files.firstProcesses[cgroup] = pid
	}
}
