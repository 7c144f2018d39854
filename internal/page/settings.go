package page

import (
	"fmt"
	"slices"
	"strings"

	"github.com/capmon/capmon/internal/printable"
	"github.com/capmon/capmon/internal/settings"
)

// settingsWriter writes the settings of the containers of a page.
type settingsWriter struct {
	targets []settings.Target
	// replicas has a map for each of targets. Its keys are the labels of containers. A value has the containers that
	// have their settings in common with this one.
	replicas []map[string][]settings.LabeledContainer
	// written has the settings that replicas have in common, for each target, by the label of the first replica.
	written []map[string]Settings
}

func newSettingsWriter(all []settings.LabeledContainer, anyStart bool) settingsWriter {
	all = slices.Clone(all)
	if anyStart {
		settings.AcceptAnyStart(all)
	}
	w := settingsWriter{targets: settings.Targets()}
	for _, target := range w.targets {
		w.replicas, w.written = append(w.replicas, target.Replicas(all)), append(w.written, make(map[string]Settings))
	}
	return w
}

const settingsTitle = "Settings that grant the list and nothing else"

// block returns the settings of a container for each target, or the reason why there are none.
func (w settingsWriter) block(c settings.LabeledContainer) Block {
	if reason := c.Unavailable(); reason != "" {
		return refused(reason)
	}
	all := make([]Settings, 0, len(w.targets))
	for i, target := range w.targets {
		replicas := w.replicas[i][c.Label]
		first := replicas[0].Label
		if _, known := w.written[i][first]; !known {
			w.written[i][first] = settingsFor(target, replicas)
		}
		all = append(all, w.written[i][first])
	}
	if first := all[0].Refused; len(first) > 0 && !slices.ContainsFunc(all, func(s Settings) bool { return !slices.Equal(s.Refused, first) }) {
		return refused(first...)
	}
	best := bestTarget(c)
	slices.SortStableFunc(all, func(one, other Settings) int { return first(other.Target == best) - first(one.Target == best) })
	return Block{Kind: SettingsBlock, Title: settingsTitle, For: all}
}

func first(is bool) int {
	if is {
		return 1
	}
	return 0
}

func refused(reasons ...string) Block {
	return Block{Kind: CautionsBlock, Title: "No settings", Items: shortenAll(reasons, maxCaution)}
}

// bestTarget returns the name of the target from whose tool the container comes.
func bestTarget(c settings.LabeledContainer) string {
	switch {
	case c.KubernetesName() != "":
		return settings.Kubernetes
	case c.Container.Service() != "":
		return "service-update"
	case c.ComposeService() != "":
		return "compose"
	}
	return settings.DefaultTarget([]settings.LabeledContainer{c})
}

func settingsFor(target settings.Target, replicas []settings.LabeledContainer) Settings {
	s := Settings{Target: target.Name}
	text, notes, err := target.Settings(replicas, settings.Absolute)
	if len(replicas) > 1 {
		var labels []string
		for _, c := range replicas {
			labels = append(labels, c.Label)
		}
		s.Notes = append(s.Notes, fmt.Sprintf("these settings are for %d replicas: read the cautions of each of them: %s", len(labels), strings.Join(labels, ", ")))
	}
	for _, note := range notes {
		s.Notes = append(s.Notes, printable.Lines(note.Text))
	}
	s.Notes = shortenAll(s.Notes, maxCaution)
	lines, short := code(text)
	switch {
	case err != nil:
		s.Refused = shortenAll(strings.Split(printable.Lines(err.Error()), "\n"), maxCaution)
	case text == "":
		s.Refused = Lines{"there are no settings for this container"}
	case !short:
		s.Refused = Lines{"the settings are too long for this page: capmon flags --for " + target.Name + " prints them"}
	default:
		s.Lines = lines
	}
	return s
}
