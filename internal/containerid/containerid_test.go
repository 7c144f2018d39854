package containerid

import (
	"regexp"
	"strings"
	"testing"
)

var (
	one   = strings.Repeat("1a", 32)
	other = strings.Repeat("2b", 32)
)

func TestFromCgroup(t *testing.T) {
	for _, test := range []struct{ name, path, want string }{
		{"Docker, cgroupfs", "/docker/" + one, one},
		{"Docker, systemd", "/system.slice/docker-" + one + ".scope", one},
		{"Docker, --cgroup-parent", "/my.slice/my-own.slice/docker-" + one + ".scope", one},
		{"Docker, --cgroup-parent, cgroupfs", "/batch/" + one, one},
		{"Docker, rootless", "/user.slice/user-1000.slice/user@1000.service/user.slice/docker-" + one + ".scope", one},
		{"Podman", "/machine.slice/libpod-" + one + ".scope", one},
		{"Podman, the container's own cgroup", "/machine.slice/libpod-" + one + ".scope/container", one},
		{"Podman, its monitor", "/machine.slice/libpod-conmon-" + one + ".scope", ""},
		{"containerd", "/kubepods.slice/kubepods-pod1.slice/cri-containerd-" + one + ".scope", one},
		{"Kubernetes, cgroupfs", "/kubepods/burstable/podd9c3f3b2-0a7f-4b8e-8d57-5f2e0d3c1a2b/" + one, one},
		{"CRI-O", "/kubepods.slice/crio-" + one + ".scope", one},
		{"CRI-O, its monitor", "/kubepods.slice/crio-conmon-" + one + ".scope", ""},
		{"below a monitor", "/libpod-conmon-" + one + ".scope/docker-" + other + ".scope", other},
		{"made by the workload", "/docker/" + one + "/init/workers", one},
		{"Docker in Docker", "/docker/" + one + "/docker/" + other, one},
		{"Docker in Docker, systemd", "/system.slice/docker-" + one + ".scope/system.slice/docker-" + other + ".scope", one},
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
		if below, _ := FromCgroup(path + "/docker-" + other + ".scope"); below != got {
			t.Fatalf("%q: a cgroup below changes the container from %s to %s", path, got, below)
		}
		if above, _ := FromCgroup("/" + other + "/" + path); above != other {
			t.Fatalf("%q: got %s instead of the container above it", path, above)
		}
	})
}

func TestShort(t *testing.T) {
	for id, want := range map[string]string{one: one[:12], "abc": "abc", "": ""} {
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
		{UnknownPrefix + "47110", UnknownPrefix + "47110", true},
		{UnknownPrefix + "47110", UnknownPrefix + "471108", false},
	} {
		if got := Denotes(test.text, test.id); got != test.want {
			t.Errorf("%q denotes %q: got %v", test.text, test.id, got)
		}
	}
}
