package verify

import (
	"os"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"
)

func TestOwnerHasEnded(t *testing.T) {
	self, err := owner(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	parent, err := owner(os.Getppid())
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(self, "/")
	changed := func(i int, value string) string {
		other := append([]string{}, parts...)
		other[i] = value
		return strings.Join(other, "/")
	}
	for _, test := range []struct {
		name, label   string
		running, want bool
	}{
		{"this process", self, true, false},
		{"another process", parent, true, false},
		{"a process that has ended", changed(2, "4194305"), true, true}, // above the highest PID
		{"a PID that another process has now", changed(3, "1"), true, true},
		{"an earlier boot", changed(0, "earlier"), false, true},
		{"another machine", changed(0, "elsewhere"), true, false},
		{"another PID namespace", changed(1, "1"), true, false},
		{"invalid PID", changed(2, "-1"), true, false},
		{"another program's label", "yes", false, false},
		{"none", "", false, false},
	} {
		if got := ownerHasEnded(test.label, self, test.running); got != test.want {
			t.Errorf("%s: got %v", test.name, got)
		}
	}
}

func TestOwnerOfAMissingProcess(t *testing.T) {
	if label, err := owner(4194305); err == nil {
		t.Errorf("got %s", label)
	}
}

func TestOverlap(t *testing.T) {
	volume := container.MountPoint{Name: "data", Source: "/var/lib/docker/volumes/data/_data"}
	for _, test := range []struct {
		one, other container.MountPoint
		want       bool
	}{
		{volume, volume, true},
		{volume, container.MountPoint{Name: "data"}, true},
		{volume, container.MountPoint{Name: "other", Source: "/var/lib/docker/volumes/other/_data"}, false},
		{volume, container.MountPoint{Source: "/var/lib/docker"}, true},
		{container.MountPoint{Source: "/a/b"}, container.MountPoint{Source: "/a/b/c"}, true},
		{container.MountPoint{Source: "/a/b"}, container.MountPoint{Source: "/a/bc"}, false},
		{container.MountPoint{Source: "/"}, container.MountPoint{Source: "/a"}, true},
		{container.MountPoint{}, container.MountPoint{}, false},
	} {
		if overlap(test.one, test.other) != test.want || overlap(test.other, test.one) != test.want {
			t.Errorf("%+v and %+v: wanted %v", test.one, test.other, test.want)
		}
	}
}
