package bundle

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/internal/kernel"
)

// State is what a runtime stores about a container in a directory of its own. No engine is necessary for it. The ID of
// the container is the path of the directory, because a name is unique only among the containers of one root directory
// of the runtime (--root). The name is the one that the user gave to the runtime.
type State struct {
	Bundle
	// Pid is the first process of the container. It is 0 if the runtime has not started it yet, and also if it has
	// ended.
	Pid int
	// Cgroup is the path of the container's cgroup. If Pid is 0, it is only expected.
	Cgroup string
}

// ErrEnded means that the first process of a container has ended.
var ErrEnded = errors.New("the first process of the container has ended")

// maxState is the maximum size of the state of a container. Ordinary ones have 30 kB.
const maxState = maxConfig

// ReadState reads the state of a container of runc or crun from its directory. The error matches [os.ErrNotExist] if
// the runtime has not written it yet. It is [ErrEnded] if the container does not run. Only root can have written the
// files that ReadState reads.
//
// The runtimes store a copy of what they made the container from. So the result is right even if the bundle was changed
// since, or belongs to a user.
func ReadState(cgroups kernel.Cgroups, directory string) (State, error) {
	s, err := readRuncState(cgroups, directory)
	for _, read := range []func(kernel.Cgroups, string) (State, error){readCrunState, readRuncStarting} {
		if errors.Is(err, os.ErrNotExist) {
			s, err = read(cgroups, directory)
		}
	}
	if err != nil {
		return State{}, err
	}
	s.ID, s.Name = directory, path.Base(directory)
	return s, nil
}

// readJSON reads a file that only root can have made.
func readJSON(name string, into any) error {
	data, err := readTrusted("/", name, maxState)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("reading %s: %w", name, err)
	}
	return nil
}

// runcState is the part of runc's state.json that capmon uses (libcontainer.State). The configuration in it is made
// from config.json.
type runcState struct {
	ID      string    `json:"id"`
	Pid     int       `json:"init_process_pid"`
	Start   uint64    `json:"init_process_start"`
	Created time.Time `json:"created"`
	Config  struct {
		Rootfs          string           `json:"rootfs"`
		NoNewPrivileges bool             `json:"no_new_privileges"`
		Seccomp         json.RawMessage  `json:"seccomp"`
		Labels          []string         `json:"labels"`
		Capabilities    runcCapabilities `json:"capabilities"`
		Namespaces      []runcNamespace  `json:"namespaces"`
	} `json:"config"`
	// Cgroups are the directories of the cgroups, by v1 controller; "" for v2.
	Cgroups map[string]string `json:"cgroup_paths"`
}

// runcCapabilities is empty if config.json has no capabilities. runc then drops all.
type runcCapabilities struct{ Bounding, Permitted, Ambient []string }

type runcNamespace struct {
	Type string `json:"type"`
}

func readRuncState(cgroups kernel.Cgroups, directory string) (State, error) {
	var state runcState
	if err := readJSON(path.Join(directory, "state.json"), &state); err != nil {
		return State{}, err
	}
	if state.ID != path.Base(directory) {
		return State{}, fmt.Errorf("the state in %s is of another container", directory)
	}
	config := state.Config
	s := State{Pid: state.Pid, Bundle: Bundle{
		Engine: Runc, Created: state.Created, NoNewPrivileges: config.NoNewPrivileges, HostPIDs: true, HostNetwork: true,
		Seccomp: len(config.Seccomp) > 0 && string(config.Seccomp) != "null",
	}}
	for _, namespace := range config.Namespaces {
		switch namespace.Type {
		case "NEWPID":
			s.HostPIDs = false
		case "NEWNET":
			s.HostNetwork = false
		}
	}
	s.setCapabilities(&specs.LinuxCapabilities{Bounding: config.Capabilities.Bounding, Permitted: config.Capabilities.Permitted, Ambient: config.Capabilities.Ambient})
	s.setLayers(config.Rootfs)
	for _, label := range config.Labels {
		if from, ok := strings.CutPrefix(label, "bundle="); ok {
			s.User = userBefore(state.Created, path.Join(from, "config.json"))
		}
	}
	if !runsSince(state.Pid, state.Start) {
		return State{}, ErrEnded
	}
	own, err := cgroups.Path(state.Pid)
	if err != nil {
		return State{}, err
	}
	s.Cgroup = cgroupIn(own, state.Cgroups[cgroups.Controller])
	return s, nil
}

// userBefore returns the user of the first process from a config.json that has not changed since a time. runc's state
// does not have the user. It returns "" if the user is not known.
func userBefore(created time.Time, config string) string {
	file, err := openTrusted("/", config)
	if err != nil {
		return ""
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil || info.ModTime().After(created) {
		return ""
	}
	data, err := readLimited(file, maxConfig)
	var spec specs.Spec
	if err != nil || json.Unmarshal(data, &spec) != nil || spec.Process == nil {
		return ""
	}
	return fmt.Sprintf("%d:%d", spec.Process.User.UID, spec.Process.User.GID)
}

// cgroupIn returns the cgroup with this directory, among the cgroup of a process and those above it; "" if it is none
// of them. directory is below a mount point that capmon may not know.
func cgroupIn(own, directory string) string {
	for cgroup := path.Clean(own); cgroup != "/"; cgroup = path.Dir(cgroup) {
		if strings.HasSuffix(path.Clean(directory), cgroup) {
			return cgroup
		}
	}
	return ""
}

// crunState is the part of crun's status that capmon uses (write_container_status).
type crunState struct {
	Pid     int       `json:"pid"`
	Start   uint64    `json:"process-start-time"`
	Cgroup  string    `json:"cgroup-path"`
	Rootfs  string    `json:"rootfs"`
	Bundle  string    `json:"bundle"`
	Created time.Time `json:"created"`
}

// readCrunState also reads the state of a container that crun is about to make. crun copies config.json first, then
// makes the cgroup, and writes the status last. crun run does so only when the program of the container runs already.
func readCrunState(cgroups kernel.Cgroups, directory string) (State, error) {
	s := State{Bundle: Bundle{Engine: Crun}}
	if err := s.readConfigFrom(path.Join(directory, "config.json")); err != nil {
		return State{}, err
	}
	var status crunState
	err := readJSON(path.Join(directory, "status"), &status)
	if errors.Is(err, os.ErrNotExist) {
		if s.Cgroup = s.Bundle.Cgroup(); s.Cgroup == "" {
			s.Cgroup = path.Join("/", path.Base(directory)) // crun's default
		}
		return s, nil
	}
	if err != nil {
		return State{}, err
	}
	if !runsSince(status.Pid, status.Start) {
		return State{}, ErrEnded
	}
	own, err := cgroups.Path(status.Pid)
	if err != nil {
		return State{}, err
	}
	s.Pid, s.Cgroup, s.Created = status.Pid, cgroupIn(own, status.Cgroup), status.Created
	if !path.IsAbs(status.Rootfs) {
		status.Rootfs = path.Join(status.Bundle, status.Rootfs)
	}
	s.setLayers(status.Rootfs)
	return s, nil
}

// readConfigFrom reads a config.json that only root can have made.
func (b *Bundle) readConfigFrom(name string) error {
	var spec specs.Spec
	if err := readJSON(name, &spec); err != nil {
		return err
	}
	if err := b.parse(&spec); err != nil {
		return err
	}
	if b.Bounding == nil { // runc and crun then drop all capabilities
		b.setCapabilities(&specs.LinuxCapabilities{})
	}
	return nil
}

// setLayers sets the root file system, if only root can have made the directory that it is in. Otherwise a user could
// replace it by another one.
func (b *Bundle) setLayers(rootfs string) {
	if _, err := openTrusted("/", path.Dir(rootfs)); path.IsAbs(rootfs) && errors.Is(err, unix.EISDIR) {
		b.Layers = []string{rootfs}
	}
}

// runsSince reports whether a process runs that started at this time, in clock ticks since boot.
func runsSince(pid int, start uint64) bool {
	if pid <= 1 {
		return false
	}
	fields, err := statOf(pid)
	const stateField, startField = 0, 19 // after the name of the program
	if err != nil || len(fields) <= startField || string(fields[startField]) != fmt.Sprint(start) {
		return false
	}
	return !slices.Contains([]string{"Z", "X"}, string(fields[stateField])) // a zombie, or dead
}
