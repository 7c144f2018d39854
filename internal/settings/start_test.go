package settings

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/profile"
)

// alreadyRunning returns a container that was running before capmon watched it.
func alreadyRunning(change func(*profile.Run)) []LabeledContainer {
	began := time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)
	run := profile.Run{
		ID: "o/1", Container: profile.Container{ID: strings.Repeat("ab", 32), Name: "web", Image: "nginx:1.27"},
		Started: &began, Ended: began.Add(time.Minute), Existed: true,
	}
	change(&run)
	return Containers(profile.New(run))
}

// A command that people may copy must not contain anything from the labels of a hostile image.
func TestHowToRecordStartIgnoresLabels(t *testing.T) {
	err := RequireStarts(alreadyRunning(func(r *profile.Run) {
		r.Container.Labels = map[string]string{
			"io.kubernetes.container.name": "x", "io.kubernetes.pod.namespace": "kube-system", "io.kubernetes.pod.name": "--all",
			"com.docker.compose.service": "--scale=web=99",
		}
	}))
	if err == nil || !strings.Contains(err.Error(), "docker run … nginx:1.27") {
		t.Fatalf("%v", err)
	}
	for _, own := range []string{"kube-system", "--all", "--scale"} {
		if strings.Contains(err.Error(), own) {
			t.Errorf("%q is in: %v", own, err)
		}
	}
}

// A container without a list for another reason also needs a start.
func TestStartsAreRequiredWithoutAList(t *testing.T) {
	all := alreadyRunning(func(r *profile.Run) {
		r.Uses = []profile.UsePattern{{Capability: capability.Capability(60), Class: classify.Required, Granted: true, Count: 1}}
	})
	if all[0].Unavailable() == "" {
		t.Fatal("there is a list")
	}
	if unseen := (*StartUnseenError)(nil); !errors.As(RequireStarts(all), &unseen) {
		t.Error("its start is not required")
	}
}
