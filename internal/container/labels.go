package container

import (
	"fmt"
	"path"
	"slices"
)

// LeftOut stands in place of the value of a label that is neither stored nor shown.
const LeftOut = "…"

// identifying are the labels that tell what a container is part of. capmon groups and names
// containers by them, so their values are always kept.
var identifying = []string{
	"com.docker.compose.project", "com.docker.compose.service", "com.docker.compose.oneoff",
	"com.docker.stack.namespace", "com.docker.swarm.service.name",
	"io.kubernetes.container.name", "io.kubernetes.pod.name", "io.kubernetes.pod.namespace",
}

// KeptLabels are patterns (path.Match) of the labels whose values may be stored and shown, beside
// those that identify a container. The zero value adds none: any other value may be secret.
type KeptLabels []string

// NewKeptLabels validates patterns.
func NewKeptLabels(patterns []string) (KeptLabels, error) {
	for _, pattern := range patterns {
		if _, err := path.Match(pattern, ""); err != nil {
			return nil, fmt.Errorf("pattern %q: %w: a [ needs its ], or a backslash before it", pattern, err)
		}
	}
	return patterns, nil
}

// Of are the labels as they may be stored and shown: with LeftOut in place of the values that are
// not kept. Empty values stay.
func (k KeptLabels) Of(labels map[string]string) map[string]string {
	if labels == nil {
		return nil
	}
	shown := make(map[string]string, len(labels))
	for key, value := range labels {
		if value != "" && !k.has(key) {
			value = LeftOut
		}
		shown[key] = value
	}
	return shown
}

func (k KeptLabels) has(key string) bool {
	return slices.Contains(identifying, key) || slices.ContainsFunc(k, func(pattern string) bool { return matches(pattern, key) })
}
