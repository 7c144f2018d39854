package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/capmon/capmon/capability"
)

// workload is real software, how to run and test it, and what is known about it. It is a directory in workloads:
// workload.json has the exported fields, truth.json has the minimal sets, measured.json has capmon's last results, and
// test.sh is the client. scripts/corpus-images.sh builds the image.
type workload struct {
	name, directory string

	// Options are options of docker run, without capabilities.
	Options []string
	// Adds are the capabilities that users of the software grant in addition to Docker's default.
	Adds    capability.Set
	Command []string
	// Ends: the container ends by itself. Other containers must run until they are stopped.
	Ends bool
	// Exit is the expected exit status of the container.
	Exit int
	// Restart: the workload must also work when the container starts a second time, and needs more for that.
	Restart bool
	// Fast: the workload is one of those that make test runs. make test has little time.
	Fast bool
	// Excess and Missing are the capabilities in which capmon's list is known to be wrong, with the reasons.
	Excess, Missing map[capability.Capability]string
	// Differs are the capabilities that capmon lists or marks differently in a run with its own list, with the reasons.
	Differs map[capability.Capability]string

	// Only scripts/corpus-images.sh uses the next two fields.
	Packages []string
	Program  string

	// truth are the minimal sets with which the workload passes its test, or nil if they are unknown.
	truth []capability.Set
	// stored is the last measurement of the workload, or nil if there is none.
	stored *measured
}

// load reads the named workloads of the corpus in directory, or all workloads.
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

// readJSON decodes a JSON file. It rejects unknown fields, because a misspelt one would otherwise be ignored.
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

// granted returns the capabilities that users of the software grant its containers.
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

// saveTruth writes truth.json, one minimal set per line.
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

// deviation returns how a list differs from the truth. If there are several minimal sets, it compares with the nearest
// one.
func (w workload) deviation(list capability.Set) (excess, missing capability.Set) {
	nearest := slices.MinFunc(w.truth, func(one, other capability.Set) int {
		return distance(list, one) - distance(list, other)
	})
	return list.Minus(nearest), nearest.Minus(list)
}

// distance gives missing capabilities more weight, because a workload also works with unneeded capabilities.
func distance(list, truth capability.Set) int {
	return list.Minus(truth).Len() + 100*truth.Minus(list).Len()
}
