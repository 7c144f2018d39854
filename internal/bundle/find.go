package bundle

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"os"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/capmon/capmon/internal/containerid"
	"github.com/capmon/capmon/internal/kernel"
)

const (
	// maxAncestors is the number of ancestors of a process, outside of containers, that are searched for the monitor of
	// its container. During runtime setup, the runtime is between the two.
	maxAncestors = 16
	// maxInside is the number of ancestors that may be in containers. A container chooses it.
	maxInside = 1024
	// maxConfig is the maximum size of a config.json. Ordinary ones have 10 kB. Users of an engine can give a container
	// more annotations and environment variables. A file larger than largeConfig is read while no other such file is.
	maxConfig, largeConfig = 32 << 20, 1 << 20
)

// ErrNone means that no engine's process names a bundle of the container.
var ErrNone = errors.New("no monitor or shim of an engine names the container's bundle")

// Reader reads bundles. Its methods are safe for concurrent use.
type Reader struct {
	cgroups kernel.Cgroups
	storage storage
	large   sync.Mutex // held while a large config.json is in memory
}

// NewReader returns a Reader for the containers in a hierarchy of cgroups.
func NewReader(cgroups kernel.Cgroups) *Reader {
	return &Reader{cgroups: cgroups, storage: newStorage()}
}

// Read returns the bundle of a container. cgroup is the path of the container's cgroup, and pid a process in it. The
// error is [ErrNone] if there is no process of an engine that names the container.
func (r *Reader) Read(cgroup, id string, pid int) (Bundle, error) {
	found, err := r.Find(id, pid)
	if err != nil {
		return Bundle{}, err
	}
	defer found.Close()
	return r.ReadFound(found, cgroup)
}

func disagreement(b Bundle, cgroup string) error {
	return fmt.Errorf("the bundle is for the cgroup %q, not for %q", kernel.ShortPath(b.CgroupsPath), kernel.ShortPath(cgroup))
}

// Found is a process of an engine that names the bundle of a container. The bundle can be read after the process has
// ended.
type Found struct {
	caller caller
	id     string
}

// Find returns the process of an engine that is an ancestor of a process of a container, or an error as [Reader.Read].
// It is faster than Read, for containers that end soon. The caller must close the result.
func (r *Reader) Find(id string, pid int) (*Found, error) {
	caller, err := r.findCaller(id, pid)
	if err != nil {
		return nil, err
	}
	return &Found{caller, id}, nil
}

// Close releases the process.
func (f *Found) Close() { f.caller.process.close() }

// ReadFound returns the bundle that a process names, for a container in a cgroup with this path.
func (r *Reader) ReadFound(f *Found, cgroup string) (Bundle, error) {
	b, err := r.readOf(f.caller, f.id)
	if err == nil && b.Engine != Docker && b.Cgroup() != cgroup {
		err = disagreement(b, cgroup)
	}
	if err != nil {
		return Bundle{}, err
	}
	return b, nil
}

// ReadNamed returns the bundle that a process names. name is as in [Reader.Search].
func (r *Reader) ReadNamed(f *Found, name string) (Bundle, error) {
	return r.readNamed(f.caller, name, f.id)
}

// readNamed returns the bundle that a caller names, for a container whose cgroup has this name.
func (r *Reader) readNamed(caller caller, name, id string) (Bundle, error) {
	b, err := r.readOf(caller, id)
	if err == nil && path.Base(b.Cgroup()) != name {
		err = disagreement(b, name)
	}
	return b, err
}

// Search returns the bundle of a container whose processes may have ended: the engine's process ends a bit later. It
// inspects all processes, but does not find containers of Docker. name is the name of the container's cgroup. The
// caller must compare the cgroup with [Bundle.Cgroup].
func (r *Reader) Search(name, id string) (Bundle, error) {
	callers, err := r.callers()
	if err != nil {
		return Bundle{}, err
	}
	err = ErrNone
	for pid := range callers {
		b, readErr := r.readFrom(pid, name, id)
		switch {
		case readErr == nil:
			return b, nil
		case !errors.Is(readErr, os.ErrNotExist) && !errors.Is(readErr, ErrNone):
			err = readErr // otherwise it is the shim of other containers
		}
	}
	return Bundle{}, err
}

// callers returns the processes outside of containers that run the program of a monitor or a shim.
func (r *Reader) callers() (iter.Seq[int], error) {
	pids, err := kernel.Processes()
	return func(yield func(pid int) bool) {
		for _, pid := range pids {
			if !mayCall(pid) {
				continue
			}
			if inside, err := r.isInContainer(pid); err != nil || inside {
				continue
			}
			if !yield(pid) {
				return
			}
		}
	}, err
}

// readFrom reads the bundle of a container if a process names it.
func (r *Reader) readFrom(pid int, name, id string) (Bundle, error) {
	p, err := openProcess(pid)
	defer p.close()
	if err != nil {
		return Bundle{}, ErrNone // it has ended, or is of another user
	}
	found, ok := p.caller(id)
	if !ok || found.engine == Docker {
		return Bundle{}, ErrNone
	}
	return r.readNamed(found, name, id)
}

// mayCall reports whether a process runs the program of a monitor or a shim.
func mayCall(pid int) bool {
	executable, err := os.Readlink(path.Join(directoryOf(pid), "exe"))
	return err == nil && kindOf(strings.TrimSuffix(executable, deleted)) != notCaller
}

// readOf reads the bundle that a caller names.
func (r *Reader) readOf(caller caller, id string) (Bundle, error) {
	if caller.engine == Docker {
		return Bundle{Engine: Docker, ID: id}, nil // Docker itself reports more
	}
	b := Bundle{Engine: caller.engine, ID: id, Name: caller.name, Namespace: caller.namespace}
	spec, err := r.readConfig(caller)
	if err != nil {
		return Bundle{}, err
	}
	if err := b.parse(spec); err != nil {
		return Bundle{}, err
	}
	if b.Engine == Podman && strings.HasPrefix(path.Base(b.Cgroup()), "crio-") { // its annotations can come from the image
		b.Engine = CRIO
	}
	b.readAnnotations()
	if spec.Root != nil && (b.Engine == Podman || b.Engine == CRIO) {
		b.Layers = layers(caller.root, spec.Root.Path)
	}
	if b.Engine == Podman {
		// Without the record, the name is the one that the container had when it was started.
		if record, err := r.storage.find(caller, id); err == nil {
			b.addRecord(record)
		}
	}
	return b, nil
}

// readConfig reads config.json. The error is [ErrTooLarge] if it is larger than maxConfig.
func (r *Reader) readConfig(caller caller) (*specs.Spec, error) {
	file, err := openTrusted(caller.root, path.Join(caller.bundle, "config.json"))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if info, err := file.Stat(); err == nil && info.Size() > largeConfig {
		r.large.Lock()
		defer r.large.Unlock()
	}
	data, err := readLimited(file, maxConfig)
	if err != nil {
		return nil, err
	}
	var spec specs.Spec
	if err := json.Unmarshal(data, &spec); err != nil {
		return nil, fmt.Errorf("reading config.json: %w", err)
	}
	return &spec, nil
}

// caller is the process outside of a container that called the runtime, or watches the container for the engine.
type caller struct {
	engine, name, namespace string
	// process is the caller. Its root directory exists until it is closed.
	process process
	// bundle is the directory of the bundle below root, the caller's root directory.
	bundle, root string
	// pidFile is a file of the container in the engine's directory for volatile files; "" if it is not known.
	pidFile string
}

// findCaller searches the ancestors of a process for the monitor or the shim of its container.
func (r *Reader) findCaller(id string, pid int) (caller, error) {
	for inside, outside := 0, 0; inside < maxInside && outside < maxAncestors; {
		parent, err := parentOf(pid)
		if err != nil {
			return caller{}, err
		}
		if parent <= 1 {
			break
		}
		pid = parent
		contained, err := r.isInContainer(pid)
		if err != nil {
			return caller{}, err
		}
		if contained {
			inside++
			continue // it can have any name and arguments
		}
		outside++
		p, err := openProcess(pid)
		if err == nil {
			if found, ok := p.caller(id); ok {
				return found, nil
			}
		}
		p.close()
		if err != nil {
			return caller{}, err
		}
	}
	return caller{}, ErrNone
}

// isInContainer reports whether a process is in the cgroup of any container.
func (r *Reader) isInContainer(pid int) (bool, error) {
	cgroup, err := r.cgroups.Path(pid)
	if err != nil {
		return false, err
	}
	_, ok := containerid.FromCgroup(cgroup)
	return ok, nil
}

// caller returns what a process names as the container's bundle. It returns false if the process is not the monitor or
// shim of the container.
func (p process) caller(id string) (found caller, ok bool) {
	switch kindOf(p.executable) {
	case monitor:
		found, ok = p.conmon(id)
	case shim:
		found, ok = p.shim(id)
	}
	found.process, found.root = p, p.root()
	return found, ok
}

// callerKind is the kind of a program that calls runtimes.
type callerKind int

const (
	notCaller callerKind = iota
	monitor              // conmon
	shim                 // of containerd
)

func kindOf(executable string) callerKind {
	switch program := path.Base(executable); {
	case program == "conmon":
		return monitor
	case strings.HasPrefix(program, "containerd-shim"):
		return shim
	}
	return notCaller
}

// conmon reads the arguments of conmon: -c ID -n NAME -b BUNDLE -p PIDFILE.
func (p process) conmon(id string) (caller, bool) {
	p.arguments = before(p.arguments, "--exit-command") // the options after it are of other commands
	found := caller{
		engine: Podman, name: p.argument("-n", "--name"),
		bundle: p.argument("-b", "--bundle"), pidFile: p.argument("-p", "--container-pidfile"),
	}
	// The conmon of podman exec has a directory below the bundle.
	if above := path.Dir(found.bundle); p.has("-e", "--exec") && path.Base(above) == userdata {
		found.bundle, found.pidFile = above, ""
	}
	return found, p.argument("-c", "--cid") == id && path.IsAbs(found.bundle)
}

// ReadMonitor returns the container that the arguments of a monitor of Podman (conmon) name. It returns false if the
// process watches only one more process in a running container. The name is empty if the arguments lack it.
func ReadMonitor(arguments []string) (id, name string, ok bool) {
	p := process{arguments: before(arguments, "--exit-command")}
	id = p.argument("-c", "--cid")
	return id, p.argument("-n", "--name"), id != "" && !p.has("-e", "--exec")
}

// Monitored returns the names of the containers whose monitors (conmon) root runs on this host, by their IDs: the
// running containers of Podman and CRI-O, also if these do not answer. It leaves out processes that it cannot read.
func (r *Reader) Monitored() map[string]string {
	names := make(map[string]string)
	callers, _ := r.callers()
	for pid := range callers {
		p, err := openProcess(pid)
		if err == nil && kindOf(p.executable) == monitor {
			if id, name, ok := ReadMonitor(p.arguments); ok {
				names[id] = name
			}
		}
		p.close()
	}
	return names
}

// userdata is the name of the directory in which Podman and CRI-O store the bundle of a container.
const userdata = "userdata"

// before returns the elements before the first one that is equal to end.
func before(all []string, end string) []string {
	if i := slices.Index(all, end); i >= 0 {
		return all[:i]
	}
	return all
}

// shim reads the arguments and the working directory of containerd's shim: -namespace NAMESPACE -id ID. The shim of a
// pod has the ID of the sandbox. It works in the bundle of the container that it was started for. The bundles of the
// others are next to that one.
func (p process) shim(id string) (caller, bool) {
	namespace := p.argument("-namespace", "--namespace")
	tasks := path.Dir(p.directory)
	found := caller{engine: Containerd, namespace: namespace, bundle: path.Join(tasks, id)}
	if namespace == "moby" {
		found.engine = Docker
	}
	own := p.argument("-id", "--id")
	return found, path.IsAbs(p.directory) && path.Base(tasks) == namespace && path.Base(p.directory) == own
}
