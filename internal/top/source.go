// Package top is the screen of capmon top: the containers of a host with the capabilities that they are granted and
// use, as they change.
package top

import (
	"context"
	"errors"
	"time"

	"github.com/capmon/capmon/internal/alert"
	"github.com/capmon/capmon/internal/api"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/report"
	"github.com/capmon/capmon/monitor"
)

// Source is where the data comes from: a running capmon serve ([DaemonSource]), or a recording of this process
// ([RecordingSource]). Its methods are safe for concurrent use, and may fail and succeed again later.
type Source interface {
	// Name describes the source in a few words.
	Name() string
	// Read returns the current state of all containers.
	Read(ctx context.Context) (Snapshot, error)
	// Details returns all that is known about a container, also from earlier runs.
	Details(ctx context.Context, c api.Container) (Details, error)
	// Alerts returns the alerts since a time, the oldest first. The error is [ErrNoAlerts] if the source has none.
	Alerts(ctx context.Context, since time.Time) ([]alert.Alert, error)
}

// ErrNoAlerts means that a source never has alerts.
var ErrNoAlerts = errors.New("only capmon serve has alerts: run capmon serve --rules FILE")

// Snapshot is the state of the recording and its containers at one moment.
type Snapshot struct {
	api.Containers
	Engine string // docker, or "" if there is none
	Hook   monitor.Hook
	// Losses is what the recording lost. LastLoss describes the latest loss; it may be empty.
	Losses   monitor.Losses
	LastLoss string
	// Trouble is why recorded data cannot be saved at the moment; "" if it can.
	Trouble string
	// RulesApply reports whether rules evaluate the uses. Otherwise only losses raise alerts.
	RulesApply bool
}

// Details has all that is known about a container.
type Details struct {
	Summary profile.Summary
	// Cautions about the list, the most severe first, and then the alternatives to its capabilities. They are safe for
	// a terminal.
	Cautions []string
}

// detailsOf returns the details of a container from a profile with all runs that may belong to its list. more are
// further cautions, which come first. The error means that the profile has no run of the container.
func detailsOf(p profile.Profile, c api.Container, more ...string) (Details, error) {
	for _, run := range p.FillFrom(profile.Profile{}).Runs { // another run of the container may have its name
		if run.Container.ID != c.ID || run.Container.Unconfirmed != c.Unconfirmed {
			continue
		}
		for _, s := range profile.Summaries(p) {
			if s.Container.SharesList(run.Container) {
				return Details{Summary: s, Cautions: append(more, report.Notes(s)...)}, nil
			}
		}
	}
	return Details{}, errors.New("the recording no longer has this container")
}
