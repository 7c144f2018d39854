package settings

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
		groups: composeServices, leftOut: Container.OneOff,
		text: func(c changes) string {
			var text strings.Builder
			for _, line := range composeLines(c.dropped(allDropped), c.add) {
				text.WriteString("    " + line + "\n")
			}
			return text.String()
		},
		notes: func(c changes) []string {
			if more := c.granted().Minus(capability.DockerDefault()); !more.Empty() {
				return []string{"its compose file may have a cap_add of its own (" + more.Text() + "): put the settings in its place, or use --patch; " +
					"in a second file beside it, Compose would add them to it"}
			}
			return nil
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

// composeServices are the services that containers are, by their names in the compose
// file or else by their titles. The error is also of one that no service can be called
// like.
func composeServices(all []Container) ([]Group, error) {
	for _, c := range all {
		if composeKey(c) == "" {
			return nil, fmt.Errorf("%s: no service of a compose file can be called so: letters, digits and ._- only", c.Label)
		}
	}
	groups := Groups(all, composeKey)
	return groups, CheckGroups(groups)
}

func composeKey(c Container) string {
	names := []string{c.ComposeService(), c.Container.Title(), container.ShortID(c.Container.ID)}
	i := slices.IndexFunc(names, composeName.MatchString)
	if i < 0 {
		return ""
	}
	return names[i]
}
