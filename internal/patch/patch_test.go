package patch

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/capmon/capmon/capability"
)

var update = flag.Bool("update", false, "write the golden files in testdata instead of comparing with them")

// The golden files have the target and the lists in their first line, then the file before and after.
func TestOnlyTheListsChange(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatal("no golden files", err)
	}
	for _, path := range paths {
		name := strings.TrimSuffix(filepath.Base(path), ".txtar")
		t.Run(name, func(t *testing.T) {
			archive, err := txtar.ParseFile(path)
			if err != nil || len(archive.Files) != 2 {
				t.Fatalf("%v, %d files", err, len(archive.Files))
			}
			kind, settings := parseSettings(t, string(archive.Comment))
			before := archive.Files[0].Data
			after := changed(t, kind, before, settings)
			if *update {
				archive.Files[1].Data = after
				if err := os.WriteFile(path, txtar.Format(archive), 0o600); err != nil {
					t.Fatal(err)
				}
			} else if diff := cmp.Diff(string(archive.Files[1].Data), string(after)); diff != "" {
				t.Error(diff)
			}
			// Files with other line ends, and files without a final newline.
			crlf := func(text []byte) string { return strings.ReplaceAll(string(text), "\n", "\r\n") }
			if diff := cmp.Diff(crlf(after), string(changed(t, kind, []byte(crlf(before)), settings))); diff != "" {
				t.Errorf("with CRLF: %s", diff)
			}
			cut := changed(t, kind, bytes.TrimSuffix(before, []byte("\n")), settings)
			if diff := cmp.Diff(strings.TrimSuffix(string(after), "\n"), strings.TrimSuffix(string(cut), "\n")); diff != "" {
				t.Errorf("without the last newline: %s", diff)
			}
			if kind.Target != "quadlet" {
				bom := changed(t, kind, append([]byte("\ufeff"), before...), settings)
				if diff := cmp.Diff("\ufeff"+string(after), string(bom)); diff != "" {
					t.Errorf("with a byte order mark: %s", diff)
				}
			}
		})
	}
}

// changed changes a text. It verifies that a second change has no effect. test/compat/patch verifies that the tool that
// reads the file finds the lists.
func changed(t *testing.T, kind Kind, before []byte, settings []Setting) []byte {
	t.Helper()
	after, _, err := kind.change(slices.Clone(before), settings)
	if err != nil {
		t.Fatalf("%v\n%s", err, before)
	}
	if again, _, err := kind.change(slices.Clone(after), settings); err != nil || !bytes.Equal(again, after) {
		t.Errorf("a second change is not empty: %v\n%s", err, Diff("again", after, again))
	}
	return after
}

func parseSettings(t *testing.T, line string) (Kind, []Setting) {
	t.Helper()
	words := strings.Fields(line)
	kind, err := ParseKind(words[0])
	if err != nil {
		t.Fatal(err)
	}
	var settings []Setting
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
		settings = append(settings, Setting{Name: name, Needs: needs})
	}
	return kind, settings
}

func TestUnsafeChangesAreRejected(t *testing.T) {
	pod := func(container string) string {
		return "kind: Pod\nspec:\n  containers:\n  - name: web\n" + container
	}
	for name, test := range map[string]struct{ target, text, want string }{
		"privileged service":       {"compose", "services:\n  web:\n    privileged: true", "line 3: service \"web\" has privileged"},
		"perhaps privileged":       {"compose", "services:\n  web:\n    privileged: ${P}", "has privileged"},
		"merged privileged":        {"compose", "x: &x {privileged: true}\nservices:\n  web:\n    <<: [*x]\n", "has privileged"},
		"privileged container":     {"kubernetes", pod("    securityContext: {privileged: true}"), "has privileged"},
		"privileged quadlet":       {"quadlet", "[Container]\nPodmanArgs=--privileged\n", "line 2: PodmanArgs= has --privileged"},
		"options of a quadlet":     {"quadlet", "[Container]\nPodmanArgs=-t \\\n --cap-add=ALL\n", "has --cap-add"},
		"an extended service":      {"compose", "services:\n  web:\n    extends: {service: db}", "extends another"},
		"a shared service":         {"compose", "services:\n  web: &web\n    image: a\n  db: *web\n", "is also used by the alias"},
		"a service elsewhere":      {"compose", "x: &web {image: a}\nservices:\n  web: *web\n", "is the alias"},
		"a shared context":         {"kubernetes", "x: &c {runAsUser: 0}\n" + pod("    securityContext: *c"), "is the alias"},
		"an anchored list":         {"compose", "services:\n  web:\n    cap_add: &a [KILL]\n  db: {cap_add: *a}", "has the anchor"},
		"a list in a list":         {"compose", "services:\n  web:\n    cap_add: [[KILL]]", "cannot find the end"},
		"items in several lines":   {"compose", "services:\n  web:\n    cap_add:\n    - >-\n      KILL\n", "is not a name on its own line"},
		"a reset":                  {"compose", "services:\n  web:\n    cap_add: !reset []", "has the tag"},
		"a scalar":                 {"compose", "services:\n  web:\n    cap_add: KILL", "is not a list"},
		"a scalar as a service":    {"compose", "services:\n  web: nginx\n", "is not a mapping"},
		"twice":                    {"compose", "services:\n  web: {image: a}\n---\nservices:\n  web: {image: b}\n", "appears twice"},
		"a key twice":              {"compose", "services:\n  web:\n    image: a\n    image: b\n", "already defined"},
		"two pods":                 {"kubernetes", pod("") + "---\n" + pod(""), "appears 2 times"},
		"no such service":          {"compose", "services:\n  front: {image: a}\n  \"a\\eb\": {image: a}", `it has no service "web", but "a\x1bb", "front"`},
		"no service at all":        {"compose", "a: 1", "and no other"},
		"no such container":        {"kubernetes", strings.Replace(pod(""), "web", "api", 1), `it has no container "web", but "api"`},
		"no container at all":      {"quadlet", "[Pod]\n", "no section [Container]"},
		"a template":               {"kubernetes", "a: {{ .Values.a }}\n{{- end }}", "it is a template"},
		"an unquoted template":     {"kubernetes", "a: {{ .Values.a }}\n---\n" + pod(""), "it is a template"},
		"no YAML":                  {"compose", "services: {", "it is not YAML"},
		"extended by another":      {"compose", "services:\n  web: {image: a}\n  db:\n    extends: {service: web}\n", `line 4: service "db" extends service "web"`},
		"extended, in short":       {"compose", "services:\n  web: {image: a}\n  db:\n    extends: web\n    cap_drop: !override []", `service "db" extends service "web"`},
		"extended by a merge":      {"compose", "x: &x {extends: web}\nservices:\n  web: {image: a}\n  db:\n    <<: *x\n", `service "db" extends service "web"`},
		"a merge is not a service": {"compose", "x: &x {a: {image: a}}\nservices:\n  <<: *x\n  db: {image: b}\n", `no service "web", but "db"`},
		"a merged service":         {"compose", "x: &x {web: {image: a}}\nservices:\n  <<: *x\n  db: {image: b}\n", `line 1: service "web" comes from a merge key`},
		"included files":           {"compose", "include: [a.yaml, {path: [b.yaml, c.yaml]}, {path: d.yaml}]\nservices:\n  db: {image: b}\n", `but "db"; it includes "a.yaml", "b.yaml", "c.yaml", "d.yaml": if one of them has the service, patch that file`},
		"privileged by default":    {"compose", "services:\n  web:\n    privileged: ${P:-true}", "has privileged"},
		"an alias as a name":       {"kubernetes", "metadata: {name: &web app}\nkind: Pod\nspec: {containers: [{name: *web}]}", `no container "web", but "app"`},
		"unsupported kinds": {
			"kubernetes", "apiVersion: argoproj.io/v1alpha1\nkind: Rollout\nmetadata: {name: api}\nspec: {template: {spec: {containers: [{name: web}]}}}\n---\napiVersion: h/v2\nkind: HelmRelease\nmetadata: {name: &a photos}\n---\nkind: Service\nmetadata: {name: web}\n" +
				"---\nkind: List\nitems:\n- apiVersion: o/v1\n  kind: DeploymentConfig\n  metadata: {name: old}\n  spec: {template: {spec: {containers: []}}}",
			`and no other; capmon does not edit Rollout "api" of argoproj.io/v1alpha1 (line 1), HelmRelease "photos" of h/v2 (line 6), DeploymentConfig "old" of o/v1 (line 15): write`,
		},
		"no text": {"compose", "a: \xff", "not UTF-8"},
	} {
		t.Run(name, func(t *testing.T) {
			kind, settings := parseSettings(t, test.target+" web=CHOWN")
			after, _, err := kind.change([]byte(test.text), settings)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, wanted %s\n%s", err, test.want, after)
			}
		})
	}
}

// A list without effect is written, and a note reports it.
func TestListsWithoutEffectAreNoted(t *testing.T) {
	const (
		unreached = "does not get NET_BIND_SERVICE: it does not run as root"
		pod       = "kind: Pod\nspec:\n  securityContext: {%s}\n  containers:\n  - name: web\n    securityContext: {%s}\n"
	)
	service := func(lines string) string { return "services:\n  web:\n    image: a\n" + lines }
	for name, test := range map[string]struct {
		target, text string
		image        bool // the image has a user other than root
		want         string
	}{
		"a pod's user":           {"kubernetes", fmt.Sprintf(pod, "runAsUser: 1000", "allowPrivilegeEscalation: false"), false, unreached},
		"no root in a pod":       {"kubernetes", fmt.Sprintf(pod, "runAsNonRoot: true", "allowPrivilegeEscalation: false"), false, unreached},
		"an image's user":        {"kubernetes", fmt.Sprintf(pod, "", "allowPrivilegeEscalation: false"), true, unreached},
		"root in a pod":          {"kubernetes", fmt.Sprintf(pod, "runAsUser: 1000", "runAsUser: 0, allowPrivilegeEscalation: false"), true, ""},
		"a user that may gain":   {"kubernetes", fmt.Sprintf(pod, "runAsUser: 1000", ""), true, ""},
		"a service's user":       {"compose", service("    user: 1000:1000\n    security_opt: [\"no-new-privileges=true\"]\n"), false, unreached},
		"the image's user":       {"compose", service("    security_opt: [no-new-privileges]\n"), true, unreached},
		"root in a service":      {"compose", service("    user: root\n    security_opt: [no-new-privileges]\n"), true, ""},
		"new privileges":         {"compose", service("    user: 1000\n    security_opt: [\"no-new-privileges:false\"]\n"), true, ""},
		"perhaps privileged":     {"compose", service("    privileged: ${P:-false}\n"), false, `has privileged: "${P:-false}": if the variable is set`},
		"privileged reset":       {"compose", service("    privileged: !reset null\n"), false, ""},
		"extends reset":          {"compose", service("    extends: !reset null\n"), false, ""},
		"not privileged":         {"compose", service("    privileged: \"no\"\n"), false, ""},
		"extended without lists": {"compose", service("  db:\n    extends: web\n    cap_drop: !override [ALL]\n    cap_add: !reset []\n"), false, ""},
		"extended by a file":     {"compose", service("  db:\n    extends: {file: a.yaml, service: web}\n"), false, `service "db" extends service "web" of "a.yaml"`},
	} {
		t.Run(name, func(t *testing.T) {
			kind, settings := parseSettings(t, test.target+" web=NET_BIND_SERVICE")
			settings[0].NotRoot = test.image
			_, notes, err := kind.change([]byte(test.text), settings)
			if err != nil || len(notes) > 0 != (test.want != "") || !strings.Contains(strings.Join(notes, "\n"), test.want) {
				t.Errorf("%q, %v; wanted %q", notes, err, test.want)
			}
		})
	}
}
