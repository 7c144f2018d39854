package recommend

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/container"
)

// ComposeLines are the lines of a service in a compose file that grant needs and
// nothing else.
func ComposeLines(needs capability.Set) []string {
	return composeLines([]string{allDropped}, needs)
}

func composeLines(drop []string, add capability.Set) []string {
	var lines []string
	if len(drop) > 0 {
		lines = append(lines, "cap_drop: "+flow(drop))
	}
	if !add.Empty() {
		lines = append(lines, "cap_add: "+flow(Names(add)))
	}
	return lines
}

// flow is a YAML list of names of capabilities, none of which needs quoting.
func flow(names []string) string { return "[" + strings.Join(names, ", ") + "]" }

func composeTarget() Target {
	return Target{
		Name: "compose", About: "services of a compose file", standard: capability.DockerDefault(),
		groups: ComposeServices,
		text: func(c changes) string {
			var text strings.Builder
			for _, line := range composeLines(c.dropped(allDropped), c.add) {
				text.WriteString("    " + line + "\n")
			}
			return text.String()
		},
		join: composeFile,
	}
}

// composeFile joins sections to a compose file.
func composeFile(sections []section) string {
	var text strings.Builder
	text.WriteString("services:\n")
	for _, s := range sections {
		var labels []string
		for _, c := range s.Members {
			labels = append(labels, c.Label)
		}
		if !slices.Equal(labels, []string{s.Label}) {
			text.WriteString("  # " + strings.Join(labels, ", ") + "\n")
		}
		text.WriteString("  " + composeQuote(s.Label) + ":")
		if s.text == "" {
			text.WriteString(" {}")
		}
		text.WriteString("\n" + s.text)
	}
	return text.String()
}

// composeQuote keeps names that YAML reads as something else, like true and 1.0.
func composeQuote(name string) string {
	var read any
	if err := yaml.Unmarshal([]byte(name), &read); err == nil && read == any(name) {
		return name
	}
	return `"` + name + `"`
}

// composeName is what Compose takes as the name of a service (services in
// schema/compose-spec.json of compose-go).
var composeName = regexp.MustCompile(`^[a-zA-Z0-9._-]+$`)

// ComposeServices are the services that containers are, labelled as in a compose file:
// by the label that Compose gives, else by their titles. Replicas share what any of them
// needs. A service that one of its containers needs no known list for is left out.
//
// The error is of containers that would have the same service in one file and are not of
// the same one, or that no service can be called like.
func ComposeServices(all []Container) ([]Group, error) {
	var groups []Group
	projects := make(map[string]string) // by service
	for _, c := range all {
		if !c.Started {
			continue
		}
		key, err := composeKey(c)
		if err != nil {
			return nil, err
		}
		project := composeProject(c)
		if known, ok := projects[key]; ok && known != project {
			return nil, fmt.Errorf("several are called %s, in different projects of Compose or in none: choose one with --container", key)
		}
		projects[key] = project
		i := slices.IndexFunc(groups, func(g Group) bool { return g.Label == key })
		if i < 0 {
			i = len(groups)
			groups = append(groups, Group{Label: key})
		}
		groups[i].Members = append(groups[i].Members, c)
		groups[i].Needs = groups[i].Needs.Union(c.List())
	}
	return slices.DeleteFunc(groups, func(g Group) bool {
		return slices.ContainsFunc(g.Members, func(c Container) bool { return c.Withheld() != "" })
	}), nil
}

func composeKey(c Container) (string, error) {
	names := []string{c.ComposeService(), c.Container.Title(), container.ShortID(c.Container.ID)}
	i := slices.IndexFunc(names, composeName.MatchString)
	if i < 0 {
		return "", fmt.Errorf("%s: no service of a compose file can be called so: letters, digits and ._- only", c.Label)
	}
	return names[i], nil
}

// composeProject tells services of different compose files apart.
func composeProject(c Container) string {
	for _, label := range []string{"com.docker.compose.project", "com.docker.stack.namespace"} {
		if project := c.Container.Labels[label]; project != "" {
			return label + "=" + project
		}
	}
	return ""
}
