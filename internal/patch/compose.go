package patch

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/capmon/capmon/internal/settings"
)

// Compose grants services of a compose file what they need and nothing else. The notes say why the lists may have no
// effect. The error is a [*MissingError] if a service is not in the file. Otherwise, it is the reason why the file
// cannot be changed safely.
func Compose(text []byte, settings []Setting) (after []byte, notes []string, err error) {
	f, err := parseYAML(text)
	if err != nil {
		return nil, nil, err
	}
	f.compose = true
	for _, s := range settings {
		service, at, err := f.service(s.Name)
		if err != nil {
			return nil, nil, err
		}
		if err := f.grantService(service, at, s); err != nil {
			return nil, nil, err
		}
	}
	return f.finish()
}

// service finds a service of a compose file.
func (f *yamlFile) service(name string) (service *yaml.Node, at position, err error) {
	missing := &MissingError{Kind: "service", Name: name}
	for i, document := range f.documents {
		missing.Included = append(missing.Included, includedFiles(lookup(document, "include"))...)
		services := lookup(document, "services")
		if services == nil {
			continue
		}
		if err := f.requireUnshared(services, "services"); err != nil {
			return nil, at, err
		}
		for key, value := range members(services) {
			if scalar(key) != name {
				missing.Existing = append(missing.Existing, scalar(key))
				continue
			}
			if service != nil {
				return nil, at, fmt.Errorf("service %q appears twice, in lines %d and %d", name, service.Line, value.Line)
			}
			service, at = value, position{i, []any{"services", name}}
		}
		if merged := lookup(services, name); service == nil && merged != nil {
			return nil, at, fmt.Errorf("line %d: service %q comes from a merge key (<<) in services: write the service itself into services", merged.Line, name)
		}
	}
	if service == nil {
		return nil, at, missing
	}
	return service, at, nil
}

// includedFiles returns the files that a compose file includes. Each is a path, or a mapping with one or several paths.
func includedFiles(include *yaml.Node) []string {
	var paths []string
	for _, item := range items(include) {
		if path := lookup(item, "path"); path != nil {
			item = path
		}
		for _, path := range append(items(item), item) {
			if text := scalar(path); text != "" {
				paths = append(paths, text)
			}
		}
	}
	return paths
}

func (f *yamlFile) grantService(service *yaml.Node, at position, s Setting) error {
	what := fmt.Sprintf("service %q", s.Name)
	if err := f.requireUnshared(service, what); err != nil {
		return err
	}
	if err := f.requireUnprivileged(service, what); err != nil {
		return err
	}
	if extends := lookup(service, "extends"); extends != nil && extends.Tag != reset {
		return fmt.Errorf("line %d: %s extends another service, whose cap_add and cap_drop Compose adds: write the lists there, or remove extends", extends.Line, what)
	}
	if err := f.requireNotExtended(s.Name); err != nil {
		return err
	}
	notRoot := s.NotRoot
	if user := lookup(service, "user"); user != nil {
		notRoot = otherUser(user)
	}
	if !s.Needs.Empty() && notRoot && noNewPrivileges(lookup(service, "security_opt")) {
		f.warnings = append(f.warnings, withoutEffect(what, "no-new-privileges", s.Needs))
	}
	return f.set(service, at, []entry{
		{key: "cap_drop", words: []string{"ALL"}},
		{key: "cap_add", words: settings.Names(s.Needs), optional: true},
	}, "image", "container_name")
}

// reset and override are tags of Compose. reset removes a member. override makes a member replace the value that
// Compose would otherwise add it to.
const reset, override = "!reset", "!override"

// requireNotExtended returns an error if another service of the file extends this one, because Compose would add the
// lists to the lists of the other service. Services that replace both lists are not affected.
func (f *yamlFile) requireNotExtended(name string) error {
	for _, document := range f.documents {
		services := lookup(document, "services")
		if services == nil {
			continue
		}
		for key, other := range members(resolved(services)) {
			extends := lookup(other, "extends")
			if extends == nil || extends.Tag == reset || replaces(other, "cap_drop") && replaces(other, "cap_add") {
				continue
			}
			base, file := scalar(extends), scalar(lookup(extends, "file"))
			if extended := lookup(extends, "service"); extended != nil {
				base = scalar(extended)
			}
			if base == name && file != "" {
				f.warnings = append(f.warnings, fmt.Sprintf("service %q extends service %q of %q: if that is this file, Compose adds the lists of %[2]q to those of %[1]q", scalar(key), name, file))
			} else if base == name {
				return fmt.Errorf("line %d: service %q extends service %q, and Compose would add the lists of %q to its own: "+
					"give it a cap_drop and a cap_add with the tag !override, or remove extends", extends.Line, scalar(key), name, name)
			}
		}
	}
	return nil
}

// replaces reports whether a service replaces the list of the service that it extends.
func replaces(service *yaml.Node, list string) bool {
	value := lookup(service, list)
	return value != nil && (value.Tag == reset || value.Tag == override)
}

// otherUser reports whether the user is known and not root.
func otherUser(user *yaml.Node) bool {
	name, _, _ := strings.Cut(scalar(user), ":")
	return name != "" && name != "0" && name != "root" && !strings.Contains(name, "$")
}

// noNewPrivileges reads the options as Docker does (parseSecurityOpt in daemon/daemon_unix.go).
func noNewPrivileges(options *yaml.Node) bool {
	for _, option := range items(options) {
		switch strings.ReplaceAll(scalar(option), "=", ":") {
		case "no-new-privileges", "no-new-privileges:true":
			return true
		}
	}
	return false
}
