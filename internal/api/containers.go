package api

import (
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/overview"
	"github.com/capmon/capmon/internal/profile"
)

// Containers has the current state of the containers whose records are in the kernel.
type Containers struct {
	// Time is when the kernel's maps were read.
	Time       time.Time   `json:"time"`
	Containers []Container `json:"containers"`
}

// Container is the current state of a container: what capmon recorded since the container's last start, or since the
// recording began. The texts may contain any bytes.
type Container struct {
	ID string `json:"id"`
	// Unconfirmed is the path of the cgroup if no engine confirms that it belongs to a container.
	Unconfirmed string `json:"unconfirmed,omitempty"`
	// Title is the name by which a reader knows the container.
	Title   string `json:"title"`
	Name    string `json:"name,omitempty"`
	Image   string `json:"image,omitempty"`
	Service string `json:"service,omitempty"` // of Docker Swarm
	Running bool   `json:"running"`
	// Status is unused, unsure, fits or proved, as in the overview of capmon report.
	Status     overview.Status `json:"status"`
	Privileged bool            `json:"privileged"`
	// Granted is null if the grants are not known.
	Granted *capability.Set `json:"granted"`
	Used    capability.Set  `json:"used"`
	Unused  capability.Set  `json:"unused"`
	Denied  capability.Set  `json:"denied"`
	// Unsure are members of Used that the container may not need.
	Unsure capability.Set `json:"unsure"`
	// Seconds is how long capmon saw the workload run, in Runs runs. Runs is 0 if capmon did not see the workload.
	Seconds float64 `json:"observedSeconds"`
	Runs    int     `json:"runs"`
	// Checks is the number of checks of all classes. Lost is the number of checks that were not recorded.
	Checks uint64 `json:"checks"`
	Lost   uint64 `json:"lost"`
	// LastUse is the last use of a capability; missing if there was none.
	LastUse *LastUse `json:"lastUse,omitempty"`
}

// LastUse is a use of a capability.
type LastUse struct {
	Capability capability.Capability `json:"capability"`
	Denied     bool                  `json:"denied"`
	Time       time.Time             `json:"time"`
}

// CurrentContainers returns the current state of the containers in a profile: one Container for each container ID.
func CurrentContainers(at time.Time, p profile.Profile) Containers {
	summaries := profile.SummariesBy(p, func(c profile.Container) [2]string { return [2]string{c.ID, c.Unconfirmed} })
	all := Containers{Time: at, Containers: make([]Container, 0, len(summaries))}
	for _, s := range summaries {
		all.Containers = append(all.Containers, containerOf(s))
	}
	return all
}

func containerOf(s profile.Summary) Container {
	row := overview.Of(s)
	return Container{
		ID: s.Container.ID, Unconfirmed: s.Container.Unconfirmed, Title: row.Title, Name: s.Container.Name, Image: row.Image,
		Service: s.Container.Service(), Running: s.Running, Status: row.Status, Privileged: row.Privileged,
		Granted: row.Granted, Used: row.Used, Unused: row.Unused, Denied: row.Denied, Unsure: row.Unsure, Seconds: row.Observed.Seconds(), Runs: row.Runs, Checks: s.Checks, Lost: s.Lost,
		LastUse: lastUse(s),
	}
}

func lastUse(s profile.Summary) (last *LastUse) {
	for _, use := range s.Uses {
		if !use.Class.Need() && use.Class != classify.Denied || last != nil && !use.Last.After(last.Time) {
			continue
		}
		last = &LastUse{Capability: use.Capability, Denied: use.Class == classify.Denied, Time: use.Last}
	}
	return last
}

// Row returns the container as a row of an overview, without the fields that Container does not have.
func (c Container) Row() overview.Row {
	return overview.Row{
		Status: c.Status, Title: c.Title, Image: c.Image, Privileged: c.Privileged,
		Granted: c.Granted, Used: c.Used, Unused: c.Unused, Denied: c.Denied, Unsure: c.Unsure,
		Observed: time.Duration(c.Seconds * float64(time.Second)), Runs: c.Runs,
	}
}

// containersResponse is the last response about the containers. Several clients can get the same one.
type containersResponse struct {
	mu   sync.Mutex
	at   time.Time
	body []byte
}

// containers responds with the current state of the containers.
func (s *server) containers(w http.ResponseWriter, _ *http.Request) {
	p, at, err := s.source.Current()
	if err != nil {
		problem(w, http.StatusServiceUnavailable, err)
		return
	}
	body, err := s.current.of(at, p)
	if err != nil {
		problem(w, http.StatusInternalServerError, err)
		return
	}
	respond(w, "application/json", body)
}

// of returns the response for a profile that was read at a time.
func (r *containersResponse) of(at time.Time, p profile.Profile) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.body != nil && at.Equal(r.at) {
		return r.body, nil
	}
	body, err := json.Marshal(CurrentContainers(at, p))
	if err != nil {
		return nil, err
	}
	r.at, r.body = at, append(body, '\n')
	return r.body, nil
}
