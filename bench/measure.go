package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// sample is one measurement of a load with a watcher.
type sample struct {
	each   time.Duration // the duration of one repetition of the load
	checks float64       // the checks recorded per repetition; 0 if unknown
}

// measurement makes loads while watchers run.
type measurement struct {
	directory       string
	program         string // the program that makes the loads
	inside, outside *generator
	watchers        []watcher
	times           map[load]int
	samples         map[load]map[string][]sample // by the watcher's name
}

const containerName = "capmon-bench"

// newMeasurement starts the programs that make the loads. If program is "", it compiles the program.
func newMeasurement(watchers []watcher, program string) (*measurement, error) {
	directory, err := os.MkdirTemp("/var/tmp", "capmon-bench.")
	if err != nil {
		return nil, err
	}
	m := &measurement{directory: directory, watchers: watchers, times: make(map[load]int), samples: make(map[load]map[string][]sample)}
	if program == "" {
		program, err = buildLoad(directory)
	} else {
		program, err = filepath.Abs(program) // Docker needs an absolute path
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

// end ends the programs and removes the directory.
func (m *measurement) end() error {
	var errs []error
	for _, g := range []*generator{m.inside, m.outside} {
		if g != nil {
			errs = append(errs, g.end())
		}
	}
	return errors.Join(append(errs, os.RemoveAll(m.directory))...)
}

// measure takes one sample with each watcher. Each round starts with another watcher, so that changes of the machine's
// state affect all watchers.
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
