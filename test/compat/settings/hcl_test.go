package settings_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/gohcl"
	"github.com/hashicorp/hcl/v2/hclparse"
	"github.com/hashicorp/hcl/v2/hclwrite"

	"github.com/capmon/capmon/capability"
)

// readNomad reads config blocks of tasks as Nomad does. Names are in upper or lower case.
func readNomad(t *testing.T, text string) map[string]capability.Set {
	type config struct {
		Drop []string `hcl:"cap_drop,optional"`
		Add  []string `hcl:"cap_add,optional"`
	}
	all := make(map[string]capability.Set)
	for label, document := range documents(t, text, "\n\n") {
		var task struct {
			Config config `hcl:"config,block"`
		}
		decodeHCL(t, document, &task)
		if !slices.Equal(task.Config.Drop, []string{"all"}) {
			t.Errorf("dropped are %v", task.Config.Drop)
		}
		var names []string
		for _, name := range task.Config.Add {
			names = append(names, strings.ToUpper(name))
		}
		all[label] = setOf(t, "", names)
	}
	return all
}

func readTerraform(t *testing.T, text string) map[string]capability.Set {
	type capabilities struct {
		Drop []string `hcl:"drop,optional"`
		Add  []string `hcl:"add,optional"`
	}
	all := make(map[string]capability.Set)
	for label, document := range documents(t, text, "\n\n") {
		var container struct {
			Capabilities capabilities `hcl:"capabilities,block"`
		}
		decodeHCL(t, document, &container)
		setOf(t, "CAP_", container.Capabilities.Add)
		all[label] = granted(t, container.Capabilities.Add, container.Capabilities.Drop)
	}
	return all
}

// decodeHCL rejects text with unknown members, and text that the HCL formatter would change.
func decodeHCL(t *testing.T, text string, into any) {
	t.Helper()
	text = strings.TrimSuffix(text, "\n") + "\n"
	file, problems := hclparse.NewParser().ParseHCL([]byte(text), "settings.hcl")
	if problems.HasErrors() {
		t.Fatalf("%v\n%s", problems, text)
	}
	if problems := gohcl.DecodeBody(file.Body, &hcl.EvalContext{}, into); problems.HasErrors() {
		t.Errorf("%v\n%s", problems, text)
	}
	if formatted := hclwrite.Format([]byte(text)); !bytes.Equal(formatted, []byte(text)) {
		t.Errorf("formatted it is otherwise:\n%s\n%s", text, formatted)
	}
}
