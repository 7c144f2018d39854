package settings_test

import (
	"strings"
	"testing"
	"testing/quick"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/yaml"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/settings"
	"github.com/capmon/capmon/internal/settings/settingstest"
)

func readPods(t *testing.T, text string) map[string]capability.Set {
	all := make(map[string]capability.Set)
	for label, document := range documents(t, text, "---\n") {
		all[label] = grantedInPod(t, podOf(t, document).Spec.Containers[0])
	}
	return all
}

// podOf returns a pod with a container that has the settings of a text, followed by its other settings.
func podOf(t *testing.T, settings string) corev1.Pod {
	t.Helper()
	var pod corev1.Pod
	text := "apiVersion: v1\nkind: Pod\nmetadata: {name: app}\nspec:\n  containers:\n  -\n    " +
		strings.ReplaceAll(settings, "\n", "\n    ") + "name: app\n    image: app\n"
	if err := yaml.UnmarshalStrict([]byte(text), &pod); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return pod
}

// grantedInPod returns what containerd grants for the settings: it applies ALL before the added capabilities.
func grantedInPod(t *testing.T, container corev1.Container) capability.Set {
	t.Helper()
	lists := container.SecurityContext.Capabilities
	if len(lists.Drop) != 1 || lists.Drop[0] != "ALL" {
		t.Errorf("dropped are %v", lists.Drop)
	}
	var names []string
	for _, name := range lists.Add {
		names = append(names, string(name))
	}
	return setOf(t, "", names)
}

// readValues reads the values of a chart that puts them into the container unchanged.
func readValues(t *testing.T, text string) map[string]capability.Set {
	for _, document := range documents(t, text, "---\n") {
		var values struct {
			SecurityContext corev1.SecurityContext `json:"securityContext"`
		}
		if err := yaml.UnmarshalStrict([]byte(document), &values); err != nil {
			t.Error(err)
		}
	}
	return readPods(t, text)
}

// The admission plugin of Kubernetes must decide as the note in the settings describes.
func TestPodSecurityNotesAgreeWithKubernetes(t *testing.T) {
	target, err := settings.ParseTarget("kubernetes")
	if err != nil {
		t.Fatal(err)
	}
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	says := func(bits uint64) bool {
		needs := capability.Set(bits).Intersect(capability.Known(lastKnown))
		text, _, err := target.Settings(settings.Containers(profile.New(settingstest.Needing(1, "web", needs))), settings.Absolute)
		if err != nil {
			t.Fatal(err)
		}
		pod := podOf(t, text)
		no, yes := false, true
		pod.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsNonRoot: &yes, SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}}
		pod.Spec.Containers[0].SecurityContext.AllowPrivilegeEscalation = &no
		allows := func(level api.Level) bool {
			results := evaluator.EvaluatePod(api.LevelVersion{Level: level, Version: api.LatestVersion()}, &metav1.ObjectMeta{}, &pod.Spec)
			return policy.AggregateCheckResults(results).Allowed
		}
		want := `allowed by "privileged" only`
		switch {
		case allows(api.LevelRestricted):
			want = `allowed by all levels`
		case allows(api.LevelBaseline):
			want = `allowed by "baseline", not by "restricted"`
		}
		_, note, _ := strings.Cut(text, "# Pod Security: ")
		note, _, _ = strings.Cut(note, "\n")
		if !strings.Contains(note, want) {
			t.Errorf("%v: %s; wanted %s", needs, note, want)
		}
		return strings.Contains(note, want)
	}
	if err := quick.Check(says, nil); err != nil {
		t.Error(err)
	}
	baseline := capability.DockerDefault().Without(capability.NetRaw)
	for _, needs := range []capability.Set{
		0, baseline, capability.DockerDefault(), capability.Of(capability.NetBindService), capability.Of(capability.NetRaw), capability.Of(capability.Chown),
	} {
		says(uint64(needs))
	}
}
