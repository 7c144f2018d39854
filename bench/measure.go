package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// sample is what one watcher did to one load, once.
type sample struct {
	each   time.Duration // that the load took once
	checks float64       // that were recorded each time; 0 if not known
}

// measurement makes loads while watchers look on.
type measurement struct {
	directory       string
	program         string // that makes the loads
	inside, outside *generator
	watchers        []watcher
	times           map[load]int
	samples         map[load]map[string][]sample // by the watcher's name
}

const containerName = "capmon-bench"

// newMeasurement starts the programs that make the loads; "" compiles them.
func newMeasurement(watchers []watcher, program string) (*measurement, error) {
	directory, err := os.MkdirTemp("/var/tmp", "capmon-bench.")
	if err != nil {
		return nil, err
	}
	m := &measurement{directory: directory, watchers: watchers, times: make(map[load]int), samples: make(map[load]map[string][]sample)}
	if program == "" {
		program, err = buildLoad(directory)
	} else {
		program, err = filepath.Abs(program) // Docker wants it so
	}
	m.program = program
	if err == nil {
		m.outside, err = startOutside(program)
	}
	if err == nil {
		m.inside, err = startInside(program, containerName)
	}
	if err != nil {
		return nil, errors.Join(err, m.end())
	}
	return m, nil
}

// end leaves nothing behind.
func (m *measurement) end() error {
	var errs []error
	for _, g := range []*generator{m.inside, m.outside} {
		if g != nil {
			errs = append(errs, g.end())
		}
	}
	return errors.Join(append(errs, os.RemoveAll(m.directory))...)
}

// measure takes one sample with each watcher. Each round begins with another one, so
// that what changes on the machine meanwhile touches all.
func (m *measurement) measure(l load, round int) error {
	g := m.inside
	if !l.inside {
		g = m.outside
	}
	if m.times[l] == 0 {
		times, err := g.calibrate(l)
		if err != nil {
			return err
		}
		m.times[l], m.samples[l] = times, make(map[string][]sample)
	}
	first := round % len(m.watchers)
	for _, w := range slices.Concat(m.watchers[first:], m.watchers[:first]) {
		s, err := m.sample(g, l, w)
		if err != nil {
			return fmt.Errorf("with %s: %w", w.name, err)
		}
		m.samples[l][w.name] = append(m.samples[l][w.name], s)
	}
	return nil
}

func (m *measurement) sample(g *generator, l load, w watcher) (sample, error) {
	end, err := w.start(g.name)
	if err != nil {
		return sample{}, err
	}
	times := m.times[l]
	warm := max(1, times/10)
	_, err = g.make(l.kind, warm, l.processes)
	took, madeErr := g.make(l.kind, times, l.processes)
	checks, endErr := end()
	if err := errors.Join(err, madeErr, endErr); err != nil {
		return sample{}, err
	}
	return sample{took / time.Duration(times), float64(checks) / float64((warm+times)*l.processes)}, nil
}
