package audit

import (
	"testing"

	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/profile"
)

// The users of another engine choose the names and images of its containers.
func TestContainersOfOtherEnginesAreNotEvidence(t *testing.T) {
	info := container.Info{ID: "1", Name: "web", Image: "nginx"}
	for engine, want := range map[string]bool{"": true, "containerd": false} {
		p := profile.New(profile.Run{ID: "run", Container: profile.Container{ID: "2", Name: "web", Image: "nginx", Engine: engine}})
		if found := find(profile.Summaries(p), info) != nil; found != want {
			t.Errorf("engine %q: found %v", engine, found)
		}
		if runs := recordings([]Subject{{Info: info}}, &p); len(runs) == 1 != want {
			t.Errorf("engine %q: %d recordings", engine, len(runs))
		}
	}
}
