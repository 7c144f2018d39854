package settings

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/shell"
)

// EvenIfStartUnseen is what a flag and a parameter are called that set AnyStart.
const EvenIfStartUnseen = "even-if-start-unseen"

// TakeAnyStart wants settings of all containers, whether a start was seen or not.
func TakeAnyStart(all []Container) {
	for i := range all {
		all[i].AnyStart = true
	}
}

// StartUnseenError refuses settings for containers that were running before they were watched:
// what they need only to start is not known, and with a list that lacks it they do not start.
type StartUnseenError struct {
	// Labels of the containers, Reasons why no start counts, and Starts how capmon gets to see one.
	Labels, Reasons, Starts []string
}

func (e *StartUnseenError) Error() string {
	const why = "what is needed only then is not known, and a list without it keeps a container from starting; " +
		"capmon flags --" + EvenIfStartUnseen + " prints the list anyway"
	if len(e.Labels) == 1 {
		return fmt.Sprintf("%s: %s: %s (%s)", e.Labels[0], e.Reasons[0], e.Starts[0], why)
	}
	return fmt.Sprintf("the starts of %d containers were not seen: start new ones while capmon watches, or choose others: %s (%s)",
		len(e.Labels), profile.Names(e.Labels), why)
}

// RequireStarts is a StartUnseenError if no start of one of the containers was seen, else nil.
func RequireStarts(all []Container) error {
	var groups []Group
	for _, c := range all {
		if c.Started {
			groups = append(groups, Group{Label: c.Label, Members: []Container{c}})
		}
	}
	return startsUnseen(groups)
}

// startsUnseen is a StartUnseenError of the groups that need one, nil if none does. Members are
// replicas: what one needs to start, the others do as well.
func startsUnseen(groups []Group) error {
	var unseen StartUnseenError
	for _, g := range groups {
		if !slices.ContainsFunc(g.Members, func(c Container) bool { return c.AnyStart || c.StartSeen() }) {
			unseen.Labels = append(unseen.Labels, g.Label)
			unseen.Reasons = append(unseen.Reasons, g.Members[0].StartUnseen())
			unseen.Starts = append(unseen.Starts, ShowStart(g.Members[0].Summary))
		}
	}
	if len(unseen.Labels) == 0 {
		return nil
	}
	return &unseen
}

// ShowStart tells how capmon gets to see a start. Nothing in it is from labels, which an image may
// choose, and nothing removes a container.
func ShowStart(s profile.Summary) string {
	return "start a new container while capmon serve records, or by: capmon profile --save=FILE -- docker run … " +
		shell.Quote(cmp.Or(s.Container.Image, "IMAGE"))
}
