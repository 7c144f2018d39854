package settings

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/kubernetes"
	"github.com/capmon/capmon/internal/profile"
)

// LabeledContainer is a container for which settings are written.
type LabeledContainer struct {
	profile.Summary
	// Label distinguishes the container from the others of its profile: the title, with the image or the ID if several
	// containers have the same title. A label with unusual characters is quoted. Labels contain only ASCII without
	// control characters, so they are safe in comments and on terminals.
	Label string
	// AnyStart: print settings even if capmon saw no start.
	AnyStart bool
}

// plainName matches names that need no quotes in the format of any target, and that cannot be mistaken for anything
// else.
var plainName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_./@-]*$`)

// Containers returns the containers of a profile, in the order of their start. It leaves out the sandboxes of pods that
// needed nothing: their engine makes them.
func Containers(p profile.Profile) []LabeledContainer {
	p, _ = p.Judged()
	return Labeled(profile.Summaries(p))
}

// Labeled gives labels to the containers of a profile.
func Labeled(summaries []profile.Summary) []LabeledContainer {
	titles, images := make(map[string]int), make(map[string]int)
	for _, s := range summaries {
		titles[s.Container.Title()]++
		images[s.Container.Title()+"\x00"+s.Container.Image]++
	}
	all := make([]LabeledContainer, 0, len(summaries))
	for _, s := range summaries {
		label := s.Container.Title()
		switch {
		case titles[label] == 1:
		case images[label+"\x00"+s.Container.Image] == 1 && s.Container.Image != "":
			label += " (" + s.Container.Image + ")"
		default:
			label += " (" + s.Container.ID + ")"
		}
		all = append(all, LabeledContainer{Summary: s, Label: quote(label)})
	}
	return all
}

// quote returns plain names unchanged, and encodes any other text as one ASCII word. Different texts give different
// words.
func quote(s string) string {
	if plainName.MatchString(s) {
		return s
	}
	return strconv.QuoteToASCII(s)
}

// Unavailable returns the reason why there are no settings for the container, "" if there are.
func (c LabeledContainer) Unavailable() string {
	if !c.Started {
		return "capmon saw only the runtime setup of the container, not its workload: its needs are unknown"
	}
	for _, needed := range c.List().Sorted() {
		if !needed.Named() {
			return fmt.Sprintf("the container needs capability %s, which is newer than this version of capmon: settings accept only names, and a list without it would be too short", needed)
		}
	}
	return ""
}

// HasName reports whether a user may refer to the container by this name: its title, its label, its name, the name of
// its service in a swarm, in Compose or in Kubernetes, or the beginning of its ID.
func (c LabeledContainer) HasName(name string) bool {
	if c.Container.Unconfirmed != "" { // its cgroup may be named after the ID of another container
		return name == c.Label || name == c.Container.Title()
	}
	for _, own := range []string{c.Label, c.Container.Title(), c.Container.Name, c.ComposeService(), c.KubernetesName(), c.Container.ID} {
		if own != "" && own == name {
			return true
		}
	}
	const shortest = 4 // digits of an ID
	return len(name) >= shortest && strings.HasPrefix(c.Container.ID, name)
}

// ComposeService returns the name of the container's service in a compose file, "" if it has none.
func (c LabeledContainer) ComposeService() string {
	if c.Container.OneOff() {
		return ""
	}
	if _, service := c.Container.ComposeService(); service != "" {
		return service
	}
	// docker stack deploy names a service of the swarm STACK_SERVICE.
	if stack := c.Container.Labels["com.docker.stack.namespace"]; stack != "" {
		if service, ok := strings.CutPrefix(c.Container.Service(), stack+"_"); ok {
			return service
		}
	}
	return ""
}

// OneOff returns the reason why the container does not represent the service that it was started from. It returns "" if
// it does, or if it was not started from a service.
func (c LabeledContainer) OneOff() string {
	if !c.Container.OneOff() {
		return ""
	}
	_, service := c.Container.ComposeService()
	return fmt.Sprintf("docker compose run started this container from service %q, usually with another command, so its needs are not the needs of the service", service)
}

// KubernetesName returns the container's name in its pod, "" if it is not in a pod.
func (c LabeledContainer) KubernetesName() string {
	return c.Container.Labels[kubernetes.ContainerLabel]
}

// Groups groups the containers by the names that nameOf returns, in the order of their first members. Replicas are one
// group, and the needs of the group are the union of their needs. Groups leaves out containers without a workload or
// without a name. It also leaves out groups with a member for which there are no settings, because their list would be
// too short. Use [CheckGroups] to check whether settings can be written for the groups.
func Groups(all []LabeledContainer, nameOf func(LabeledContainer) string) []Group {
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
		return slices.ContainsFunc(g.Members, func(c LabeledContainer) bool { return c.Unavailable() != "" })
	})
}

// CheckGroups returns an error if different containers have the same name, because no container must be granted the
// needs of another one. It returns a [*StartUnseenError] if capmon saw the start of no member of a group.
func CheckGroups(groups []Group) error {
	for _, g := range groups {
		for _, c := range g.Members {
			if !g.Members[0].sameOrigin(c) {
				return fmt.Errorf("%s and %s are both named %q, but have different images or projects: use profiles of only one of them",
					g.Members[0].Label, c.Label, g.Label)
			}
		}
	}
	return startsUnseen(groups)
}

// sameOrigin reports whether two containers with the same name are replicas.
func (c LabeledContainer) sameOrigin(other LabeledContainer) bool {
	return c.origin() == other.origin()
}

// origin returns what replicas have in common: the project, the stack, the namespace, the owner of the pod and the
// image.
func (c LabeledContainer) origin() [5]string {
	labels := c.Container.Labels
	return [5]string{
		labels["com.docker.compose.project"], labels["com.docker.stack.namespace"],
		cmp.Or(c.Container.Namespace, labels[kubernetes.NamespaceLabel]), c.Container.Owner, c.Container.Image,
	}
}

// Names returns Docker's names of the capabilities in a set.
func Names(set capability.Set) []string { return prefixed("", set) }

// capNames returns the names of the capabilities in a set as in the kernel's header.
func capNames(set capability.Set) []string { return prefixed("CAP_", set) }

func prefixed(prefix string, set capability.Set) []string {
	names := make([]string, 0, set.Len())
	for _, c := range set.Sorted() {
		names = append(names, prefix+c.String())
	}
	return names
}
