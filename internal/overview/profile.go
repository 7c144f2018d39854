package overview

import (
	"cmp"
	"fmt"
	"path"
	"strings"

	"github.com/capmon/capmon/internal/profile"
)

// OfProfile returns the overview of the containers in a profile.
func OfProfile(p profile.Profile) Overview { return OfSummaries(profile.Summaries(p)) }

// OfSummaries is like [OfProfile].
func OfSummaries(summaries []profile.Summary) Overview {
	rows := make([]Row, 0, len(summaries))
	for _, s := range summaries {
		rows = append(rows, Of(s))
	}
	return New(rows)
}

// Of returns the row of a container.
func Of(s profile.Summary) Row {
	row := Row{
		Title: s.Container.Title(), Selector: selector(s.Container), Image: s.Container.Image, Privileged: s.Grants.Privileged,
		Used: s.Needs(), Denied: s.Denied(), Observed: s.Observed,
	}
	if s.Started {
		row.Runs = s.Runs
	}
	if granted, known := s.Grants.Set(); known {
		row.Granted = &granted
		row.Unused = granted.Minus(s.List())
		if !s.Proved() { // a proof decides about capabilities that were used although others are sufficient
			row.Unused = row.Unused.Minus(s.Spared())
		}
	}
	if s.Proved() {
		row.Used = s.List()
	} else {
		row.Unsure = s.Unsure().Intersect(row.Used)
	}
	row.Status = statusOf(s, row)
	if row.Status == Unsure {
		row.Doubtful = row.Unused
	}
	row.Replica = Replica(s.Container, row)
	return row
}

// selector returns the pattern for --container.
func selector(c profile.Container) string {
	if service := c.Service(); service != "" { // its tasks have the names SERVICE.NUMBER.ID
		return service + ".*"
	}
	return cmp.Or(c.Name, c.ID)
}

// Replica returns the replica key of a container: the service that it belongs to or, if it does not belong to one, its
// image, its name without the number at the end, and its uses. Containers of one image can run different programs.
func Replica(c profile.Container, row Row) string {
	if c.Unconfirmed != "" || c.Image == "" {
		return ""
	}
	if strings.Contains(c.Owner, "/") { // the pod has a random name
		return fmt.Sprintf("container %q of %q in %q", path.Base(c.Name), c.Owner, c.Namespace)
	}
	if project, service := c.ComposeService(); service != "" && !c.OneOff() {
		return fmt.Sprintf("service %q of %q", service, project)
	}
	return fmt.Sprintf("image %q name %q used %x unused %x denied %x", c.Image, withoutNumber(c.Name), uint64(row.Used), uint64(row.Unused), uint64(row.Denied))
}

// withoutNumber returns web for web-2 and web2.
func withoutNumber(name string) string {
	return strings.TrimRight(strings.TrimRight(name, "0123456789"), "-_.")
}

func statusOf(s profile.Summary, row Row) Status {
	switch {
	case row.Granted == nil, !s.Started:
		return Unsure
	case !s.Proved() && (!s.StartSeen() || len(s.Missing()) > 0 || s.Failed != nil):
		return Unsure
	case !row.Unused.Empty():
		return Unused
	case s.Proved() && s.Proof.Minimal:
		return Proved
	}
	return Fits
}
