package settings

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/containerid"
	"github.com/capmon/capmon/internal/dockerflags"
)

// ComposeLines returns the lines of a service in a compose file that grant the needs and nothing else.
func ComposeLines(needs capability.Set) []string {
	return composeLines([]string{dockerflags.All}, needs)
}

func composeLines(drop []string, add capability.Set) []string {
	var lines []string
	if len(drop) > 0 {
		lines = append(lines, "cap_drop: "+flowList(drop))
	}
	if !add.Empty() {
		lines = append(lines, "cap_add: "+flowList(Names(add)))
	}
	return lines
}

// flowList returns a YAML list of capability names. None of the names needs quotes.
func flowList(names []string) string { return "[" + strings.Join(names, ", ") + "]" }

func composeTarget() Target {
	return Target{
		Name: "compose", About: "services of a compose file", standard: capability.DockerDefault(),
		groups: composeServices, nameOf: serviceName, leftOut: LabeledContainer.OneOff,
		text: func(c changes) string {
			var text strings.Builder
			for _, line := range composeLines(c.dropped(dockerflags.All), c.add) {
				text.WriteString("    " + line + "\n")
			}
			return text.String()
		},
		notes: func(c changes) []string {
			if more := c.granted().Minus(capability.DockerDefault()); !more.Empty() {
				return []string{"the service may already have a cap_add in its compose file (" + more.Text() + "): replace the cap_add with these settings, or use --patch. " +
					"If you put these settings into a second file, Compose combines both lists"}
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
		text.WriteString("  " + quoteCompose(s.Label) + ":")
		if s.text == "" {
			text.WriteString(" {}")
		}
		text.WriteString("\n" + s.text)
	}
	return text.String()
}

// quoteCompose quotes names that YAML would read as another type, such as true and 1.0.
func quoteCompose(name string) string {
	var read any
	if err := yaml.Unmarshal([]byte(name), &read); err == nil && read == any(name) {
		return name
	}
	return `"` + name + `"`
}

// serviceNames matches the service names that Compose accepts (services in schema/compose-spec.json of compose-go).
var serviceNames = regexp.MustCompile(`^[a-zA-Z0-9._-]+$`)

// composeServices groups containers by the names of their services in the compose file, or otherwise by their titles.
// It also returns an error if a container has no valid service name.
func composeServices(all []LabeledContainer) ([]Group, error) {
	for _, c := range all {
		if serviceName(c) == "" {
			return nil, fmt.Errorf("%s: no compose service can have this name: only letters, digits and ._- are allowed", c.Label)
		}
	}
	groups := Groups(all, serviceName)
	return groups, CheckGroups(groups)
}

func serviceName(c LabeledContainer) string {
	names := []string{c.ComposeService(), c.Container.Title(), containerid.Short(c.Container.ID)}
	i := slices.IndexFunc(names, serviceNames.MatchString)
	if i < 0 {
		return ""
	}
	return names[i]
}
