package settings_test

import (
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/capmon/capmon/capability"
)

// readAnsible reads the parameters as documented for community.docker.docker_container.
func readAnsible(t *testing.T, text string) map[string]capability.Set {
	all := make(map[string]capability.Set)
	for label, document := range documents(t, text, "---\n") {
		var module struct {
			Drop []string `json:"cap_drop"`
			Add  []string `json:"capabilities"`
		}
		if err := yaml.UnmarshalStrict([]byte(document), &module); err != nil {
			t.Fatal(err)
		}
		if module.Add == nil {
			t.Error("what the container was given before stays")
		}
		all[label] = granted(t, module.Add, module.Drop)
	}
	return all
}
