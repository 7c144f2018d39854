package settings

import (
	"fmt"
	"slices"
	"strings"

	"github.com/capmon/capmon/internal/capability"
)

// Style is how settings express a list.
type Style string

const (
	// Absolute settings drop everything and add what is needed.
	Absolute Style = "absolute"
	// Delta settings change what the target grants by itself.
	Delta Style = "delta"
)

// ParseStyle reads the name of a style.
func ParseStyle(s string) (Style, error) {
	switch style := Style(s); style {
	case Absolute, Delta:
		return style, nil
	}
	return "", fmt.Errorf("unknown style %q: choose absolute or delta", s)
}

// Target is a way of running containers, which has settings of its own.
type Target struct {
	Name string
	// About says what the settings are, for a list of the targets.
	About string
	// standard is what the target grants a container that asks for nothing, where that is
	// always the same; else noDelta says why there are no settings of the style Delta.
	standard capability.Set
	noDelta  string
	// groups are the containers that share settings; nil if none do.
	groups func([]Container) ([]Group, error)
	// leftOut says why there are no settings of the target for a container, "" if there are;
	// nil if there are for all.
	leftOut func(Container) string
	// text is the settings of one group.
	text func(changes) string
	// notes are what the reader of these settings must know; nil if there is nothing.
	notes func(changes) []string
	// join makes one text of all settings.
	join func([]section) string
	// comments: join writes the notes of a section into the text.
	comments bool
	// strictPorts: unlike Docker, it leaves the kernel's limits on ports below 1024 and on ICMP echo
	// as they are, or depends on its version in that.
	strictPorts bool
	// rootOnly: what it grants a container reaches only root's processes.
	rootOnly bool
}

// Group is containers that share settings.
type Group struct {
	// Label tells the group from others, as Container.Label does.
	Label   string
	Members []Container
	// Needs are what any member needs.
	Needs capability.Set
}

// granted is what any member is known to have been granted, not by --privileged.
func (g Group) granted() capability.Set {
	var granted capability.Set
	for _, c := range g.Members {
		if set, _ := c.Grants.Set(); !c.Grants.Privileged {
			granted = granted.Union(set)
		}
	}
	return granted
}

// changes are what settings do to the capabilities that the target grants by itself.
type changes struct {
	Group
	// all: everything is dropped first; else drop is.
	all       bool
	drop, add capability.Set
}

// dropped are the words for what is dropped, with the target's word for everything.
func (c changes) dropped(all string) []string {
	if c.all {
		return []string{all}
	}
	return Names(c.drop)
}

// section is the part of a text that is about one group.
type section struct {
	Group
	notes []string
	text  string
}

// Targets lists them in the order in which they are offered.
func Targets() []Target {
	return []Target{
		dockerTarget(), serviceTarget(), serviceUpdateTarget(), composeTarget(), podmanTarget(), quadletTarget(),
		kubernetesTarget(), helmTarget(), systemdTarget(), ociTarget(), nomadTarget(), ecsTarget(), ansibleTarget(),
		terraformTarget(), devcontainerTarget(),
	}
}

// ParseTarget finds a target by its name.
func ParseTarget(name string) (Target, error) {
	targets := Targets()
	i := slices.IndexFunc(targets, func(t Target) bool { return t.Name == name })
	if i < 0 {
		names := TargetNames()
		last := len(names) - 1
		return Target{}, fmt.Errorf("unknown target %q: choose %s or %s", name, strings.Join(names[:last], ", "), names[last])
	}
	return targets[i], nil
}

// TargetNames lists the names of the targets.
func TargetNames() []string {
	var names []string
	for _, t := range Targets() {
		names = append(names, t.Name)
	}
	return names
}

// Note is something to know about the settings of a container that their text does
// not say.
type Note struct{ Label, Text string }

// Settings are the target's for all containers, as one text in the target's format;
// empty if there are none for any. Containers for which there can be none
// (Container.Withheld) are left out. The error says why there are no settings of the
// style, or why they cannot stand in one text. It is a StartUnseenError if no start of one
// of them was seen.
func (t Target) Settings(all []Container, style Style) (text string, notes []Note, err error) {
	all, notes = t.taken(all)
	groups := singles
	if t.groups != nil {
		groups = t.groups
	}
	found, err := groups(all)
	if err != nil {
		return "", nil, err
	}
	var sections []section
	for _, group := range found {
		group, limits := t.BehindLimits(group)
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
		beside := t.present(group, style)
		if !t.comments {
			beside = append(beside, s.notes...)
		}
		for _, text := range beside {
			notes = append(notes, Note{group.Label, text})
		}
	}
	if len(sections) == 0 {
		return "", notes, nil
	}
	return t.join(sections), notes, nil
}

// taken are the containers that the target has settings for, with notes on the others.
func (t Target) taken(all []Container) (taken []Container, notes []Note) {
	if t.leftOut == nil {
		return all, nil
	}
	for _, c := range all {
		if reason := t.leftOut(c); reason != "" {
			notes = append(notes, Note{c.Label, "left out: " + reason})
		} else {
			taken = append(taken, c)
		}
	}
	return taken, notes
}

// singles are groups of one container each.
func singles(all []Container) ([]Group, error) {
	var groups []Group
	for _, c := range all {
		if c.Withheld() == "" {
			groups = append(groups, Group{c.Label, []Container{c}, c.List()})
		}
	}
	return groups, startsUnseen(groups)
}

func (t Target) changes(group Group, style Style) (changes, error) {
	if style == Absolute {
		return changes{Group: group, all: true, add: group.Needs}, nil
	}
	if t.noDelta != "" {
		return changes{}, fmt.Errorf("--style delta has no meaning for %s: %s; use --style absolute", t.Name, t.noDelta)
	}
	for _, c := range group.Members {
		if _, known := c.Grants.Set(); !known {
			return changes{}, fmt.Errorf("%s: what it is granted is not known, so neither is what there is to change: use --style absolute", c.Label)
		}
	}
	return changes{Group: group, drop: t.standard.Minus(group.Needs), add: group.Needs.Minus(t.standard)}, nil
}

// present says what of the way in which the containers were run has to change besides.
func (t Target) present(group Group, style Style) []string {
	if slices.ContainsFunc(group.Members, func(c Container) bool { return c.Grants.Privileged }) {
		return []string{"it was run with --privileged, which grants everything whatever is dropped: --privileged must go first " +
			"(it also gives devices, and takes away seccomp, AppArmor and read-only paths)"}
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
	return []string{fmt.Sprintf("it was run %s, unlike one that asks for nothing: these settings take the place of those that add or drop capabilities now "+
		"(beside them they would not do: what is both added and dropped is granted)", strings.Join(parts, " and "))}
}

// lines joins sections of one line each, as scripts read them: with the label in
// front if there are several.
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

// commented joins sections with the label and the notes of each in comments, which
// begin with # and end with the line, and a separator between two of them.
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
