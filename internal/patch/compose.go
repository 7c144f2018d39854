package patch

import (
	"fmt"

	"go.yaml.in/yaml/v3"

	"github.com/capmon/capmon/internal/recommend"
)

// Compose gives services of a compose file what they need and nothing else. The error is
// a *MissingError if a service is not in the file, and else says what keeps the file from
// being changed safely.
func Compose(text []byte, settings []Setting) ([]byte, error) {
	f, err := parseYAML(text)
	if err != nil {
		return nil, err
	}
	for _, s := range settings {
		service, at, err := f.service(s.Name)
		if err != nil {
			return nil, err
		}
		if err := f.grantService(service, at, s); err != nil {
			return nil, err
		}
	}
	return f.done()
}

// service finds a service of a compose file.
func (f *yamlFile) service(name string) (service *yaml.Node, at place, err error) {
	missing := &MissingError{Kind: "service", Name: name}
	for i, document := range f.documents {
		services := lookup(document, "services")
		if services == nil {
			continue
		}
		if err := f.alone(services, "services"); err != nil {
			return nil, at, err
		}
		for j := 0; j+1 < len(services.Content); j += 2 {
			key, value := services.Content[j], services.Content[j+1]
			if key.Value != name {
				missing.There = append(missing.There, key.Value)
				continue
			}
			if service != nil {
				return nil, at, fmt.Errorf("service %q is there twice, in lines %d and %d", name, service.Line, value.Line)
			}
			service, at = value, place{i, []any{"services", name}}
		}
	}
	if service == nil {
		return nil, at, missing
	}
	return service, at, nil
}

func (f *yamlFile) grantService(service *yaml.Node, at place, s Setting) error {
	what := fmt.Sprintf("service %q", s.Name)
	if err := f.alone(service, what); err != nil {
		return err
	}
	if err := unprivileged(service, what); err != nil {
		return err
	}
	if extends := lookup(service, "extends"); extends != nil {
		return fmt.Errorf("line %d: %s extends another, whose cap_add and cap_drop Compose adds to its own: write them there, or take extends out", extends.Line, what)
	}
	return f.set(service, at, []entry{
		{key: "cap_drop", words: []string{"ALL"}},
		{key: "cap_add", words: recommend.Names(s.Needs), optional: true},
	}, "image", "container_name")
}
