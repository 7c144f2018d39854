package containerid

import (
	"regexp"
	"strings"
	"testing"

	"github.com/capmon/capmon/internal/containerid/containeridtest"
)

var (
	one   = strings.Repeat("1a", 32)
	other = strings.Repeat("2b", 32)
)

func TestPathFormsOfEngines(t *testing.T) {
	for _, form := range containeridtest.PathForms(one, other) {
		t.Run(form.About, func(t *testing.T) {
			if cgroup, id, ok := Topmost(form.Path); cgroup != form.Container || id != form.ID || ok != (form.Container != "") {
				t.Errorf("%s: got %q, %q, %v; want %q, %q", form.Path, cgroup, id, ok, form.Container, form.ID)
			}
		})
	}
}

func TestMayBePod(t *testing.T) {
	for cgroup, want := range map[string]bool{
		"/libpod_parent/" + one:             true,
		"/a/libpod_parent/" + one:           true,
		"/libpod_parent/libpod-" + one:      false,
		"/libpod_parent/conmon":             false,
		"/libpod_parent/" + one + "/conmon": false,
		"/docker/" + one:                    false,
		"/" + one:                           false,
		"/":                                 false,
	} {
		if got := MayBePod(cgroup); got != want {
			t.Errorf("%s: got %v", cgroup, got)
		}
	}
}

func TestFromCgroup(t *testing.T) {
	for _, test := range []struct{ name, path, want string }{
		{"below a monitor", "/libpod-conmon-" + one + ".scope/docker-" + other + ".scope", other},
		{"made by the workload", "/docker/" + one + "/init/workers", one},
		{"seen from another cgroup namespace", "/../../docker/" + one, one},
		{"relative", "docker/" + one, one},
		{"alone", one, one},

		{"root", "/", ""},
		{"nothing", "", ""},
		{"a service", "/system.slice/docker.service", ""},
		{"too short", "/docker/" + one[1:], ""},
		{"too long", "/docker/" + one + "a", ""},
		{"capitals", "/docker/" + strings.ToUpper(one), ""},
		{"not hexadecimal", "/docker/" + strings.Repeat("g", 64), ""},
		{"a scope without an engine", "/" + one + ".scope", ""},
		{"a scope with nothing before the dash", "/-" + one + ".scope", ""},
		{"an engine without a scope", "/docker-" + one, ""},
		{"another unit", "/docker-" + one + ".slice", ""},
		{"more after it", "/docker-" + one + ".scope.d", ""},
		{"another unit of Podman", "/libpod-" + one + ".slice", ""},
		{"another prefix of Podman", "/libpod-conmon-" + one, ""},
		{"more before it", "/xlibpod-" + one, ""},
		{"Podman's, too long", "/libpod-" + one + "a", ""},
		{"Podman's, too short", "/libpod-payload-" + one[1:], ""},
		{"a pod of Podman, relative", "libpod_parent/" + other + "/libpod-" + one, one},
		{"a pod of Podman and another cgroup below", "/libpod_parent/" + other + "/x/y", ""},
		{"a pod in a pod", "/libpod_parent/" + other + "/" + one, one},
		{"nearly a pod", "/libpod_parent2/" + one + "/libpod-" + other, one},
		{"not directly below", "/libpod_parent/x/" + one + "/libpod-" + other, one},
		{"a line end", "/docker-" + one + ".scope\n", ""},
		{"longest possible name of an engine", "/" + strings.Repeat("x", maxCgroupName-71) + "-" + one + ".scope", one},
		{"longer name of an engine", "/" + strings.Repeat("x", maxCgroupName-70) + "-" + one + ".scope", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			if id, ok := FromCgroup(test.path); id != test.want || ok != (test.want != "") {
				t.Errorf("%s: got %q, %v; want %q", test.path, id, ok, test.want)
			}
		})
	}
}

// Anyone who can create cgroups chooses their names.
func FuzzFromCgroup(f *testing.F) {
	for _, path := range []string{"/docker/" + one, "/a/docker-" + one + ".scope/" + other, "/libpod-conmon-" + one + ".scope", "//\x00\xff\n"} {
		f.Add(path)
	}
	id := regexp.MustCompile(`^[0-9a-f]{64}$`)
	f.Fuzz(func(t *testing.T, path string) {
		got, ok := FromCgroup(path)
		if !ok {
			if got != "" {
				t.Fatalf("%q: no container, but the ID %q", path, got)
			}
			if below, ok := FromCgroup(path + "/" + one); !ok || below != one {
				t.Fatalf("%q hides the container below it", path)
			}
			return
		}
		if !id.MatchString(got) || !strings.Contains(path, got) {
			t.Fatalf("%q: got %q", path, got)
		}
		if below, _ := FromCgroup(path + "/docker-" + other + ".scope"); below != got && !MayBePod(path) {
			t.Fatalf("%q: a cgroup below changes the container from %s to %s", path, got, below)
		}
		if above, _ := FromCgroup("/" + other + "/" + path); above != other {
			t.Fatalf("%q: got %s instead of the container above it", path, above)
		}
	})
}

func TestShort(t *testing.T) {
	for id, want := range map[string]string{one: one[:12], "abc": "abc", "": "", UnitPrefix + "longer.service": UnitPrefix + "longer.service"} {
		if got := Short(id); got != want {
			t.Errorf("%q: got %q, want %q", id, got, want)
		}
	}
}

func TestDenotes(t *testing.T) {
	for _, test := range []struct {
		text, id string
		want     bool
	}{
		{one, one, true},
		{one[:ShortLength], one, true},
		{one[:ShortLength+1], one, true},
		{one[:ShortLength-1], one, false},
		{one, one[:ShortLength], false},
		{one[:ShortLength], other, false},
		{"", one, false},
		{"", "", false},
		{ProcessPrefix + "longer-than-12", ProcessPrefix + "longer-than-12", true},
		{ProcessPrefix + "longer-than-12", ProcessPrefix + "longer-than-123", false},
		{UnitPrefix + "longer.service", UnitPrefix + "longer.service.service", false},
		{UnknownPrefix + "47110", UnknownPrefix + "47110", true},
		{UnknownPrefix + "47110", UnknownPrefix + "471108", false},
	} {
		if got := Denotes(test.text, test.id); got != test.want {
			t.Errorf("%q denotes %q: got %v", test.text, test.id, got)
		}
	}
}
