// Package apitest has data for tests of package api.
package apitest

import (
	"context"
	"strings"
	"time"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/alert"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/daemon"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/store"
	"github.com/capmon/capmon/internal/uses"
	"github.com/capmon/capmon/monitor"
)

// Hostile is a name that a container could choose.
const Hostile = "a\x1b[2J\"\\\n</script>\u202e\x00\xff"

// Saturday is the time of all events.
var Saturday = time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)

// Source is an api.Source with one container, whose names are hostile.
type Source struct {
	// Daemon is the result of State.
	Daemon daemon.State
	// Err is the error of the database.
	Err error
	// Queue receives the alerts for Subscribe; nil for none.
	Queue *daemon.AlertQueue
}

// Working returns a source that has saved its data just now.
func Working() *Source {
	return &Source{Daemon: daemon.State{Engine: "docker", Hook: monitor.Tracepoint, ID: "0123", Began: Saturday, Saved: time.Now()}}
}

// Subscribe subscribes to s.Queue.
func (s *Source) Subscribe() *daemon.AlertSubscription { return s.Queue.Subscribe() }

// State returns s.Daemon.
func (s *Source) State() daemon.State { return s.Daemon }

// Latest returns a profile of one run.
func (s *Source) Latest() profile.Profile {
	defaults := capability.DockerDefault()
	return profile.New(profile.Run{
		ID:          "observation/1",
		Observation: profile.Observation{ID: "observation", Kernel: "6.18.1", Hook: monitor.Tracepoint, Start: Saturday, End: Saturday.Add(time.Hour)},
		Container:   profile.Container{ID: strings.Repeat("01", 32), Name: Hostile, Image: Hostile, Labels: map[string]string{Hostile: Hostile}},
		Grants:      profile.Grants{Engine: &defaults, Kernel: &defaults, Permitted: &defaults},
		Started:     &Saturday, Ended: Saturday.Add(time.Minute), Running: true, Processes: 1, Checks: 1, Incomplete: []string{},
		Uses: []profile.UsePattern{{
			Capability: capability.Chown, Class: classify.Required, Granted: true, Program: Hostile, Call: Hostile, Site: Hostile,
			Count: 1, First: Saturday, Last: Saturday,
		}},
	})
}

// Current returns the same profile as Latest.
func (s *Source) Current() (profile.Profile, time.Time, error) { return s.Latest(), Saturday, s.Err }

// Profile selects from Latest. It reports a pruned run and an unknown container.
func (s *Source) Profile(_ context.Context, selection store.Selection) (profile.Profile, store.Missing, error) {
	if s.Err != nil {
		return profile.Profile{}, store.Missing{}, s.Err
	}
	p, err := selection.Of(s.Latest())
	return p, store.Missing{Pruned: []store.Pruned{{Image: Hostile, Number: 1, Until: Saturday}}, Unknown: store.Unknown{Containers: []string{Hostile}}}, err
}

// Alerts returns one alert. It reports a pruned and an unknown one.
func (s *Source) Alerts(context.Context, store.Selection) ([]alert.Alert, store.MissingAlerts, error) {
	if s.Err != nil {
		return nil, store.MissingAlerts{}, s.Err
	}
	one := alert.New("raw-socket", alert.Warning, "a summary", 1, uses.Use{Time: Saturday, Process: uses.Process{Program: Hostile}})
	return []alert.Alert{one}, store.MissingAlerts{Pruned: 1, Until: Saturday, Unknown: []alert.Alert{one}}, nil
}
