package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/agnivade/levenshtein"
	"github.com/spf13/cobra"

	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/containerid"
	"github.com/capmon/capmon/internal/printable"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/store"
)

// selectionFlag is a flag that selects containers by a property, with its patterns.
type selectionFlag struct {
	flag, what string
	patterns   []string
	have       func(profile.Container) []string
}

func selectionFlags(s store.Selection) []selectionFlag {
	return []selectionFlag{
		{"container", "containers", s.Containers, func(c profile.Container) []string { return []string{cmp.Or(c.Name, containerid.Short(c.ID))} }},
		{"image", "images", s.Images, func(c profile.Container) []string { return []string{c.Image} }},
		{"label", "labels", s.Labels, func(c profile.Container) []string { return slices.Collect(maps.Keys(c.Labels)) }},
		{"compose-service", "Compose services", s.ComposeServices, func(c profile.Container) []string {
			_, service := c.ComposeService()
			return []string{service}
		}},
	}
}

// selectsContainers reports whether a selection has criteria other than the time.
func selectsContainers(s store.Selection) bool {
	return slices.ContainsFunc(selectionFlags(s), func(by selectionFlag) bool { return len(by.patterns) > 0 })
}

// noneSelectedError is the error of a selection that selects nothing.
type noneSelectedError struct{ text string }

func (e *noneSelectedError) Error() string { return e.text }

// noneSelected returns a [noneSelectedError]. Its text names some of what the user could select, the most similar names
// first.
func noneSelected(what string, selection store.Selection, all []profile.Container) error {
	flags := selection.Options()
	if flags == "" {
		return &noneSelectedError{"there is no " + what}
	}
	text := fmt.Sprintf("no %s is selected: %s selects none", what, flags)
	for _, by := range selectionFlags(selection) {
		if len(by.patterns) == 0 {
			continue
		}
		var names []string
		for _, c := range all {
			names = append(names, by.have(c)...)
		}
		if names = nearest(by.patterns[0], names); len(names) == 0 {
			text += fmt.Sprintf("; there are no %s", by.what)
			continue
		}
		text += fmt.Sprintf("; the %s are %s", by.what, abbreviate(names))
	}
	return &noneSelectedError{text}
}

// nearest sorts names by their similarity to name, without empty and repeated names. It escapes them for a sentence.
func nearest(name string, names []string) (words []string) {
	names = slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n == "" })
	slices.SortFunc(names, func(one, other string) int {
		return cmp.Or(cmp.Compare(levenshtein.ComputeDistance(name, one), levenshtein.ComputeDistance(name, other)), strings.Compare(one, other))
	})
	for _, n := range slices.Compact(names) {
		words = append(words, printable.Word(n))
	}
	return words
}

func containersOf(p profile.Profile) (all []profile.Container) {
	for _, run := range p.Runs {
		all = append(all, run.Container)
	}
	return all
}

// runningTime is how long warnIfNoneSelected waits for the engine.
const runningTime = 2 * time.Second

// warnIfNoneSelected prints a notice if a filter selects none of the running containers. Either a matching container
// starts later, or a name in the filter is misspelled.
func warnIfNoneSelected(ctx context.Context, cmd *cobra.Command, engine container.Engine, filter container.Filter, selection store.Selection) {
	if !selectsContainers(selection) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, runningTime) // capmon does not record during this time
	defer cancel()
	running, err := engine.List(ctx, false)
	if err != nil || slices.ContainsFunc(running, filter.Match) { // capmon has already reported an engine that does not answer
		return
	}
	var all []profile.Container
	for _, info := range running {
		all = append(all, profile.Container{ID: info.ID, Name: info.Name, Image: info.Image, Labels: info.Labels})
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "capmon: %v; waiting for a matching container to start\n", noneSelected("running container", selection, all))
}
