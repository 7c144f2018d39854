// Package profile is what capmon knows about containers after watching them: a
// plain value that can be stored, merged and reported.
package profile

import (
	"bytes"
	"cmp"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/monitor"
)

// Schema is the version of the JSON form. It grows when a reader of the old form
// would misread the new one.
const Schema = 2

// Format marks a file as a profile of capmon's.
const Format = "capmon profile"

// Profile is a set of runs. Merging profiles is commutative, associative and
// idempotent, so those of replicas, test runs and hosts add up in any order.
type Profile struct {
	Format string `json:"format"`
	Schema int    `json:"schema"`
	Runs   []Run  `json:"runs"`
	// Proofs of what runs like these need, the oldest first.
	Proofs []Proof `json:"proofs,omitempty"`
}

// Run is one run of one container, seen by one capmon.
type Run struct {
	// ID is unique among all runs: the observation and the container's cgroup.
	ID          string      `json:"id"`
	Observation Observation `json:"observation"`
	Container   Container   `json:"container"`
	Grants      Grants      `json:"grants"`
	// EngineError is why the engine could not tell how the container is set up; empty if
	// it has.
	EngineError string `json:"engineError,omitempty"`

	// Started is when the workload began, or when capmon first saw it if Existed;
	// nil if capmon never saw a workload, only set-up.
	Started *time.Time `json:"started,omitempty"`
	// Ended is when the last process was seen to end, or when the observation did.
	Ended time.Time `json:"ended"`
	// Existed: the workload was running before the observation began, so what it
	// used before is not known.
	Existed bool `json:"existed"`
	// New: the container had not been started before the recording began; nil if no engine has told.
	New *bool `json:"new,omitempty"`
	// Watched is from when on the system calls that its grants unlock were recorded, if
	// that was later than when it was found to run; else nil.
	Watched *time.Time `json:"watched,omitempty"`
	// Running: it was still running when the observation ended.
	Running bool `json:"running"`

	// ExitStatus is that of the container's first process; nil if it is not known.
	ExitStatus *int `json:"exitStatus,omitempty"`

	Processes uint32 `json:"processes"`
	// User is the effective user of the first workload process, as the host
	// counts users.
	User   uint32 `json:"user"`
	Checks uint64 `json:"checks"`
	Lost   uint64 `json:"lost"`
	// Incomplete lists why the uses may not be all there are; empty if they are.
	Incomplete []string `json:"incomplete"`
	// Unexamined are programs that were executed and gone before it could be read
	// which capabilities their files carry.
	Unexamined []string `json:"unexamined,omitempty"`
	// Unwatched are granted capabilities that the seccomp profile may unlock system
	// calls by which were not recorded, or not from the start on.
	Unwatched *capability.Set `json:"unwatched,omitempty"`
	// Kept are the capabilities that a thread had used and still held when it ended, and
	// those that any thread held at the end of the observation; nil if that is not known.
	Kept *capability.Set `json:"kept,omitempty"`
	Uses []Use           `json:"uses"`
	// LimitsSeen: limits that it passed because a sysctl lifted them are in Lifted.
	LimitsSeen bool     `json:"limitsSeen,omitempty"`
	Lifted     []Lifted `json:"lifted,omitempty"`
	// Readers are the names of the programs that read their own capabilities by capget or
	// PR_CAPBSET_READ. A program chooses its name. A program may read capabilities and need none.
	Readers []string `json:"readers,omitempty"`
	// SharesPIDs: other containers or the host have processes in its pid namespace.
	SharesPIDs bool `json:"sharesPIDs,omitempty"`
	// Files are those that capabilities were asked for, as far as they were seen. Unlisted
	// counts checks whose files found no room.
	Files    []File `json:"files,omitempty"`
	Unlisted uint64 `json:"unlisted,omitempty"`
}

// Observation is one session of capmon's recording.
type Observation struct {
	ID     string       `json:"id"`
	Kernel string       `json:"kernel"`
	Hook   monitor.Hook `json:"hook"`
	Start  time.Time    `json:"start"`
	End    time.Time    `json:"end"`
}

// Container is who it was. Everything but the ID comes from the engine, and is
// empty if the engine could not tell (Run.EngineError).
type Container struct {
	ID string `json:"id"`
	// Unconfirmed is the cgroup if no engine says that it is a container's: somebody else than root
	// may have made it, and named it. Then the ID is what the cgroup is named by, where no engine
	// knows that ID, or else one of capmon's (container.UnknownPrefix).
	Unconfirmed string `json:"unconfirmed,omitempty"`
	Name        string `json:"name,omitempty"`
	Image       string `json:"image,omitempty"`
	ImageID     string `json:"imageID,omitempty"`
	// ImageDigest is what registries know the image by; empty if none does.
	ImageDigest string `json:"imageDigest,omitempty"`
	// Labels without the values that may be secret: … stands in place of them.
	Labels map[string]string `json:"labels,omitempty"`
	User   string            `json:"user,omitempty"`
	// NetworkMode is the network in the engine's words: host, none, bridge, container:ID, ….
	NetworkMode string `json:"networkMode,omitempty"`
}

// swarmService is the label that names a service of a swarm.
const swarmService = "com.docker.swarm.service.name"

// serviceName is what the engine may call a service of a swarm.
var serviceName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?$`)

// Service is the swarm's service that the container is a task of, "" if it is none.
// Each task of a service has another name.
func (c Container) Service() string {
	name := c.Labels[swarmService]
	if !serviceName.MatchString(name) { // anybody may give a container this label
		return ""
	}
	return name
}

// ComposeService is the service of compose, and its project, that the container was made
// for; "" if it was not. A one-off container is not the service. Anybody may give a container these labels.
func (c Container) ComposeService() (project, service string) {
	return c.Labels["com.docker.compose.project"], c.Labels["com.docker.compose.service"]
}

// composeOneOff is the label by which docker compose tells what run has started from what up has.
const composeOneOff = "com.docker.compose.oneoff"

// OneOff reports whether docker compose run has started the container: with the settings of a service,
// but most often another command, and so with other needs.
func (c Container) OneOff() bool { return strings.EqualFold(c.Labels[composeOneOff], "true") }

// Title is the name under which a reader knows the container: its service's, its own, or
// else its short ID. It may hold any bytes.
func (c Container) Title() string {
	if c.Unconfirmed != "" && !strings.HasPrefix(c.ID, container.UnknownPrefix) {
		return container.ShortID(c.ID) + "-unconfirmed"
	}
	return cmp.Or(c.Service(), c.Name, container.ShortID(c.ID))
}

// Grants are the capabilities that a container's root processes may have.
type Grants struct {
	// Engine is what the engine's settings come to, nil if it could not be asked.
	Engine *capability.Set `json:"engine,omitempty"`
	// Kernel is the bounding set of the first workload process, nil if none was seen. Of a
	// container that ran before, it is the union over its processes, joined with Engine: each
	// process may have dropped some of what it was granted.
	Kernel *capability.Set `json:"kernel,omitempty"`
	// Permitted is that process's permitted set, or the union over the processes.
	Permitted  *capability.Set `json:"permitted,omitempty"`
	Privileged bool            `json:"privileged,omitempty"`
}

// Set is the best that is known: the kernel's word before the engine's.
func (g Grants) Set() (set capability.Set, known bool) {
	switch {
	case g.Kernel != nil:
		return *g.Kernel, true
	case g.Engine != nil:
		return *g.Engine, true
	}
	return 0, false
}

// setEngine records what the engine's settings come to. existed as in [Run].
func (g *Grants) setEngine(granted capability.Set, existed bool) {
	g.Engine = &granted
	if existed && g.Kernel != nil {
		joined := g.Kernel.Union(granted)
		g.Kernel = &joined
	}
}

// Disagree reports whether engine and kernel tell different grants.
func (g Grants) Disagree() bool {
	return g.Engine != nil && g.Kernel != nil && *g.Engine != *g.Kernel
}

// Use is one way in which a capability was asked for, with its class.
type Use struct {
	Capability capability.Capability `json:"capability"`
	Class      classify.Class        `json:"class"`
	Granted    bool                  `json:"granted"`
	Reason     string                `json:"reason,omitempty"`
	Unsure     string                `json:"unsure,omitempty"`
	// Alternative is another capability with which the kernel would have been
	// content; nil if there is none.
	Alternative *capability.Capability `json:"alternative,omitempty"`
	// Program is the process's own name for itself: not to be trusted.
	Program string `json:"program"`
	// Others: the use adds up process names and arguments of the system call that are not listed
	// one by one because there are too many. Program is empty, and Call has no arguments.
	Others bool `json:"others,omitempty"`
	// Call is the system call with the arguments that explain the need.
	Call string `json:"call,omitempty"`
	// Site is the kernel function that asked, Stack what led to it, innermost first.
	Site  string   `json:"site,omitempty"`
	Stack []string `json:"stack,omitempty"`
	// Entry: asked while the kernel executed the container's first program.
	Entry bool      `json:"entry,omitempty"`
	User  uint32    `json:"user"`
	Count uint64    `json:"count"`
	First time.Time `json:"first"`
	Last  time.Time `json:"last"`
}

// New makes an empty profile of the current schema.
func New(runs ...Run) Profile {
	return Merge(Profile{Format: Format, Schema: Schema, Runs: runs})
}

// Merge adds profiles up. Of the same run the later, fuller sight counts.
func Merge(profiles ...Profile) Profile {
	runs := make(map[string]Run)
	for _, p := range profiles {
		for _, run := range p.Runs {
			if known, ok := runs[run.ID]; !ok || fuller(run, known) {
				runs[run.ID] = run
			}
		}
	}
	merged := Profile{Format: Format, Schema: Schema, Runs: make([]Run, 0, len(runs))}
	for _, run := range runs {
		if run.Incomplete == nil { // in JSON never null, whatever the files have
			run.Incomplete = []string{}
		}
		if run.Uses == nil {
			run.Uses = []Use{}
		}
		merged.Runs = append(merged.Runs, run)
	}
	slices.SortFunc(merged.Runs, compareRuns)
	merged.Proofs = mergeProofs(profiles)
	return merged
}

func fuller(one, other Run) bool {
	order := cmp.Or(one.Observation.End.Compare(other.Observation.End), cmp.Compare(one.Checks, other.Checks))
	if order != 0 {
		return order > 0
	}
	// The same moment was recorded twice, with and without the engine's word. What
	// tells more counts, and which was merged first must not matter.
	oneText, _ := json.Marshal(one)
	otherText, _ := json.Marshal(other)
	return cmp.Or(cmp.Compare(len(oneText), len(otherText)), bytes.Compare(oneText, otherText)) > 0
}

func compareRuns(one, other Run) int {
	return cmp.Or(one.start().Compare(other.start()), cmp.Compare(one.ID, other.ID))
}

// Since is from when on all that the run did was recorded: from its start on, or if it
// was running before, from the beginning of the observation, or from when on its system
// calls were recorded too.
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
