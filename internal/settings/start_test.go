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

func TestHowToRecordStartOfAContainerOfPodman(t *testing.T) {
	err := RequireStarts(alreadyRunning(func(r *profile.Run) { r.Container.Engine = "podman" }))
	if err == nil || !strings.Contains(err.Error(), "capmon profile --save=FILE -- podman run … nginx:1.27") {
		t.Errorf("%v", err)
	}
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

// No docker run starts a container of a pod.
func TestHowToRecordStartOfAPod(t *testing.T) {
	err := RequireStarts(alreadyRunning(func(r *profile.Run) { r.Container.PodName = "web-1" }))
	if err == nil || strings.Contains(err.Error(), "docker") || !strings.Contains(err.Error(), "start a new pod while") {
		t.Errorf("%v", err)
	}
}

func TestHowToRecordStartOfOtherEngines(t *testing.T) {
	for engine, want := range map[string]string{
		"podman": "-- podman run … ", "containerd": "start a new container while capmon serve or capmon profile records",
	} {
		err := RequireStarts(alreadyRunning(func(r *profile.Run) { r.Container.Engine = engine }))
		if err == nil || strings.Contains(err.Error(), "docker run") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", engine, err)
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

func TestStartUnseenErrorIsShort(t *testing.T) {
	one := alreadyRunning(func(*profile.Run) {})
	const want = "web: capmon did not see the start of the container: the list may be too short for a start\n" +
		"to record a start: start a new container while capmon serve records, or run: capmon profile --save=FILE -- docker run … nginx:1.27\n" +
		"to print the list anyway: --even-if-start-unseen"
	if err := RequireStarts(one); err == nil || err.Error() != want {
		t.Errorf("one container: %v", err)
	}
	const wantTwo = "capmon did not see the starts of 2 containers: their lists may be too short for a start: web, web\n" +
		"to record starts: start new containers while capmon serve records, or choose other containers\n" +
		"to print the lists anyway: even-if-start-unseen=true"
	var unseen *StartUnseenError
	if !errors.As(RequireStarts(append(one, one...)), &unseen) || unseen.Explain(EvenIfStartUnseen+"=true") != wantTwo {
		t.Errorf("two containers: %v", unseen)
	}
}
