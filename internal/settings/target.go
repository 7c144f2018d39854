package settings

import (
	"fmt"
	"slices"
	"strings"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/printable"
)

// Style is the form in which settings express a list.
type Style string

const (
	// Absolute settings drop all capabilities and add the needed ones.
	Absolute Style = "absolute"
	// Delta settings contain only the changes to the target's default.
	Delta Style = "delta"
)

// ParseStyle parses the name of a style.
func ParseStyle(s string) (Style, error) {
	switch style := Style(s); style {
	case Absolute, Delta:
		return style, nil
	}
	return "", fmt.Errorf("unknown style %q: choose absolute or delta", s)
}

// Target is a tool or a file format with settings for capabilities.
type Target struct {
	Name string
	// About describes the settings, for a list of the targets.
	About string
	// standard is the target's default for a container, if it never varies. Otherwise noDelta is the reason why there
	// are no settings of the style Delta.
	standard capability.Set
	noDelta  string
	// groups returns the containers that share settings; nil if none do.
	groups func([]LabeledContainer) ([]Group, error)
	// nameOf returns the name that the containers of a group have in common; nil if groups is nil.
	nameOf func(LabeledContainer) string
	// leftOut returns the reason why the target has no settings for a container, "" if it has settings. leftOut is nil
	// if the target has settings for all containers.
	leftOut func(LabeledContainer) string
	// text returns the settings for one group.
	text func(changes) string
	// notes returns facts that the reader of these settings must know; nil if there are none for any container.
	notes func(changes) []string
	// join joins the settings of all groups to one text.
	join func([]section) string
	// comments: join writes the notes of a section into the text.
	comments bool
	// keepsLimits: unlike Docker, the target keeps the kernel's limits on ports below 1024 and on ICMP echo, or keeps
	// them in some versions.
	keepsLimits bool
	// rootOnly: granted capabilities reach only processes of root.
	rootOnly bool
}

// Group is a set of containers that share settings.
type Group struct {
	// Label distinguishes the group from others, as Container.Label does.
	Label   string
	Members []LabeledContainer
	// Needs is the union of the members' needs.
	Needs capability.Set
}

// granted returns the known grants of the members that were not run with --privileged.
func (g Group) granted() capability.Set {
	var granted capability.Set
	for _, c := range g.Members {
		if set, _ := c.Grants.Set(); !c.Grants.Privileged {
			granted = granted.Union(set)
		}
	}
	return granted
}

// changes are the changes to the target's default.
type changes struct {
	Group
	// all: the settings drop all capabilities first. Otherwise they drop the set drop.
	all       bool
	drop, add capability.Set
}

// dropped returns the names of the dropped capabilities. all is the target's name for all capabilities.
func (c changes) dropped(all string) []string {
	if c.all {
		return []string{all}
	}
	return Names(c.drop)
}

// section is the part of a text for one group.
type section struct {
	Group
	notes []string
	text  string
}

// Targets returns all targets, in the order in which capmon lists them.
func Targets() []Target {
	return []Target{
		dockerTarget(), serviceTarget(), serviceUpdateTarget(), composeTarget(), podmanTarget(), quadletTarget(),
		kubernetesTarget(), helmTarget(), systemdTarget(), ociTarget(), nomadTarget(), ecsTarget(), ansibleTarget(),
		terraformTarget(), devcontainerTarget(),
	}
}

// ParseTarget returns the target with the name.
func ParseTarget(name string) (Target, error) {
	targets := Targets()
	i := slices.IndexFunc(targets, func(t Target) bool { return t.Name == name })
	if i < 0 {
		return Target{}, fmt.Errorf("unknown target %q: choose %s", name, printable.Choice(TargetNames()))
	}
	return targets[i], nil
}

// The targets that are the default for some workloads.
const (
	Docker     = "docker"
	Podman     = "podman"
	Kubernetes = "kubernetes"
	Systemd    = "systemd"
)

// DefaultTarget returns the name of the target for workloads, unless the user names one: podman or kubernetes if all
// containers come from there, systemd if no workload is a container, and otherwise docker. nerdctl has the options of
// docker.
func DefaultTarget(all []LabeledContainer) string {
	found := Systemd
	for _, c := range all {
		if c.Container.Kind != "" {
			continue
		}
		own := Docker
		switch {
		case c.Container.PodName != "":
			own = Kubernetes
		case c.Container.Engine == Podman:
			own = Podman
		}
		if found != Systemd && found != own {
			return Docker
		}
		found = own
	}
	return found
}

// TargetNames returns the names of the targets.
func TargetNames() []string {
	var names []string
	for _, t := range Targets() {
		names = append(names, t.Name)
	}
	return names
}

// Note is a fact that a reader of the settings must know and that their text does not contain.
type Note struct{ Label, Text string }

// Settings returns the settings for all containers as one text in the target's format, or "" if there are none. It
// leaves out containers that have no settings ([LabeledContainer.Unavailable]).
//
// Settings returns an error if the style is not available, or if one text cannot have the settings of all containers.
// The error is a [*StartUnseenError] if capmon did not see the start of a container.
func (t Target) Settings(all []LabeledContainer, style Style) (text string, notes []Note, err error) {
	all, notes = t.included(all)
	groups := oneEach
	if t.groups != nil {
		groups = t.groups
	}
	found, err := groups(all)
	if err != nil {
		return "", nil, err
	}
	var sections []section
	for _, group := range found {
		group, limits := t.WithLiftedLimits(group)
		changes, err := t.changes(group, style)
		if err != nil {
			return "", nil, err
		}
		s := section{Group: group, text: t.text(changes)}
		if t.notes != nil {
			s.notes = t.notes(changes)
		}
		s.notes = append(s.notes, limits...)
		sections = append(sections, s)
		separate := t.currentSettingsNotes(group, style)
		if !t.comments {
			separate = append(separate, s.notes...)
		}
		for _, text := range separate {
			notes = append(notes, Note{group.Label, text})
		}
	}
	if len(sections) == 0 {
		return "", notes, nil
	}
	return t.join(sections), notes, nil
}

// Replicas returns, for the label of each container, the containers that have their settings in common with it, in the
// order of all: those with the same name for the target, and the same image and project. A container without replicas
// is alone. The settings of a replica alone may lack what the others need.
func (t Target) Replicas(all []LabeledContainer) map[string][]LabeledContainer {
	byGroup, byLabel := make(map[string][]LabeledContainer), make(map[string][]LabeledContainer)
	group := func(c LabeledContainer) string {
		if t.nameOf == nil || t.reasonToLeaveOut(c) != "" {
			return "only " + c.Label
		}
		return fmt.Sprintf("%q %q", t.nameOf(c), c.origin())
	}
	for _, c := range all {
		byGroup[group(c)] = append(byGroup[group(c)], c)
	}
	for _, c := range all {
		byLabel[c.Label] = byGroup[group(c)]
	}
	return byLabel
}

// included returns the containers for which the target has settings, with notes about the others.
func (t Target) included(all []LabeledContainer) (included []LabeledContainer, notes []Note) {
	for _, c := range all {
		if reason := t.reasonToLeaveOut(c); reason != "" {
			notes = append(notes, Note{c.Label, "left out: " + reason})
		} else {
			included = append(included, c)
		}
	}
	return included, notes
}

func (t Target) reasonToLeaveOut(c LabeledContainer) string {
	switch {
	case c.Container.Kind != "" && t.Name != Systemd:
		return "it is not a container: use --for " + Systemd
	case t.leftOut != nil:
		return t.leftOut(c)
	}
	return ""
}

// oneEach returns a group for each container.
func oneEach(all []LabeledContainer) ([]Group, error) {
	var groups []Group
	for _, c := range all {
		if c.Unavailable() == "" {
			groups = append(groups, Group{c.Label, []LabeledContainer{c}, c.List()})
		}
	}
	return groups, startsUnseen(groups)
}

func (t Target) changes(group Group, style Style) (changes, error) {
	if style == Absolute {
		return changes{Group: group, all: true, add: group.Needs}, nil
	}
	if t.noDelta != "" {
		return changes{}, fmt.Errorf("--style delta is not available for %s: %s; use --style absolute", t.Name, t.noDelta)
	}
	for _, c := range group.Members {
		if _, known := c.Grants.Set(); !known {
			return changes{}, fmt.Errorf("%s: the grants of the container are unknown, so the changes are unknown: use --style absolute", c.Label)
		}
	}
	return changes{Group: group, drop: t.standard.Minus(group.Needs), add: group.Needs.Minus(t.standard)}, nil
}

// currentSettingsNotes returns notes about changes that the containers' current settings also need.
func (t Target) currentSettingsNotes(group Group, style Style) []string {
	if slices.ContainsFunc(group.Members, func(c LabeledContainer) bool { return c.Grants.Privileged }) {
		return []string{"the container was run with --privileged, which grants all capabilities, even if you drop some: remove --privileged first " +
			"(it also gives access to devices, and disables seccomp, AppArmor and read-only paths)"}
	}
	granted := group.granted()
	if style != Delta || granted == capability.DockerDefault() {
		return nil
	}
	var parts []string
	if more := granted.Minus(t.standard); !more.Empty() {
		parts = append(parts, "with "+more.Text())
	}
	if less := t.standard.Minus(granted); !less.Empty() {
		parts = append(parts, "without "+less.Text())
	}
	if parts == nil {
		return nil
	}
	return []string{fmt.Sprintf("the container was run %s, unlike the default: replace its current settings that add or drop capabilities with these. "+
		"Do not combine them: Docker grants a capability that is both added and dropped", strings.Join(parts, " and "))}
}

// lines joins sections of one line each, for scripts. If there are several, each line begins with the label.
func lines(sections []section) string {
	var text strings.Builder
	for _, s := range sections {
		if len(sections) > 1 {
			text.WriteString(s.Label + ": ")
		}
		text.WriteString(s.text + "\n")
	}
	return text.String()
}

// commented joins sections with a separator. Before each section, it writes the label and the notes as comment lines
// that begin with "# ".
func commented(separator string) func([]section) string {
	return func(sections []section) string {
		var texts []string
		for _, s := range sections {
			var text strings.Builder
			for _, line := range append([]string{s.Label}, s.notes...) {
				text.WriteString("# " + line + "\n")
			}
			texts = append(texts, text.String()+s.text)
		}
		return strings.Join(texts, separator)
	}
}
