// Package settingstest has data for the tests of settings, in this module and in test/compat.
package settingstest

import (
	"fmt"
	"strings"
	"time"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/profile"
)

var saturday = time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)

// Needing returns the run of a container with the number id that needs the set.
func Needing(id int, name string, needs capability.Set) profile.Run {
	granted, started := capability.DockerDefault(), saturday.Add(time.Duration(id)*time.Second)
	run := profile.Run{
		ID:        fmt.Sprint("observation/", id),
		Container: profile.Container{ID: strings.Repeat(fmt.Sprintf("%04x", id), 16), Name: name, Image: "app"},
		Grants:    profile.Grants{Kernel: &granted},
		Started:   &started, Ended: saturday.Add(time.Hour),
	}
	for _, c := range needs.Sorted() {
		run.Uses = append(run.Uses, profile.UsePattern{Capability: c, Class: classify.Required, Granted: true, Count: 1})
	}
	return run
}
