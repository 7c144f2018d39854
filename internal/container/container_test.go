package container

import (
	"testing"

	"github.com/capmon/capmon/capability"
)

// What an event or an old bundle says about a container does not replace the grants that the engine reports.
func TestBundleCompletesTheEngine(t *testing.T) {
	reported, old := capability.Of(capability.Chown), capability.Of(capability.SysAdmin)
	for name, test := range map[string]struct {
		engine, bundle *capability.Set
		want           *capability.Set
	}{
		"an event":              {&reported, nil, &reported},
		"an earlier container":  {&reported, &old, &reported},
		"only the bundle knows": {nil, &old, &old},
	} {
		info := Info{Engine: Podman, Pod: "pod", Granted: test.engine}.WithBundle(Info{Engine: Podman, Granted: test.bundle})
		if info.Granted != test.want || info.Pod != "pod" {
			t.Errorf("%s: %+v", name, info)
		}
	}
}
