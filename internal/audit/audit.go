// Package audit checks whether containers comply with CIS Docker Benchmark 5.4: whether they are granted only the
// capabilities that they use.
package audit

import (
	"slices"
	"strings"
	"time"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/dockerrun"
	"github.com/capmon/capmon/internal/findings"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/shell"
	"github.com/capmon/capmon/internal/waiver"
)

// Subject is a container to audit, as its engine describes it.
type Subject struct {
	Info     container.Info
	Settings container.Settings
}

// Options of an audit.
type Options struct {
	// Profile contains the observations of the containers; nil for a static audit, which reads only the grants.
	Profile *profile.Profile
	// Last is the highest capability of the kernel that the containers run on. EngineBounding is the bounding set of
	// Docker's process, which cannot grant more; nil if it is unknown.
	Last           capability.Capability
	EngineBounding *capability.Set
	Thresholds     Thresholds
	// Names maps the IDs of the engine's containers to their names.
	Names map[string]string
	// WithValues includes the values of settings that may be secret in the remedies. Flags are those flags of the audit
	// that decide on its result, for a command that repeats it.
	WithValues bool
	Flags      []string
	// Strict makes the audit fail if a related rule is violated.
	Strict bool
	// Recorder is what records all containers of this host.
	Recorder Recorder
	Time     time.Time
	// Evidence describes where the facts come from. [Of] fills in the fields about the recordings.
	Evidence profile.Evidence
	// Waivers accept the risk of some capabilities; nil if there are none.
	Waivers *waiver.File
}

// Audit is the result of an audit.
type Audit struct {
	Time     time.Time        `json:"time"`
	Evidence profile.Evidence `json:"evidence"`
	// Static is true if the audit read only the grants, not what the containers use.
	Static     bool               `json:"static"`
	Thresholds Thresholds         `json:"-"`
	Strict     bool               `json:"-"` // a violation of a related rule makes the audit fail
	Recorder   Recorder           `json:"-"`
	Containers []*ContainerResult `json:"containers"`
	// Waivers are all waivers at the time of the audit; nil if there is no file of waivers.
	Waivers *waiver.Review `json:"waivers,omitempty"`
	// flags are the flags of the command line that decide on the result.
	flags []string
}

// ContainerResult is the result of the audit for one container.
type ContainerResult struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Image   string `json:"image"`
	ImageID string `json:"imageID"`
	// Engine is the engine of the container, such as podman; empty for Docker. Pod is the ID of its pod.
	Engine string `json:"engine,omitempty"`
	Pod    string `json:"pod,omitempty"`
	// Namespace and PodName identify the pod of a container of Kubernetes. Owner is what made the pod, such as
	// Deployment/web, or Node for a static pod.
	Namespace string `json:"namespace,omitempty"`
	PodName   string `json:"podName,omitempty"`
	Owner     string `json:"owner,omitempty"`
	Running   bool   `json:"running"`
	User      string `json:"user,omitempty"`
	// Service is the swarm service that the container is a task of; empty if it is not a task. Compose is the service
	// of a Compose file; nil if the container does not belong to one.
	Service string   `json:"service,omitempty"`
	Compose *Compose `json:"compose,omitempty"`
	// labels are the container's labels.
	labels map[string]string

	Grants Grants `json:"grants"`
	// Observation is what the profile contains about the container; nil if it was not observed.
	Observation *Observation `json:"observation,omitempty"`
	// Summary is the same with all details; nil if the container was not observed.
	Summary *profile.Summary `json:"-"`

	// Status is the result for CIS 5.4, Reasons explains it, the most severe reason first.
	Status  findings.Status `json:"status"`
	Reasons []string        `json:"reasons"`
	// Waived are the waivers that cover capabilities of the container. ExpiredWaivers would cover some if they had not
	// expired.
	Waived         []waiver.Cover `json:"waived,omitempty"`
	ExpiredWaivers []waiver.Cover `json:"expiredWaivers,omitempty"`
	// Remedy is empty if the status is pass or waived.
	Remedy Remedy `json:"remedy"`
	// Hints lists the untested alternatives to a capability, as text.
	Hints []string `json:"hints,omitempty"`
	// Related contains the results of the related rules, which need only the settings.
	Related []Related `json:"related"`
}

// Identity returns what identifies the container.
func (c *ContainerResult) Identity() profile.Container {
	return profile.Container{
		ID: c.ID, Name: c.Name, Image: c.Image, ImageID: c.ImageID, Labels: c.labels, User: c.User,
		Engine: c.Engine, Pod: c.Pod, Namespace: c.Namespace, PodName: c.PodName, Owner: c.Owner,
	}
}

// OfItsBuild reports whether the observation may be of the container's build of its image.
func (c *ContainerResult) OfItsBuild() bool {
	return c.Summary != nil && (c.Summary.Container.ImageID == "" || c.Summary.Container.ImageID == c.ImageID)
}

// Grants describes the capabilities that a container is granted.
type Grants struct {
	// Set is the granted set; nil if it is unknown.
	Set        *capability.Set `json:"set"`
	Privileged bool            `json:"privileged"`
	// Default is the part of the set that Docker grants by default, Added is the rest. Dropped contains the defaults
	// that are missing from the set.
	Default capability.Set `json:"default"`
	Added   capability.Set `json:"added"`
	Dropped capability.Set `json:"dropped"`
	// Error is the reason why the set is unknown.
	Error string `json:"error,omitempty"`
}

// Observation is what capmon observed of a container.
type Observation struct {
	Seconds float64 `json:"seconds"`
	// Runs is the number of runs that were added up. capmon watched Starts of them from the first instruction, restarts
	// included, and Stops of them to the end.
	Runs   int       `json:"runs"`
	Starts int       `json:"starts"`
	Stops  int       `json:"stops"`
	Since  time.Time `json:"since"`
	// Used contains the needs that capmon observed, List is what to grant.
	Used capability.Set `json:"used"`
	List capability.Set `json:"list"`
	// Unused contains what is granted and not in Used; with a proof, what is granted and not in List.
	Unused capability.Set `json:"unused"`
	// Certain contains the members of Unused for which the evidence is sufficient.
	Certain capability.Set `json:"-"`
	// Proved is true if capmon verify has proved List for this container's image. Minimal is true if the proof also
	// shows that no member of List can be removed.
	Proved  bool `json:"proved"`
	Minimal bool `json:"minimal"`
	// Doubts lists reasons why a capability may be needed although capmon did not see its use.
	Doubts []string `json:"doubts"`
}

// Related is the result for one related rule.
type Related struct {
	Rule   string          `json:"rule"`
	Status findings.Status `json:"status"`
	Text   string          `json:"text"`
}

// Of audits the containers. It sorts them by status: fail, manual, waived, pass.
func Of(subjects []Subject, o Options) Audit {
	audit := Audit{Time: o.Time, Static: o.Profile == nil, Thresholds: o.Thresholds, Strict: o.Strict, Recorder: o.Recorder, Containers: []*ContainerResult{}, Waivers: o.Waivers.At(o.Time)}
	audit.flags = o.Flags
	audit.Evidence = o.Evidence.WithRuns(recordings(subjects, o.Profile))
	var seen observations
	if o.Profile != nil {
		seen = observations{profile: *o.Profile, all: profile.Summaries(*o.Profile), builds: map[string][]profile.Summary{}, granted: grantedByKernel(*o.Profile)}
	}
	for _, subject := range subjects {
		audit.Containers = append(audit.Containers, judge(subject, seen, audit.Waivers.Match(subject.Info), o))
	}
	order := []findings.Status{findings.Fail, findings.Manual, findings.Waived, findings.Pass}
	slices.SortStableFunc(audit.Containers, func(one, other *ContainerResult) int {
		if by := slices.Index(order, one.Status) - slices.Index(order, other.Status); by != 0 {
			return by
		}
		return strings.Compare(one.Name, other.Name)
	})
	return audit
}

// CommandFor returns the command that audits a container with the same flags, and prints how to fix it.
func (a Audit) CommandFor(name string) string { return command(a.flags, name) }

// command returns the command that audits the containers with these names; all if there are none.
func command(flags []string, names ...string) string {
	return shell.Line(slices.Concat([]string{"capmon", "audit"}, flags, names))
}

// observations contains the summaries of a profile: over all builds of an image, and for each build by its ID.
type observations struct {
	profile profile.Profile
	all     []profile.Summary
	builds  map[string][]profile.Summary
	granted map[string]capability.Set // see [grantedByKernel]
}

// of returns the summary of a container for its own build of the image, or otherwise over all builds; nil if there is
// none.
func (o observations) of(info container.Info) *profile.Summary {
	if len(o.all) == 0 {
		return nil
	}
	build, known := o.builds[info.ImageID]
	if !known {
		build = profile.Summaries(ofBuild(o.profile, info.ImageID))
		o.builds[info.ImageID] = build
	}
	if own := find(build, info); own != nil {
		return own
	}
	return find(o.all, info)
}

// grantedByKernel returns what the kernel granted the containers when they started, by their IDs. It is unknown if
// capmon did not see the start: a process that runs already may have dropped some of its grants.
func grantedByKernel(p profile.Profile) map[string]capability.Set {
	granted := make(map[string]capability.Set)
	for _, run := range p.Runs {
		if c := run.Container; c.Unconfirmed == "" && !run.Existed && run.Grants.Kernel != nil {
			granted[c.ID] = granted[c.ID].Union(*run.Grants.Kernel)
		}
	}
	return granted
}

// ofBuild returns the profile without the runs and proofs that are known to be of another build.
func ofBuild(p profile.Profile, imageID string) profile.Profile {
	other := func(c profile.Container) bool { return c.ImageID != "" && c.ImageID != imageID }
	p.Runs = slices.DeleteFunc(slices.Clone(p.Runs), func(r profile.Run) bool { return other(r.Container) })
	p.Proofs = slices.DeleteFunc(slices.Clone(p.Proofs), func(proof profile.Proof) bool { return other(proof.Container) })
	return p
}

// find returns the summary of a container, or otherwise of containers with the same service or name and the same image;
// nil if there is none.
func find(summaries []profile.Summary, info container.Info) *profile.Summary {
	self := identityOf(info)
	for _, matches := range []func(profile.Container) bool{
		func(c profile.Container) bool { return c.ID == info.ID && c.Unconfirmed == "" },
		func(c profile.Container) bool {
			return self.Service() != "" && c.Service() == self.Service() && c.Image == info.Image && c.Engine == info.Engine
		},
		func(c profile.Container) bool { // names are unique only in their engine
			return c.Name != "" && c.Name == info.Name && c.Image == info.Image && c.Engine == info.Engine
		},
	} {
		if i := slices.IndexFunc(summaries, func(s profile.Summary) bool { return matches(s.Container) }); i >= 0 {
			return &summaries[i]
		}
	}
	return nil
}

// recordings returns the runs of the containers, as find would find them.
func recordings(subjects []Subject, p *profile.Profile) (runs []profile.Run) {
	if p == nil {
		return nil
	}
	wanted := make(map[[4]string]bool)
	for _, subject := range subjects {
		for _, key := range recordingKeys(identityOf(subject.Info)) {
			wanted[key] = true
		}
	}
	for _, run := range p.FillFrom(profile.Profile{}).Runs {
		if slices.ContainsFunc(recordingKeys(run.Container), func(key [4]string) bool { return wanted[key] }) {
			runs = append(runs, run)
		}
	}
	return runs
}

// identityOf returns what identifies a container in profiles.
func identityOf(info container.Info) profile.Container {
	return profile.Container{
		ID: info.ID, Name: info.Name, Image: info.Image, Labels: info.Labels, Engine: info.Engine, PodName: info.Kubernetes.Name,
	}
}

// recordingKeys returns what identifies a container for find.
func recordingKeys(c profile.Container) [][4]string {
	var keys [][4]string
	if c.Unconfirmed == "" {
		keys = append(keys, [4]string{"ID", c.ID})
	}
	if c.Service() != "" {
		keys = append(keys, [4]string{"service", c.Service(), c.Image, c.Engine})
	}
	if c.Name != "" {
		keys = append(keys, [4]string{"name", c.Name, c.Image, c.Engine})
	}
	return keys
}

func judge(subject Subject, seen observations, waivers *waiver.Matching, o Options) *ContainerResult {
	info, own := subject.Info, ownLabels(subject.Info.Labels, subject.Settings)
	s := seen.of(info)
	c := &ContainerResult{
		ID: info.ID, Name: info.Name, Image: info.Image, ImageID: info.ImageID, Engine: info.Engine, Pod: info.Pod,
		Namespace: info.Kubernetes.Namespace, PodName: info.Kubernetes.Name, Owner: info.Kubernetes.Owner, Running: info.Running, User: info.User,
		Service: serviceOf(info.Labels, own), Compose: composeOf(info.Labels, own), labels: info.Labels, Grants: grantsOf(info, seen, o), Summary: s,
	}
	e := evidence{container: c, summary: s, static: o.Profile == nil, thresholds: o.Thresholds}
	c.Observation = e.observation()
	c.Status, c.Reasons = e.status()
	e.waive(waivers)
	if failure := failing(subject.Settings.Container, o.Time); failure != "" {
		c.Reasons = append(c.Reasons, failure)
		if c.Status == findings.Pass || c.Status == findings.Waived {
			c.Status = findings.Manual
		}
	}
	switch {
	case c.Status != findings.Fail && c.Status != findings.Manual:
	case info.Engine != "":
		c.Remedy = e.remedyWithoutDocker()
	default:
		c.Remedy = e.remedy(recreations{
			trial:     trial(subject, o),
			unchanged: dockerrun.Unchanged(subject.Settings, o.Names, o.WithValues),
			with: func(list capability.Set) dockerrun.Recreation {
				return dockerrun.WithCapabilities(subject.Settings, list, o.Names, o.WithValues)
			},
		})
		if len(c.Remedy.Withheld) > 0 {
			c.Remedy.WithValues = command(append([]string{"--with-values"}, o.Flags...), info.Name)
		}
	}
	c.Hints = e.hints(subject.Settings)
	c.Related = relatedOf(subject)
	return c
}

// relatedOf returns the results for the related rules, as far as the settings that they need are known.
func relatedOf(subject Subject) (results []Related) {
	withAPI := subject.Info.Engine == "" || subject.Info.Engine == container.Podman // Docker's, which has all settings
	for _, check := range relatedChecks {
		fault := check.fault(subject.Settings)
		switch {
		case fault != "":
			results = append(results, Related{check.rule.ID, findings.Fail, fault})
		case withAPI || check.inSpec:
			results = append(results, Related{check.rule.ID, findings.Pass, "it complies: " + strings.ToLower(check.rule.Title[:1]) + check.rule.Title[1:]})
		}
	}
	return results
}

// trial returns how to run the container without --privileged, and with the capabilities that it has.
func trial(subject Subject, o Options) dockerrun.Recreation {
	if subject.Info.Privileged {
		return dockerrun.WithAll(subject.Settings, o.Names, o.WithValues)
	}
	return dockerrun.Unchanged(subject.Settings, o.Names, o.WithValues)
}

// grantsOf returns the grants that result from the settings. They are not more than what the engine's process has, and
// not more than what capmon saw the kernel grant: the host, or the version of the engine, may lack some capabilities
// that the settings ask for.
func grantsOf(info container.Info, seen observations, o Options) Grants {
	g := Grants{Privileged: info.Privileged}
	set, err := info.Grants(o.Last)
	if err != nil {
		g.Error = err.Error()
		return g
	}
	if o.EngineBounding != nil && info.Granted == nil { // otherwise they are exact
		set = set.Intersect(*o.EngineBounding)
	}
	if kernel, known := seen.granted[info.ID]; known {
		set = set.Intersect(kernel)
	}
	usual := capability.DockerDefault()
	g.Set, g.Default, g.Added, g.Dropped = &set, set.Intersect(usual), set.Minus(usual), usual.Minus(set)
	return g
}

// Failed reports whether a container fails. If the audit is strict, a violated related rule counts as well.
func (a Audit) Failed() bool {
	return slices.ContainsFunc(a.Containers, func(c *ContainerResult) bool {
		return c.Status == findings.Fail ||
			a.Strict && slices.ContainsFunc(c.Related, func(r Related) bool { return r.Status == findings.Fail })
	})
}
