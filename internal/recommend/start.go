package recommend

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/shell"
)

// StartUnseenError refuses settings for containers that were running before they were watched:
// what they need only to start is not known, and with a list that lacks it they do not start.
type StartUnseenError struct {
	// Labels of the containers, and Starts the commands that show capmon a start of each.
	Labels, Starts []string
}

func (e *StartUnseenError) Error() string {
	const why = "what is needed only then is not known, and a list without it keeps a container from starting; " +
		"--even-if-start-unseen takes what is known all the same"
	if len(e.Labels) == 1 {
		return fmt.Sprintf("%s: its start was not seen: show capmon the start of a new container: %s (%s)", e.Labels[0], e.Starts[0], why)
	}
	return fmt.Sprintf("the starts of %d containers were not seen: show capmon the starts of new ones, or choose others: %s (%s)",
		len(e.Labels), profile.Names(e.Labels), why)
}

// RequireStarts is a StartUnseenError if no start of one of the containers was seen, else nil.
func RequireStarts(all []Container) error {
	_, err := singles(all)
	return err
}

// startsUnseen is a StartUnseenError of the groups that need one, nil if none does. Members are
// replicas: what one needs to start, the others do as well.
func startsUnseen(groups []Group) error {
	var unseen StartUnseenError
	for _, g := range groups {
		if !slices.ContainsFunc(g.Members, func(c Container) bool { return c.AnyStart || c.StartSeen() }) {
			unseen.Labels = append(unseen.Labels, g.Label)
			unseen.Starts = append(unseen.Starts, ShowStart(g.Members[0].Summary))
		}
	}
	if len(unseen.Labels) == 0 {
		return nil
	}
	return &unseen
}

// ShowStart is the command, for a shell, that starts a new container of the same kind while capmon
// watches.
func ShowStart(s profile.Summary) string {
	const watched = "capmon profile -- "
	c := Container{Summary: s}
	switch {
	case s.Container.Service() != "":
		return watched + "docker service update --force " + shell.Quote(s.Container.Service())
	case c.ComposeService() != "":
		return watched + "docker compose up -d --force-recreate " + shell.Quote(c.ComposeService())
	case c.KubernetesName() != "":
		labels := s.Container.Labels
		return watched + shell.Line([]string{"kubectl", "delete", "pod", "--namespace=" + labels["io.kubernetes.pod.namespace"], labels["io.kubernetes.pod.name"]})
	}
	return watched + "docker run … " + shell.Quote(cmp.Or(s.Container.Image, "IMAGE"))
}
