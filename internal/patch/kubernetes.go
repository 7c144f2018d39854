package patch

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/capmon/capmon/internal/settings"
)

// Kubernetes grants containers of the pods in a manifest what they need and nothing else. The notes say why the lists
// have no effect. The error is a [*MissingError] if a container is not in the file. Otherwise, it is the reason why the
// file cannot be changed safely.
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
	return f.finish()
}

// podContainer is a container in a manifest.
type podContainer struct {
	name string
	of   string // the object's kind and quoted name
	pod  *yaml.Node
	node *yaml.Node
	at   position
}

// podPaths returns the path of the pod specification in each kind of object.
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
		more, err := f.containersOf(document, position{document: i})
		if err != nil {
			return nil, err
		}
		all = append(all, more...)
	}
	return all, nil
}

func (f *yamlFile) containersOf(object *yaml.Node, at position) ([]podContainer, error) {
	kind := scalar(lookup(object, "kind"))
	if items := lookup(object, "items"); strings.HasSuffix(kind, "List") && items != nil {
		var all []podContainer
		for i, item := range items.Content {
			more, err := f.containersOf(item, at.child("items").child(i))
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
	of := describe(object)
	spec := object
	for _, key := range path {
		if err := f.requireUnshared(spec, of); err != nil {
			return nil, err
		}
		_, next := member(spec, key)
		if next == nil {
			return nil, nil
		}
		spec, at = next, at.child(key)
	}
	if err := f.requireUnshared(spec, "the specification of "+of); err != nil {
		return nil, err
	}
	var all []podContainer
	for _, key := range []string{"containers", "initContainers"} {
		_, list := member(spec, key)
		if list == nil || list.Kind != yaml.SequenceNode {
			continue
		}
		for i, node := range list.Content {
			all = append(all, podContainer{scalar(lookup(node, "name")), of, spec, node, at.child(key).child(i)})
		}
	}
	return all, nil
}

// describe returns an object's kind and name.
func describe(object *yaml.Node) string {
	return fmt.Sprintf("%s %q", scalar(lookup(object, "kind")), scalar(lookup(lookupOr(object, "metadata"), "name")))
}

// unsupported returns the objects whose containers capmon does not edit, because only their own controllers know them.
func (f *yamlFile) unsupported(node *yaml.Node) []string {
	kind := scalar(lookup(node, "kind"))
	var all []string
	switch {
	case strings.HasSuffix(kind, "List"):
		for _, item := range items(lookup(node, "items")) {
			all = append(all, f.unsupported(item)...)
		}
	case podPaths()[kind] != nil:
	case kind == "HelmRelease" || hasContainers(node):
		all = append(all, fmt.Sprintf("%s of %s (line %d)", describe(node), scalar(lookup(node, "apiVersion")), node.Line))
	}
	return all
}

// hasContainers reports whether a node contains a list of containers at any depth.
func hasContainers(node *yaml.Node) bool {
	for key, value := range members(node) {
		if scalar(key) == "containers" || hasContainers(value) {
			return true
		}
	}
	return false
}

// lookupOr returns the result of lookup, or an empty node if there is none.
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
			missing.Existing = append(missing.Existing, c.name)
		}
	}
	switch len(found) {
	case 0:
		for _, document := range f.documents {
			missing.Unsupported = append(missing.Unsupported, f.unsupported(document)...)
		}
		return missing
	case 1:
		return f.grant(found[0], s)
	}
	var places []string
	for _, c := range found {
		places = append(places, fmt.Sprintf("line %d (%s)", c.node.Line, c.of))
	}
	return fmt.Errorf("container %q appears %d times, and capmon does not know which one it profiled: %s; split the file", s.Name, len(found), strings.Join(places, ", "))
}

func (f *yamlFile) grant(c podContainer, s Setting) error {
	what := fmt.Sprintf("container %q", s.Name)
	if err := f.requireUnshared(c.node, what); err != nil {
		return err
	}
	context := lookupOr(c.node, "securityContext")
	if err := f.requireUnprivileged(context, "the securityContext of "+what); err != nil {
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

// notRoot reports whether a container runs as a user other than root, according to its own context, its pod's, or
// otherwise its image.
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
