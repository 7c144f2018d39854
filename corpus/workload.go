package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/capmon/capmon/internal/capability"
)

// workload is real software, how it is run and tested, and what is known of it. It is
// a directory in workloads: workload.json has the fields below that have a JSON
// name, truth.json has the minimal sets, measured.json capmon's last results, and test.sh is the client.
// scripts/corpus-images.sh makes the image.
type workload struct {
	name, directory string

	// Options are those of docker run, but for capabilities.
	Options []string
	// Adds are the capabilities that users of the software grant besides Docker's defaults.
	Adds    capability.Set
	Command []string
	// Ends: it ends by itself. Others must run until they are told to stop.
	Ends bool
	// Exit is the code that the container ends with when it is told to stop.
	Exit int
	// Restart: the workload also has to work when the container starts a second time, and needs more for that.
	Restart bool
	// Fast ones are tested by make test, which has little time.
	Fast bool
	// Excess and Missing say where capmon is known to be wrong about it, and why.
	Excess, Missing map[capability.Capability]string
	// Differs are the capabilities that capmon lists or marks differently in a run with its own list, and why.
	Differs map[capability.Capability]string

	// For scripts/corpus-images.sh.
	Packages []string
	Program  string

	// truth are the minimal sets with which it passes its test; nil if nobody has
	// looked for them yet.
	truth []capability.Set
	// stored is the last measurement of the workload; nil if there is none.
	stored *measured
}

// load reads the workloads of the corpus in directory that are named, or all.
func load(directory string, names []string) ([]workload, error) {
	if len(names) == 0 {
		entries, err := os.ReadDir(filepath.Join(directory, "workloads"))
		if err != nil {
			return nil, err
		}
		for _, entry := range entries {
			names = append(names, entry.Name())
		}
	}
	var all []workload
	for _, name := range names {
		w, err := loadOne(filepath.Join(directory, "workloads", name))
		if err != nil {
			return nil, err
		}
		all = append(all, w)
	}
	return all, nil
}

func loadOne(directory string) (workload, error) {
	w := workload{name: filepath.Base(directory), directory: directory}
	if err := readJSON(filepath.Join(directory, "workload.json"), &w); err != nil {
		return w, err
	}
	return w, errors.Join(readIfThere(w.truthFile(), &w.truth), readIfThere(w.measuredFile(), &w.stored))
}

func readIfThere(file string, into any) error {
	err := readJSON(file, into)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// readJSON takes no field that it does not know: a misspelt one would be ignored.
func readJSON(file string, into any) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	decoder := json.NewDecoder(f)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}

// granted is what users of the software grant: a container of it has no more than that.
func (w workload) granted() capability.Set { return capability.DockerDefault().Union(w.Adds) }

func (w workload) truthFile() string { return filepath.Join(w.directory, "truth.json") }

func (w workload) measuredFile() string { return filepath.Join(w.directory, "measured.json") }

// saveMeasured writes the measurement to measured.json, one list per line.
func (w workload) saveMeasured(m measured) error {
	text := []byte("{")
	for i, field := range []struct {
		name  string
		value any
	}{{"naive", m.Naive}, {"first", m.First}, {"again", m.Again}, {"proved", m.Proved}} {
		line, err := json.Marshal(field.value)
		if err != nil {
			return err
		}
		if i > 0 {
			text = append(text, ',')
		}
		text = fmt.Appendf(text, "\n  %q: %s", field.name, line)
	}
	return os.WriteFile(w.measuredFile(), append(text, "\n}\n"...), 0o644)
}

// saveTruth writes one minimal set a line.
func (w workload) saveTruth(sets []capability.Set) error {
	text := []byte("[")
	for i, set := range sets {
		line, err := json.Marshal(set)
		if err != nil {
			return err
		}
		if i > 0 {
			text = append(text, ',')
		}
		text = append(append(text, "\n  "...), line...)
	}
	return os.WriteFile(w.truthFile(), append(text, "\n]\n"...), 0o644)
}

// deviation is how far a list is from the truth: from that minimal set, if there are
// several, from which it differs least.
func (w workload) deviation(list capability.Set) (excess, missing capability.Set) {
	nearest := slices.MinFunc(w.truth, func(one, other capability.Set) int {
		return distance(list, one) - distance(list, other)
	})
	return list.Minus(nearest), nearest.Minus(list)
}

// distance weighs what is missing more: with a capability too many it works.
func distance(list, truth capability.Set) int {
	return list.Minus(truth).Len() + 100*truth.Minus(list).Len()
}
