// Package audit judges containers by CIS Docker Benchmark 5.4: are they granted no
// capability but those that they use?
package audit

import (
	"slices"
	"strings"
	"time"

	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/dockerrun"
	"github.com/capmon/capmon/internal/findings"
	"github.com/capmon/capmon/internal/profile"
)

// Subject is a container as its engine knows it.
type Subject struct {
	Info     container.Info
	Settings container.Settings
}

// Options of an audit.
type Options struct {
	// Profile is what was observed of the containers; nil for an audit of what is granted
	// alone.
	Profile *profile.Profile
	// Last is the highest capability of the kernel that the containers run on.
	Last       capability.Capability
	Thresholds Thresholds
	// Names of the engine's containers by ID.
	Names map[string]string
	// WithValues: remedies hold also the values of settings that may be secret.
	WithValues bool
	// Strict: the related checks count, too.
	Strict bool
	Time   time.Time
}

// Audit is what was found.
type Audit struct {
	Time time.Time `json:"time"`
	// Static: only what is granted was looked at, not what is used.
	Static     bool         `json:"static"`
	Thresholds Thresholds   `json:"-"`
	Strict     bool         `json:"-"` // the related checks count
	Containers []*Container `json:"containers"`
}

// Container is how one container came out.
type Container struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Image   string `json:"image"`
	ImageID string `json:"imageID"`
	Running bool   `json:"running"`
	User    string `json:"user,omitempty"`
	// Service is the swarm's service that it is a task of, Compose the service of a compose
	// file; empty and nil if it is none.
	Service string   `json:"service,omitempty"`
	Compose *Compose `json:"compose,omitempty"`

	Grants Grants `json:"grants"`
	// Observation is what its profile shows; nil if it was not observed.
	Observation *Observation `json:"observation,omitempty"`

	// Status by CIS 5.4, and the reasons, the gravest first.
	Status  findings.Status `json:"status"`
	Reasons []string        `json:"reasons"`
	Remedy  Remedy          `json:"remedy"`
	// Hints tell how a capability could become needless.
	Hints []string `json:"hints,omitempty"`
	// Related are the checks that the settings answer on the side.
	Related []Related `json:"related"`
}

// Grants are what a container is granted.
type Grants struct {
	// Set is nil if it cannot be told.
	Set        *capability.Set `json:"set"`
	Privileged bool            `json:"privileged"`
	// Default is what of the set Docker grants by default, Added what goes beyond, Dropped
	// what is missing of the default.
	Default capability.Set `json:"default"`
	Added   capability.Set `json:"added"`
	Dropped capability.Set `json:"dropped"`
	// Error is why the set cannot be told.
	Error string `json:"error,omitempty"`
}

// Observation is what was seen of a container.
type Observation struct {
	Seconds float64 `json:"seconds"`
	// Runs that were added up; of those, Starts were seen from the start on, and Stops to
	// the end.
	Runs   int       `json:"runs"`
	Starts int       `json:"starts"`
	Stops  int       `json:"stops"`
	Since  time.Time `json:"since"`
	// Used are the needs that were seen, List what to grant.
	Used capability.Set `json:"used"`
	List capability.Set `json:"list"`
	// Unused are granted and not in Used; with a proof, not in List.
	Unused capability.Set `json:"unused"`
	// Proved: a proof holds for this container's image. Minimal: and no member can go.
	Proved  bool `json:"proved"`
	Minimal bool `json:"minimal"`
	// Doubts are why a capability may be needed that was not seen in use.
	Doubts []string `json:"doubts"`
}

// Related is how one of the related checks came out.
type Related struct {
	Rule   string          `json:"rule"`
	Status findings.Status `json:"status"`
	Text   string          `json:"text"`
}

// Of judges the containers, those that fail first.
func Of(subjects []Subject, o Options) Audit {
	audit := Audit{Time: o.Time, Static: o.Profile == nil, Thresholds: o.Thresholds, Strict: o.Strict, Containers: []*Container{}}
	var seen observations
	if o.Profile != nil {
		seen = observations{profile: *o.Profile, all: profile.Summaries(*o.Profile), builds: map[string][]profile.Summary{}}
	}
	for _, subject := range subjects {
		audit.Containers = append(audit.Containers, judge(subject, seen.of(subject.Info), o))
	}
	order := []findings.Status{findings.Fail, findings.Manual, findings.Pass}
	slices.SortStableFunc(audit.Containers, func(one, other *Container) int {
		if by := slices.Index(order, one.Status) - slices.Index(order, other.Status); by != 0 {
			return by
		}
		return strings.Compare(one.Name, other.Name)
	})
	return audit
}

// observations are what a profile says of containers, added up over all builds of their
// images, and by the build's ID.
type observations struct {
	profile profile.Profile
	all     []profile.Summary
	builds  map[string][]profile.Summary
}

// of is what is known of a container by its own build or, if there is nothing, by others.
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

// ofBuild leaves out what is known to be of another build.
func ofBuild(p profile.Profile, imageID string) profile.Profile {
	other := func(c profile.Container) bool { return c.ImageID != "" && c.ImageID != imageID }
	p.Runs = slices.DeleteFunc(slices.Clone(p.Runs), func(r profile.Run) bool { return other(r.Container) })
	p.Proofs = slices.DeleteFunc(slices.Clone(p.Proofs), func(proof profile.Proof) bool { return other(proof.Container) })
	return p
}

// find is what a profile says of a container: of this one, or else of others of the same
// service or name with the same image.
func find(summaries []profile.Summary, info container.Info) *profile.Summary {
	self := profile.Container{Labels: info.Labels}
	for _, matches := range []func(profile.Container) bool{
		func(c profile.Container) bool { return c.ID == info.ID && c.Unconfirmed == "" },
		func(c profile.Container) bool {
			return self.Service() != "" && c.Service() == self.Service() && c.Image == info.Image
		},
		func(c profile.Container) bool { return c.Name != "" && c.Name == info.Name && c.Image == info.Image },
	} {
		if i := slices.IndexFunc(summaries, func(s profile.Summary) bool { return matches(s.Container) }); i >= 0 {
			return &summaries[i]
		}
	}
	return nil
}

func judge(subject Subject, s *profile.Summary, o Options) *Container {
	info, own := subject.Info, ownLabels(subject.Info.Labels, subject.Settings)
	c := &Container{
		ID: info.ID, Name: info.Name, Image: info.Image, ImageID: info.ImageID, Running: info.Running, User: info.User,
		Service: serviceOf(info.Labels, own), Compose: composeOf(info.Labels, own), Grants: grantsOf(info, o.Last),
	}
	e := evidence{container: c, summary: s, static: o.Profile == nil, thresholds: o.Thresholds}
	c.Observation = e.observation()
	c.Status, c.Reasons = e.status()
	if trouble := troubled(subject.Settings.Container, o.Time); trouble != "" {
		c.Reasons = append(c.Reasons, trouble)
		if c.Status == findings.Pass {
			c.Status = findings.Manual
		}
	}
	if c.Status != findings.Pass {
		c.Remedy = e.remedy(again{
			asItIs: dockerrun.AsItIs(subject.Settings, o.Names, o.WithValues),
			with: func(list capability.Set) dockerrun.Recreation {
				return dockerrun.Of(subject.Settings, list, o.Names, o.WithValues)
			},
		})
	}
	c.Hints = e.hints(subject.Settings)
	for _, check := range relatedChecks {
		outcome := Related{check.rule.ID, findings.Pass, "it is so: " + check.rule.Title}
		if fault := check.fault(subject.Settings); fault != "" {
			outcome = Related{check.rule.ID, findings.Fail, fault}
		}
		c.Related = append(c.Related, outcome)
	}
	return c
}

func grantsOf(info container.Info, last capability.Capability) Grants {
	g := Grants{Privileged: info.Privileged}
	set, err := capability.Granted(info.CapAdd, info.CapDrop, info.Privileged, last)
	if err != nil {
		g.Error = err.Error()
		return g
	}
	usual := capability.DockerDefault()
	g.Set, g.Default, g.Added, g.Dropped = &set, set.Intersect(usual), set.Minus(usual), usual.Minus(set)
	return g
}

// Failed reports whether a container fails; if it is strict, also by a related check.
func (a Audit) Failed() bool {
	return slices.ContainsFunc(a.Containers, func(c *Container) bool {
		return c.Status == findings.Fail ||
			a.Strict && slices.ContainsFunc(c.Related, func(r Related) bool { return r.Status == findings.Fail })
	})
}
