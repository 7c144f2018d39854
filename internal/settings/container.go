package settings

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/profile"
)

// Container is one that settings are written for.
type Container struct {
	profile.Summary
	// Label tells it from the others of its profile, in ASCII without control characters,
	// so that it may stand in a comment or on a terminal. It is the container's title,
	// quoted if that is unusual, with the image or the ID where several have the title.
	Label string
	// AnyStart: settings are wanted although no start was seen.
	AnyStart bool
}

// plain is what needs no quoting in any target's format, nor can be taken for
// more than a name.
var plain = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_./@-]*$`)

// Containers are a profile's, in the order of their start.
func Containers(p profile.Profile) []Container {
	summaries := profile.Summaries(p)
	titles, images := make(map[string]int), make(map[string]int)
	for _, s := range summaries {
		titles[s.Container.Title()]++
		images[s.Container.Title()+"\x00"+s.Container.Image]++
	}
	all := make([]Container, 0, len(summaries))
	for _, s := range summaries {
		label := s.Container.Title()
		switch {
		case titles[label] == 1:
		case images[label+"\x00"+s.Container.Image] == 1 && s.Container.Image != "":
			label += " (" + s.Container.Image + ")"
		default:
			label += " (" + s.Container.ID + ")"
		}
		all = append(all, Container{Summary: s, Label: quote(label)})
	}
	return all
}

// quote keeps what is plain and makes one ASCII word of anything else, another one
// for each text.
func quote(s string) string {
	if plain.MatchString(s) {
		return s
	}
	return strconv.QuoteToASCII(s)
}

// Withheld says why there can be no settings for the container, "" if there can.
func (c Container) Withheld() string {
	if !c.Started {
		return "capmon never saw its workload start: there are no settings for it"
	}
	for _, needed := range c.List().Sorted() {
		if !needed.Named() {
			return fmt.Sprintf("it needs capability %s, which is newer than this capmon: settings take names only, and a list without it would be too short", needed)
		}
	}
	return ""
}

// IsCalled reports whether a user may mean the container by a name: its title, its
// label, its name, its service's in a swarm, in Compose or in Kubernetes, or the
// beginning of its ID.
func (c Container) IsCalled(name string) bool {
	if c.Container.Unconfirmed != "" { // what it is named by may be another's ID
		return name == c.Label || name == c.Container.Title()
	}
	for _, own := range []string{c.Label, c.Container.Title(), c.Container.Name, c.ComposeService(), c.KubernetesName(), c.Container.ID} {
		if own != "" && own == name {
			return true
		}
	}
	const shortest = 4 // digits that somebody types to mean an ID
	return len(name) >= shortest && strings.HasPrefix(c.Container.ID, name)
}

// ComposeService is the service of a compose file that the container is, "" if it is none.
func (c Container) ComposeService() string {
	if c.Container.OneOff() {
		return ""
	}
	labels := c.Container.Labels
	if service := labels["com.docker.compose.service"]; service != "" {
		return service
	}
	// docker stack deploy names a service of the swarm STACK_SERVICE.
	if stack := labels["com.docker.stack.namespace"]; stack != "" {
		if service, ok := strings.CutPrefix(c.Container.Service(), stack+"_"); ok {
			return service
		}
	}
	return ""
}

// OneOff says why the container is not the service that it was started from, "" if it is one or
// was started from none.
func (c Container) OneOff() string {
	if !c.Container.OneOff() {
		return ""
	}
	_, service := c.Container.ComposeService()
	return fmt.Sprintf("docker compose run has started it from service %q, most often with another command: its needs are not the service's", service)
}

// KubernetesName is the container's name in its pod, "" if it is of none.
func (c Container) KubernetesName() string { return c.Container.Labels["io.kubernetes.container.name"] }

// Groups are the containers by what nameOf calls them, in the order of their first ones.
// Replicas are one group, which shares what any of them needs. Left out are those of
// which no workload was seen, those without a name, and groups with a member of which
// there is no list: theirs would be too short. [CheckGroups] tells whether the groups are
// fit for settings.
func Groups(all []Container, nameOf func(Container) string) []Group {
	var groups []Group
	for _, c := range all {
		name := nameOf(c)
		if name == "" || !c.Started {
			continue
		}
		i := slices.IndexFunc(groups, func(g Group) bool { return g.Label == name })
		if i < 0 {
			i = len(groups)
			groups = append(groups, Group{Label: name})
		}
		groups[i].Members = append(groups[i].Members, c)
		groups[i].Needs = groups[i].Needs.Union(c.List())
	}
	return slices.DeleteFunc(groups, func(g Group) bool {
		return slices.ContainsFunc(g.Members, func(c Container) bool { return c.Withheld() != "" })
	})
}

// CheckGroups fails if different containers have one name, since what one needs may not be
// granted to the other. It is a StartUnseenError if no member of a group was seen to start.
func CheckGroups(groups []Group) error {
	for _, g := range groups {
		for _, c := range g.Members {
			if !g.Members[0].isReplica(c) {
				return fmt.Errorf("%s and %s are both called %q, but are of different images or projects: give profiles of one of them only",
					g.Members[0].Label, c.Label, g.Label)
			}
		}
	}
	return startsUnseen(groups)
}

// isReplica tells whether two containers of one name are of one origin.
func (c Container) isReplica(other Container) bool {
	for _, label := range []string{"com.docker.compose.project", "com.docker.stack.namespace", "io.kubernetes.pod.namespace"} {
		if c.Container.Labels[label] != other.Container.Labels[label] {
			return false
		}
	}
	return c.Container.Image == other.Container.Image
}

// Names lists a set as Docker names its members.
func Names(set capability.Set) []string { return prefixed("", set) }

// capNames lists a set as the kernel's header does.
func capNames(set capability.Set) []string { return prefixed("CAP_", set) }

func prefixed(prefix string, set capability.Set) []string {
	names := make([]string, 0, set.Len())
	for _, c := range set.Sorted() {
		names = append(names, prefix+c.String())
	}
	return names
}
