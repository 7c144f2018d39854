// Package profile contains what capmon learned about the runs of containers: a plain value that can be stored, merged
// and reported.
package profile

import (
	"bytes"
	"cmp"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/containerid"
	"github.com/capmon/capmon/monitor"
)

// Schema is the version of the JSON form. It grows when a reader of the old form would misread the new one.
const Schema = 2

// Format identifies a file as a profile of capmon.
const Format = "capmon profile"

// Profile is a set of runs. Merging profiles is commutative, associative and idempotent, so profiles of replicas, test
// runs and hosts can be added up in any order.
type Profile struct {
	Format string `json:"format"`
	Schema int    `json:"schema"`
	Runs   []Run  `json:"runs"`
	// Proofs are the proofs for the containers of such runs, oldest first.
	Proofs []Proof `json:"proofs,omitempty"`
}

// Run is one run of one container, as recorded in one observation.
type Run struct {
	// ID is unique among all runs: the observation and the container's cgroup.
	ID          string      `json:"id"`
	Observation Observation `json:"observation"`
	Container   Container   `json:"container"`
	Grants      Grants      `json:"grants"`
	// EngineError is the reason why the engine did not report the container's settings; empty if it reported them.
	EngineError string `json:"engineError,omitempty"`

	// Started is the time when the workload began, or when capmon first saw it if Existed. It is nil if capmon saw only
	// runtime setup, and no workload.
	Started *time.Time `json:"started,omitempty"`
	// Ended is the time when capmon saw the last process end, or when the observation ended.
	Ended time.Time `json:"ended"`
	// Existed: the workload was running before the observation began. capmon does not know what it used before.
	Existed bool `json:"existed"`
	// New: nobody had started the container before the recording began; nil if no engine reported it.
	New *bool `json:"new,omitempty"`
	// Watched is the time when capmon began to record the system calls that the seccomp profile allows only with a
	// granted capability. It is nil unless that was after capmon found the container running.
	Watched *time.Time `json:"watched,omitempty"`
	// Running: the container was still running when the observation ended.
	Running bool `json:"running"`

	// ExitStatus is the exit status of the container's first process; nil if it is not known.
	ExitStatus *int `json:"exitStatus,omitempty"`

	Processes uint32 `json:"processes"`
	// User is the effective user of the first workload process, as a user ID of the host.
	User   uint32 `json:"user"`
	Checks uint64 `json:"checks"`
	Lost   uint64 `json:"lost"`
	// Incomplete has the reasons why uses may be missing; empty if none is.
	Incomplete []string `json:"incomplete"`
	// Unexamined are programs that were executed, or that failed to execute, and whose file capabilities capmon could
	// not read in time.
	Unexamined []string `json:"unexamined,omitempty"`
	// Unwatched are granted capabilities that the seccomp profile may require for system calls. capmon did not record
	// these calls, or did not record them from the start on.
	Unwatched *capability.Set `json:"unwatched,omitempty"`
	// Kept are the capabilities that a thread had used and still had at its end, and those that any thread had at the
	// end of the observation; nil if they are not known.
	Kept *capability.Set `json:"kept,omitempty"`
	Uses []UsePattern    `json:"uses"`
	// LimitsSeen: Lifted has all uses of limits that a sysctl lifted.
	LimitsSeen bool     `json:"limitsSeen,omitempty"`
	Lifted     []Lifted `json:"lifted,omitempty"`
	// Readers are the names of the programs that read their own capabilities with capget or PR_CAPBSET_READ. A program
	// can choose any name. A program that reads capabilities may need none.
	Readers []string `json:"readers,omitempty"`
	// SharesPIDs: other containers or the host have processes in the container's pid namespace.
	SharesPIDs bool `json:"sharesPIDs,omitempty"`
	// Moved: a process of the command or unit has moved to another cgroup. capmon recorded its checks nevertheless.
	Moved bool `json:"moved,omitempty"`
	// OfCommand: the command that capmon profile runs has made the container, and no engine did it for the command.
	OfCommand bool `json:"-"`
	// Files are the files for which the kernel made checks, as far as capmon recorded them. Unlisted counts the checks
	// whose files did not fit in the list.
	Files    []File `json:"files,omitempty"`
	Unlisted uint64 `json:"unlisted,omitempty"`
}

// Observation is one session of capmon's recording. If several processes of capmon made the recording, one after the
// other, Recorder describes the process that wrote this record.
type Observation struct {
	ID string `json:"id"`
	Recorder
	Kernel string       `json:"kernel"`
	Hook   monitor.Hook `json:"hook"`
	Start  time.Time    `json:"start"`
	End    time.Time    `json:"end"`
}

// Recorder identifies where capmon recorded, and which capmon. Its fields are empty in files of earlier versions.
type Recorder struct {
	// Host is the name of the host: as its engine reports it, or otherwise the name of the host or container that
	// capmon ran on.
	Host string `json:"host,omitempty"`
	// Engine is the kind and version of the engine, such as docker 28.2.2; empty if no engine answered.
	Engine string `json:"engine,omitempty"`
	// Capmon is the version of capmon.
	Capmon string `json:"capmon,omitempty"`
}

// Container identifies a container. Everything but the ID comes from the engine, and is empty if the engine did not
// report it (see Run.EngineError).
type Container struct {
	ID string `json:"id"`
	// Unconfirmed is the path of the cgroup if no engine confirms that the cgroup belongs to a container. A user other
	// than root may have created and named the cgroup. If no engine knows the ID in the name of the cgroup, ID is that
	// ID. Otherwise capmon made the ID (containerid.UnknownPrefix).
	Unconfirmed string `json:"unconfirmed,omitempty"`
	Name        string `json:"name,omitempty"`
	Image       string `json:"image,omitempty"`
	ImageID     string `json:"imageID,omitempty"`
	// ImageDigest identifies the image in registries; empty if no registry has it.
	ImageDigest string `json:"imageDigest,omitempty"`
	// Labels has … in place of values that may be secret.
	Labels map[string]string `json:"labels,omitempty"`
	User   string            `json:"user,omitempty"`
	// NetworkMode is the engine's name for the network: host, none, bridge, container:ID, ….
	NetworkMode string `json:"networkMode,omitempty"`
	// Kind is process for a command that capmon has started, unit for a unit of systemd, and empty for a container.
	Kind container.Kind `json:"kind,omitempty"`
	// Engine is the engine of the container, such as podman. It is empty for Docker. Without a socket of Podman, capmon
	// knows the container from its OCI bundle, which has no labels.
	Engine string `json:"engine,omitempty"`
	// Pod is the ID of the pod that the container is part of: Podman's ID, or otherwise the ID of the pod's sandbox.
	Pod string `json:"pod,omitempty"`
	// Sandbox: the container only holds the namespaces of its pod, and runs no workload (infra container, pause).
	Sandbox bool `json:"sandbox,omitempty"`
	// Namespace, PodName and PodUID identify the pod of a container of Kubernetes.
	Namespace string `json:"namespace,omitempty"`
	PodName   string `json:"podName,omitempty"`
	PodUID    string `json:"podUID,omitempty"`
	// Owner is what made the pod, such as Deployment/web, or Node for a static pod. The creator of a pod can
	// pretend another owner.
	Owner string `json:"owner,omitempty"`
}

// swarmService is the label with the name of a swarm service.
const swarmService = "com.docker.swarm.service.name"

// serviceName matches the names that the engine accepts for swarm services.
var serviceName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?$`)

// Service returns the swarm service that the container is a task of, "" if it is not a task. Each task of a service has
// a different name.
func (c Container) Service() string {
	name := c.dockerLabel(swarmService)
	if c.Engine != "" || !serviceName.MatchString(name) { // anyone can give a container this label
		return ""
	}
	return name
}

// dockerLabel returns the value of a label of Docker and Compose; "" for a container of Kubernetes. Neither has made
// it, and the labels of its pod and its image must not make it part of another workload.
func (c Container) dockerLabel(key string) string {
	if c.PodName != "" {
		return ""
	}
	return c.Labels[key]
}

// ComposeService returns the Compose project and service that the container was created for; "" if there is none. A
// one-off container also has its service's name, see [Container.OneOff]. Anyone can give a container these labels.
func (c Container) ComposeService() (project, service string) {
	return c.dockerLabel("com.docker.compose.project"), c.dockerLabel("com.docker.compose.service")
}

// composeOneOff is the label with which Compose distinguishes the containers of docker compose run and up.
const composeOneOff = "com.docker.compose.oneoff"

// OneOff reports whether docker compose run started the container. It has the settings of a service, but usually
// another command, and therefore other needs.
func (c Container) OneOff() bool { return strings.EqualFold(c.dockerLabel(composeOneOff), "true") }

// Title returns the name by which a reader knows the container: the name of its service, its own name, or otherwise its
// short ID. It may contain any bytes.
func (c Container) Title() string {
	if c.Unconfirmed != "" && !strings.HasPrefix(c.ID, containerid.UnknownPrefix) {
		return containerid.Short(c.ID) + "-unconfirmed"
	}
	return cmp.Or(c.Service(), c.Name, containerid.Short(c.ID))
}

// Grants are the capabilities that a container's root processes may have.
type Grants struct {
	// Engine is the set that results from the engine's settings; nil if the engine did not report them.
	Engine *capability.Set `json:"engine,omitempty"`
	// Kernel is the bounding set of the first workload process; nil if capmon saw none. For a container that was
	// already running, it is the union over its processes and Engine: each process may have dropped some of its grants.
	Kernel *capability.Set `json:"kernel,omitempty"`
	// Permitted is the permitted set of the same process, or the union over the processes.
	Permitted *capability.Set `json:"permitted,omitempty"`
	// Ambient is the ambient set that a unit of systemd gives its processes; nil for other workloads.
	Ambient    *capability.Set `json:"ambient,omitempty"`
	Privileged bool            `json:"privileged,omitempty"`
}

// Set returns the best known grants: the kernel's if they are known, otherwise the engine's.
func (g Grants) Set() (set capability.Set, known bool) {
	switch {
	case g.Kernel != nil:
		return *g.Kernel, true
	case g.Engine != nil:
		return *g.Engine, true
	}
	return 0, false
}

// setEngine sets the grants that result from the engine's settings. existed is the field of [Run].
func (g *Grants) setEngine(granted capability.Set, existed bool) {
	g.Engine = &granted
	if existed && g.Kernel != nil {
		joined := g.Kernel.Union(granted)
		g.Kernel = &joined
	}
}

// Disagree reports whether the engine and the kernel report different grants.
func (g Grants) Disagree() bool {
	return g.Engine != nil && g.Kernel != nil && *g.Engine != *g.Kernel
}

// UsePattern is one pattern of use of a capability, with its class.
type UsePattern struct {
	Capability capability.Capability `json:"capability"`
	Class      classify.Class        `json:"class"`
	Granted    bool                  `json:"granted"`
	Reason     string                `json:"reason,omitempty"`
	Unsure     string                `json:"unsure,omitempty"`
	// Alternative is another capability that the kernel would have accepted; nil if there is none.
	Alternative *capability.Capability `json:"alternative,omitempty"`
	// Program is the name of the process. The process can choose any name.
	Program string `json:"program"`
	// Others: the use is the sum of uses with different process names and arguments, because there are too many to
	// list. Program is then empty, and Call has no arguments.
	Others bool `json:"others,omitempty"`
	// Call is the system call with the arguments that explain the need.
	Call string `json:"call,omitempty"`
	// Site is the call site. Stack has the kernel functions that called it, innermost first.
	Site  string   `json:"site,omitempty"`
	Stack []string `json:"stack,omitempty"`
	// Entry: the kernel made the check while it executed the container's first program.
	Entry bool      `json:"entry,omitempty"`
	User  uint32    `json:"user"`
	Count uint64    `json:"count"`
	First time.Time `json:"first"`
	Last  time.Time `json:"last"`
}

// New returns a profile of the current schema with the runs.
func New(runs ...Run) Profile {
	return Merge(Profile{Format: Format, Schema: Schema, Runs: runs})
}

// Merge adds profiles up. If several of them contain the same run, the later and more complete record counts.
func Merge(profiles ...Profile) Profile {
	runs := make(map[string]Run)
	for _, p := range profiles {
		for _, run := range p.Runs {
			if known, ok := runs[run.ID]; !ok || moreComplete(run, known) {
				runs[run.ID] = run
			}
		}
	}
	merged := Profile{Format: Format, Schema: Schema, Runs: make([]Run, 0, len(runs))}
	for _, run := range runs {
		if run.Incomplete == nil { // never null in JSON, whatever the files contain
			run.Incomplete = []string{}
		}
		if run.Uses == nil {
			run.Uses = []UsePattern{}
		}
		merged.Runs = append(merged.Runs, run)
	}
	slices.SortFunc(merged.Runs, compareRuns)
	merged.Proofs = mergeProofs(profiles)
	return merged
}

func moreComplete(one, other Run) bool {
	order := cmp.Or(one.Observation.End.Compare(other.Observation.End), cmp.Compare(one.Checks, other.Checks))
	if order != 0 {
		return order > 0
	}
	// Both are records of the same time, for example with and without the engine's report. The longer one counts.
	// The result must not depend on the order of merging.
	oneText, _ := json.Marshal(one)
	otherText, _ := json.Marshal(other)
	return cmp.Or(cmp.Compare(len(oneText), len(otherText)), bytes.Compare(oneText, otherText)) > 0
}

func compareRuns(one, other Run) int {
	return cmp.Or(one.start().Compare(other.start()), cmp.Compare(one.ID, other.ID))
}

// Since returns the time since which capmon recorded everything that the run did. This is its start or, if it was
// already running, the beginning of the observation, or the time when capmon also began to record its system calls.
func (r Run) Since() time.Time {
	switch {
	case r.Watched != nil:
		return *r.Watched
	case r.Existed:
		return r.Observation.Start
	}
	return r.start()
}

func (r Run) start() time.Time {
	if r.Started != nil {
		return *r.Started
	}
	return r.Ended
}
