package container

import (
	"fmt"
	"path"
	"slices"

	"github.com/capmon/capmon/internal/kubernetes"
)

// Redacted replaces the value of a label that must not be stored or shown.
const Redacted = "…"

// identifying are the labels that identify what a container is part of. capmon groups and names containers with them,
// so their values are always kept.
var identifying = []string{
	"com.docker.compose.project", "com.docker.compose.service", "com.docker.compose.oneoff",
	"com.docker.stack.namespace", "com.docker.swarm.service.name",
	kubernetes.ContainerLabel, kubernetes.PodLabel, kubernetes.NamespaceLabel, kubernetes.UIDLabel,
}

// KeptLabels are patterns (path.Match) of the labels whose values may be stored and shown, in addition to those that
// identify a container. The zero value adds none, because any other value may be secret.
type KeptLabels []string

// NewKeptLabels validates patterns.
func NewKeptLabels(patterns []string) (KeptLabels, error) {
	for _, pattern := range patterns {
		if _, err := path.Match(pattern, ""); err != nil {
			return nil, fmt.Errorf("pattern %q: %w: a [ needs a closing ], or a backslash before it", pattern, err)
		}
	}
	return patterns, nil
}

// Of returns the labels as they may be stored and shown: [Redacted] replaces the values that are not kept. Empty values
// stay empty.
func (k KeptLabels) Of(labels map[string]string) map[string]string {
	if labels == nil {
		return nil
	}
	shown := make(map[string]string, len(labels))
	for key, value := range labels {
		if value != "" && !k.has(key) {
			value = Redacted
		}
		shown[key] = value
	}
	return shown
}

func (k KeptLabels) has(key string) bool {
	return slices.Contains(identifying, key) || slices.ContainsFunc(k, func(pattern string) bool { return matches(pattern, key) })
}
