package settings

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/shell"
)

// EvenIfStartUnseen is the name of the flag and the parameter that set AnyStart.
const EvenIfStartUnseen = "even-if-start-unseen"

// AcceptAnyStart sets AnyStart for all containers.
func AcceptAnyStart(all []LabeledContainer) {
	for i := range all {
		all[i].AnyStart = true
	}
}

// StartUnseenError reports that there are no settings for containers whose start capmon did not see: their needs at the
// start are unknown, and they may not start with a list that lacks such a need.
type StartUnseenError struct {
	// Labels of the containers, Reasons why no start was seen, and Starts with instructions for recording a start.
	Labels, Reasons, Starts []string
}

// Error returns three lines. The last one names the option of commands that prints the lists anyway.
func (e *StartUnseenError) Error() string { return e.Explain("--" + EvenIfStartUnseen) }

// Explain returns the same text as Error, with another option.
func (e *StartUnseenError) Explain(option string) string {
	if len(e.Labels) == 1 {
		return fmt.Sprintf("%s: %s: the list may be too short for a start\nto record a start: %s\nto print the list anyway: %s",
			e.Labels[0], e.Reasons[0], e.Starts[0], option)
	}
	return fmt.Sprintf("capmon did not see the starts of %d containers: their lists may be too short for a start: %s\n"+
		"to record starts: start new containers while capmon serve records, or choose other containers\nto print the lists anyway: %s",
		len(e.Labels), profile.Names(e.Labels), option)
}

// RequireStarts returns a [*StartUnseenError] if capmon saw no start of one of the containers, otherwise nil.
func RequireStarts(all []LabeledContainer) error {
	var groups []Group
	for _, c := range all {
		if c.Started {
			groups = append(groups, Group{Label: c.Label, Members: []LabeledContainer{c}})
		}
	}
	return startsUnseen(groups)
}

// startsUnseen returns a [*StartUnseenError] for the groups whose starts were not seen, nil if there are none. The
// members of a group are replicas: a start of one is enough.
func startsUnseen(groups []Group) error {
	var unseen StartUnseenError
	for _, g := range groups {
		if !slices.ContainsFunc(g.Members, func(c LabeledContainer) bool { return c.AnyStart || c.StartSeen() }) {
			unseen.Labels = append(unseen.Labels, g.Label)
			unseen.Reasons = append(unseen.Reasons, g.Members[0].StartUnseen())
			unseen.Starts = append(unseen.Starts, HowToRecordStart(g.Members[0].Summary))
		}
	}
	if len(unseen.Labels) == 0 {
		return nil
	}
	return &unseen
}

// HowToRecordStart returns instructions for recording a start. The text contains nothing from labels, because an image
// can set them, and no command that removes a container.
func HowToRecordStart(s profile.Summary) string {
	switch {
	case s.Container.PodName != "":
		return "start a new pod while capmon serve or capmon profile records"
	case s.Container.Kind == container.Process || isScope(s):
		return "run: capmon profile --save=FILE --process -- COMMAND"
	case s.Container.Kind == container.Unit:
		name := shell.Quote(s.Container.Name)
		return "run capmon profile --save=FILE --unit " + name + ", and while it runs: systemctl restart " + name
	}
	run := "docker run"
	if s.Container.Engine == container.Podman {
		run = "podman run"
	}
	return "start a new container while capmon serve records, or run: capmon profile --save=FILE -- " + run + " … " +
		shell.Quote(cmp.Or(s.Container.Image, "IMAGE"))
}
