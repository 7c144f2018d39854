// Package patch_test compares the files that capmon changes with what the tools that use these files read.
package patch_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/rogpeppe/go-internal/txtar"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/patch"
)

// The golden files have the target and the lists in their first line, then the file before and after.
func TestToolsReadTheLists(t *testing.T) {
	paths, err := filepath.Glob("../../../internal/patch/testdata/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatal("no golden files", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(path)
			if err != nil || len(archive.Files) != 2 {
				t.Fatalf("%v, %d files", err, len(archive.Files))
			}
			target, settings := parseSettings(t, string(archive.Comment))
			before := archive.Files[0].Data
			changed(t, target, before, settings)
			changed(t, target, bytes.ReplaceAll(before, []byte("\n"), []byte("\r\n")), settings)
			changed(t, target, bytes.TrimSuffix(before, []byte("\n")), settings)
			if target != "quadlet" {
				changed(t, target, append([]byte("\ufeff"), before...), settings)
			}
		})
	}
}

// changed changes a text. It verifies that a second change has no effect, and that the tool that reads the file finds
// the lists.
func changed(t *testing.T, target string, before []byte, settings []patch.Setting) []byte {
	t.Helper()
	after, err := change(target, slices.Clone(before), settings)
	if err != nil {
		t.Fatalf("%v\n%s", err, before)
	}
	if again, err := change(target, slices.Clone(after), settings); err != nil || !bytes.Equal(again, after) {
		t.Errorf("a second change is not empty: %v\n%s", err, patch.Diff("again", after, again))
	}
	got := readers[target](t, after)
	for _, s := range settings {
		if got[s.Name] != s.Needs {
			t.Errorf("%s is granted %v, wanted %v\n%s", s.Name, got[s.Name], s.Needs, after)
		}
	}
	return after
}

func change(target string, text []byte, settings []patch.Setting) (after []byte, err error) {
	switch target {
	case "compose":
		after, _, err = patch.Compose(text, settings)
	case "kubernetes":
		after, _, err = patch.Kubernetes(text, settings)
	case "quadlet":
		after, err = patch.Quadlet(text, settings[0].Needs)
	default:
		err = fmt.Errorf("unknown target %q", target)
	}
	return after, err
}

func parseSettings(t *testing.T, line string) (target string, settings []patch.Setting) {
	t.Helper()
	words := strings.Fields(line)
	for _, word := range words[1:] {
		name, list, _ := strings.Cut(word, "=")
		var needs capability.Set
		for _, name := range strings.FieldsFunc(list, func(r rune) bool { return r == ',' }) {
			c, err := capability.Parse(name)
			if err != nil {
				t.Fatal(err)
			}
			needs = needs.With(c)
		}
		settings = append(settings, patch.Setting{Name: name, Needs: needs})
	}
	return words[0], settings
}

// readers return what the containers of a file are granted, by their names in the file.
var readers = map[string]func(*testing.T, []byte) map[string]capability.Set{
	"compose": readCompose, "kubernetes": readManifest, "quadlet": readQuadlet,
}

func granted(t *testing.T, add, drop []string) capability.Set {
	t.Helper()
	set, err := capability.Granted(add, drop, false, capability.CheckpointRestore)
	if err != nil {
		t.Error(err)
	}
	return set
}

func readCompose(t *testing.T, text []byte) map[string]capability.Set {
	files := []types.ConfigFile{{Filename: "compose.yaml", Content: text}}
	project, err := loader.LoadWithContext(context.Background(), types.ConfigDetails{ConfigFiles: files, Environment: types.Mapping{}},
		func(o *loader.Options) { o.SetProjectName("app", false) })
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	all := make(map[string]capability.Set)
	for name, service := range project.Services {
		all[name] = granted(t, service.CapAdd, service.CapDrop)
	}
	return all
}

func readManifest(t *testing.T, text []byte) map[string]capability.Set {
	all := make(map[string]capability.Set)
	text = bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))
	for document := range bytes.SplitSeq(bytes.TrimPrefix(text, []byte("\ufeff")), []byte("\n---\n")) {
		var list struct {
			Kind  string
			Items []any
		}
		if err := yaml.Unmarshal(document, &list); err != nil {
			t.Fatalf("%v\n%s", err, document)
		}
		objects := [][]byte{document}
		if list.Kind == "List" {
			objects = nil
			for _, item := range list.Items {
				data, err := yaml.Marshal(item)
				if err != nil {
					t.Fatal(err)
				}
				objects = append(objects, data)
			}
		}
		for _, object := range objects {
			spec := podSpec(t, object)
			for _, c := range slices.Concat(spec.Containers, spec.InitContainers) {
				if c.SecurityContext != nil && c.SecurityContext.Capabilities != nil {
					all[c.Name] = granted(t, strs(c.SecurityContext.Capabilities.Add), strs(c.SecurityContext.Capabilities.Drop))
				}
			}
		}
	}
	return all
}

func strs(names []corev1.Capability) []string {
	var all []string
	for _, name := range names {
		all = append(all, string(name))
	}
	return all
}

func podSpec(t *testing.T, object []byte) corev1.PodSpec {
	t.Helper()
	var head struct{ Kind string }
	var (
		pod        corev1.Pod
		deployment appsv1.Deployment
		job        batchv1.Job
		cronJob    batchv1.CronJob
		service    corev1.Service
	)
	err := yaml.Unmarshal(object, &head)
	into, spec := any(nil), &corev1.PodSpec{}
	switch head.Kind {
	case "Pod":
		into, spec = &pod, &pod.Spec
	case "Deployment":
		into, spec = &deployment, &deployment.Spec.Template.Spec
	case "Job":
		into, spec = &job, &job.Spec.Template.Spec
	case "CronJob":
		into, spec = &cronJob, &cronJob.Spec.JobTemplate.Spec.Template.Spec
	case "Service":
		into = &service
	}
	if err = errors.Join(err, yaml.UnmarshalStrict(object, into)); err != nil {
		t.Fatalf("%s: %v\n%s", head.Kind, err, object)
	}
	return *spec
}

// readQuadlet reads the unit with podman's generator.
func readQuadlet(t *testing.T, text []byte) map[string]capability.Set {
	directory := t.TempDir()
	if err := os.WriteFile(filepath.Join(directory, "web.container"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	generator, err := filepath.Abs("../../../.cache/bin/quadlet")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(generator, "-dryrun")
	cmd.Env = append(os.Environ(), "QUADLET_UNIT_DIRS="+directory)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	lists := make(map[string][]string)
	for _, match := range regexp.MustCompile(`--cap-(add|drop) (\w+)`).FindAllSubmatch(out, -1) {
		lists[string(match[1])] = append(lists[string(match[1])], strings.ToUpper(string(match[2])))
	}
	return map[string]capability.Set{"web": granted(t, lists["add"], lists["drop"])}
}

// A service among others, with any set before and after.
func TestAnyListReplacesAnyOtherList(t *testing.T) {
	sets := []string{"", "CHOWN", "NET_RAW,CHOWN", "SYS_ADMIN,KILL,NET_RAW"}
	forms := []string{
		"cap_add: [%s]", "cap_add: # why\n      [ %s ] # there", "cap_add:\n    %s", "cap_add:\n      # first\n      %s\n      # last", "# none %s", "cap_add: %.0s",
	}
	for _, old := range sets {
		for _, form := range forms {
			list := strings.ReplaceAll(old, ",", ", ")
			if i := strings.Index(form, "%s"); i > 0 && form[i-1] == ' ' && !strings.ContainsAny(form, "[") && !strings.HasPrefix(form, "#") {
				indent := form[strings.LastIndex(form[:i], "\n")+1 : i]
				if list = "- " + strings.ReplaceAll(old, ",", " # x\n"+indent+"- "); old == "" {
					continue
				}
			}
			for _, wanted := range sets {
				text := "services:\n  web:\n    image: a\n    " + fmt.Sprintf(form, list) + "\n    ports: [\"80\"]\n  db:\n    image: b\n"
				target, settings := parseSettings(t, "compose web="+wanted)
				after := changed(t, target, []byte(text), settings)
				for _, kept := range []string{"    ports: [\"80\"]\n  db:\n    image: b\n", "  web:\n    image: a\n"} {
					if !strings.Contains(string(after), kept) {
						t.Errorf("from %q to %q:\n%s", old, wanted, after)
					}
				}
			}
		}
	}
}
