package patch

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/capmon/capmon/internal/settings"
)

// Kubernetes gives containers of the pods in a manifest what they need and nothing else.
// The notes say where that has no effect. The error is a *MissingError if a container is not
// in the file, and else says what keeps the file from being changed safely.
func Kubernetes(text []byte, settings []Setting) (after []byte, notes []string, err error) {
	f, err := parseYAML(text)
	if err != nil {
		return nil, nil, err
	}
	found, err := f.containers()
	if err != nil {
		return nil, nil, err
	}
	for _, s := range settings {
		if err := f.grantContainer(found, s); err != nil {
			return nil, nil, err
		}
	}
	return f.done()
}

// podContainer is one in a manifest.
type podContainer struct {
	name string
	of   string // the object's kind and quoted name
	pod  *yaml.Node
	node *yaml.Node
	at   place
}

// podPaths are where the kinds have their pod's specification.
func podPaths() map[string][]string {
	template := []string{"spec", "template", "spec"}
	return map[string][]string{
		"Pod": {"spec"}, "PodTemplate": {"template", "spec"}, "CronJob": {"spec", "jobTemplate", "spec", "template", "spec"},
		"Deployment": template, "StatefulSet": template, "DaemonSet": template, "Job": template, "ReplicaSet": template,
		"ReplicationController": template,
	}
}

func (f *yamlFile) containers() ([]podContainer, error) {
	var all []podContainer
	for i, document := range f.documents {
		more, err := f.containersOf(document, place{document: i})
		if err != nil {
			return nil, err
		}
		all = append(all, more...)
	}
	return all, nil
}

func (f *yamlFile) containersOf(object *yaml.Node, at place) ([]podContainer, error) {
	kind := scalar(lookup(object, "kind"))
	if items := lookup(object, "items"); strings.HasSuffix(kind, "List") && items != nil {
		var all []podContainer
		for i, item := range items.Content {
			more, err := f.containersOf(item, at.below("items").below(i))
			if err != nil {
				return nil, err
			}
			all = append(all, more...)
		}
		return all, nil
	}
	path, ok := podPaths()[kind]
	if !ok {
		return nil, nil
	}
	of := described(object)
	spec := object
	for _, key := range path {
		if err := f.alone(spec, of); err != nil {
			return nil, err
		}
		_, next := member(spec, key)
		if next == nil {
			return nil, nil
		}
		spec, at = next, at.below(key)
	}
	if err := f.alone(spec, "the specification of "+of); err != nil {
		return nil, err
	}
	var all []podContainer
	for _, key := range []string{"containers", "initContainers"} {
		_, list := member(spec, key)
		if list == nil || list.Kind != yaml.SequenceNode {
			continue
		}
		for i, node := range list.Content {
			all = append(all, podContainer{scalar(lookup(node, "name")), of, spec, node, at.below(key).below(i)})
		}
	}
	return all, nil
}

// described is an object's kind and name.
func described(object *yaml.Node) string {
	return fmt.Sprintf("%s %q", scalar(lookup(object, "kind")), scalar(lookup(lookupOr(object, "metadata"), "name")))
}

// foreign lists the objects that have containers in a way that only their own controller knows.
func (f *yamlFile) foreign(node *yaml.Node) []string {
	kind := scalar(lookup(node, "kind"))
	var all []string
	switch {
	case strings.HasSuffix(kind, "List"):
		for _, item := range items(lookup(node, "items")) {
			all = append(all, f.foreign(item)...)
		}
	case podPaths()[kind] != nil:
	case kind == "HelmRelease" || hasContainers(node):
		all = append(all, fmt.Sprintf("%s of %s (line %d)", described(node), scalar(lookup(node, "apiVersion")), node.Line))
	}
	return all
}

// hasContainers tells whether containers are listed anywhere in a node.
func hasContainers(node *yaml.Node) bool {
	for key, value := range members(node) {
		if scalar(key) == "containers" || hasContainers(value) {
			return true
		}
	}
	return false
}

// lookupOr is lookup with an empty node for what is not there.
func lookupOr(mapping *yaml.Node, key string) *yaml.Node {
	if value := lookup(mapping, key); value != nil {
		return value
	}
	return &yaml.Node{}
}

func (f *yamlFile) grantContainer(all []podContainer, s Setting) error {
	var found []podContainer
	missing := &MissingError{Kind: "container", Name: s.Name}
	for _, c := range all {
		if c.name == s.Name {
			found = append(found, c)
		} else {
			missing.There = append(missing.There, c.name)
		}
	}
	switch len(found) {
	case 0:
		for _, document := range f.documents {
			missing.Foreign = append(missing.Foreign, f.foreign(document)...)
		}
		return missing
	case 1:
		return f.grant(found[0], s)
	}
	var places []string
	for _, c := range found {
		places = append(places, fmt.Sprintf("line %d (%s)", c.node.Line, c.of))
	}
	return fmt.Errorf("container %q is there %d times, and which one was profiled is not known: %s; split the file", s.Name, len(found), strings.Join(places, ", "))
}

func (f *yamlFile) grant(c podContainer, s Setting) error {
	what := fmt.Sprintf("container %q", s.Name)
	if err := f.alone(c.node, what); err != nil {
		return err
	}
	context := lookupOr(c.node, "securityContext")
	if err := f.unprivileged(context, "the securityContext of "+what); err != nil {
		return err
	}
	if !s.Needs.Empty() && scalar(lookup(context, "allowPrivilegeEscalation")) == "false" && notRoot(s.NotRoot, context, lookupOr(c.pod, "securityContext")) {
		f.warnings = append(f.warnings, withoutEffect(what, "allowPrivilegeEscalation: false", s.Needs))
	}
	return f.set(c.node, c.at, []entry{{key: "securityContext", members: []entry{{key: "capabilities", members: []entry{
		{key: "drop", words: []string{"ALL"}},
		{key: "add", words: settings.Names(s.Needs), optional: true},
	}}}}}, "image", "name")
}

// notRoot tells whether a container is run as another user than root: by its own context, by its
// pod's, or else by its image.
func notRoot(image bool, contexts ...*yaml.Node) bool {
	for _, key := range []string{"runAsUser", "runAsNonRoot"} {
		for _, context := range contexts {
			if value := scalar(lookup(context, key)); value != "" && (key == "runAsUser" || value == "true") {
				return value != "0"
			}
		}
	}
	return image
}
