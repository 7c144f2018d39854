package settings

import (
	"cmp"
	"fmt"
	"slices"

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

func (e *StartUnseenError) Error() string {
	const why = "the needs at the start are unknown, and a container may fail to start with a list that lacks them; " +
		"capmon flags --" + EvenIfStartUnseen + " prints the list anyway"
	if len(e.Labels) == 1 {
		return fmt.Sprintf("%s: %s: %s (%s)", e.Labels[0], e.Reasons[0], e.Starts[0], why)
	}
	return fmt.Sprintf("capmon did not see the starts of %d containers: start new containers while capmon watches, or choose other containers: %s (%s)",
		len(e.Labels), profile.Names(e.Labels), why)
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
	return "start a new container while capmon serve records, or run: capmon profile --save=FILE -- docker run … " +
		shell.Quote(cmp.Or(s.Container.Image, "IMAGE"))
}
