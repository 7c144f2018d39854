package settings_test

import (
	"bytes"
	"encoding/json"
	"slices"
	"testing"

	ecs "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	runtime "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/capmon/capmon/capability"
)

// decodeStrictly rejects unknown fields.
func decodeStrictly(t *testing.T, data []byte, into any) {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		t.Fatalf("%v\n%s", err, data)
	}
	if decoder.More() {
		t.Errorf("more than one value:\n%s", data)
	}
}

// readMembers reads one object that has known members, or several with their labels.
func readMembers(t *testing.T, text string, read func(data []byte) capability.Set, known ...string) map[string]capability.Set {
	t.Helper()
	var members map[string]json.RawMessage
	decodeStrictly(t, []byte(text), &members)
	single := func(name string) bool { return members[name] != nil }
	if slices.ContainsFunc(known, single) || len(members) == 0 {
		return map[string]capability.Set{"": read([]byte(text))}
	}
	all := make(map[string]capability.Set)
	for label, data := range members {
		all[label] = read(data)
	}
	return all
}

func readOCI(t *testing.T, text string) map[string]capability.Set {
	return readMembers(t, text, func(data []byte) capability.Set {
		var spec runtime.Spec
		decodeStrictly(t, data, &spec)
		sets := spec.Process.Capabilities
		if len(sets.Inheritable)+len(sets.Ambient) > 0 || !slices.Equal(sets.Bounding, sets.Effective) || !slices.Equal(sets.Bounding, sets.Permitted) {
			t.Errorf("the sets differ from those that Docker writes: %+v", sets)
		}
		return setOf(t, "CAP_", sets.Bounding)
	}, "process")
}

func readECS(t *testing.T, text string) map[string]capability.Set {
	return readMembers(t, text, func(data []byte) capability.Set {
		var container ecs.ContainerDefinition
		decodeStrictly(t, data, &container)
		// The SDK's types take names in any case, the API does not.
		if !bytes.Contains(data, []byte(`"linuxParameters"`)) || !bytes.Contains(data, []byte(`"capabilities"`)) || bytes.Contains(data, []byte("Add")) {
			t.Errorf("not the names of the API:\n%s", data)
		}
		return granted(t, container.LinuxParameters.Capabilities.Add, container.LinuxParameters.Capabilities.Drop)
	}, "linuxParameters")
}

// readDevcontainers reads the members that https://containers.dev/implementors/json_reference/ documents. Tools pass
// runArgs to docker run unchanged.
func readDevcontainers(t *testing.T, text string) map[string]capability.Set {
	return readMembers(t, text, func(data []byte) capability.Set {
		var settings struct {
			CapAdd  []string `json:"capAdd"`
			RunArgs []string `json:"runArgs"`
		}
		decodeStrictly(t, data, &settings)
		add, drop, args := readOptions(t, settings.RunArgs)
		if len(add)+len(args) > 0 {
			t.Errorf("arguments %q", settings.RunArgs)
		}
		return granted(t, settings.CapAdd, drop)
	}, "runArgs", "capAdd")
}
