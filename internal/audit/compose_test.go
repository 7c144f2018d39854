package audit

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/google/go-cmp/cmp"

	"github.com/capmon/capmon/capability"
)

// labelled returns web with these labels and with an image that has its own labels.
func labelled(labels, image map[string]string, gone bool) Subject {
	subject := web(func(_ *container.HostConfig, c *container.Config) { c.Labels = labels })
	subject.Settings.Image.Labels, subject.Settings.ImageGone = image, gone
	return subject
}

// A container inherits the labels of its image. The author of the image must not decide which commands capmon prints.
func TestLabelsOfTheImageDoNotChooseCommands(t *testing.T) {
	const prefix = "com.docker.compose."
	shop := map[string]string{
		prefix + "project": "shop", prefix + "service": "web", prefix + "config-hash": "c0ffee",
		prefix + "project.working_dir": "/srv/shop", prefix + "project.config_files": "/srv/shop/compose.yaml",
	}
	but := func(labels map[string]string, changes ...string) map[string]string {
		labels = maps.Clone(labels)
		for i := 0; i < len(changes); i += 2 {
			labels[prefix+changes[i]] = changes[i+1]
		}
		return labels
	}
	named := map[string]string{prefix + "project": "shop", prefix + "service": "web"}
	for _, test := range []struct {
		name          string
		labels, image map[string]string
		gone          bool
		want          *Compose
	}{
		{name: "of the container", labels: shop, want: &Compose{Project: "shop", Service: "web", Directory: "/srv/shop", Files: []string{"/srv/shop/compose.yaml"}}},
		{name: "of the container, different from the image's", labels: named, image: but(named, "project", "else", "service", "else"), want: &Compose{Project: "shop", Service: "web"}},
		{name: "with environment files", labels: but(shop, "project.environment_file", "/srv/a.env,/srv/b.env"), want: &Compose{
			Project: "shop", Service: "web", Directory: "/srv/shop", Files: []string{"/srv/shop/compose.yaml"}, EnvFiles: []string{"/srv/a.env", "/srv/b.env"},
		}},
		// Compose sets this label only if there is such a file.
		{
			name: "an environment file of the image", labels: but(shop, "project.environment_file", "/etc/shadow"), image: map[string]string{prefix + "project.environment_file": "/etc/shadow"},
			want: &Compose{Project: "shop", Service: "web", Directory: "/srv/shop", Files: []string{"/srv/shop/compose.yaml"}},
		},
		{name: "a relative environment file", labels: but(shop, "project.environment_file", "/srv/a.env,b.env")},
		{name: "of the image", labels: shop, image: shop},
		{name: "one of the image", labels: named, image: map[string]string{prefix + "project": "shop"}},
		{name: "the file is from the image", labels: shop, image: map[string]string{prefix + "project.config_files": shop[prefix+"project.config_files"]}},
		{name: "of unknown origin", labels: shop, gone: true},
		// docker compose build labels the image with the service.
		{name: "an image that Compose built", labels: shop, image: named, want: &Compose{Project: "shop", Service: "web", Directory: "/srv/shop", Files: []string{"/srv/shop/compose.yaml"}}},
		{name: "an image that Compose built, started without Compose", labels: named, image: named},
		{name: "a remote file", labels: but(shop, "project.config_files", "oci://example.com/stack:1")},
		{name: "a remote file among others", labels: but(shop, "project.config_files", "/srv/shop/compose.yaml,https://example.com/stack.git")},
		{name: "a relative file", labels: but(shop, "project.config_files", "compose.yaml")},
		{name: "standard input", labels: but(shop, "project.config_files", "-")},
		{name: "a relative directory", labels: but(shop, "project.working_dir", "shop")},
		{name: "a remote directory", labels: but(shop, "project.working_dir", "git://example.com/stack")},
		{name: "a service like an option", labels: but(shop, "service", "--renew-anon-volumes")},
		{name: "a project like an option", labels: but(shop, "project", "-p")},
		{name: "a service like a file", labels: but(shop, "service", "..")},
	} {
		options := Options{Profile: with(ran(time.Hour, used(capability.Chown)), nil), Last: capability.CheckpointRestore, Thresholds: thresholds}
		c := Of([]Subject{labelled(test.labels, test.image, test.gone)}, options).Containers[0]
		if diff := cmp.Diff(test.want, c.Compose); diff != "" {
			t.Errorf("%s: %s", test.name, diff)
		}
		if printed := strings.Contains(c.Remedy.Text(), "docker compose"); printed != (test.want != nil) {
			t.Errorf("%s:\n%s", test.name, c.Remedy.Text())
		}
	}
}

func TestLabelsOfTheImageDoNotNameASwarmService(t *testing.T) {
	const name, task = "com.docker.swarm.service.name", "com.docker.swarm.task.id"
	www := map[string]string{name: "www", task: "x"}
	for _, test := range []struct {
		name  string
		image map[string]string
		gone  bool
		want  string
	}{
		{"of the container", nil, false, "www"},
		{"of the image", www, false, ""},
		{"of the container and the image", map[string]string{name: "www"}, false, "www"},
		{"of unknown origin", nil, true, ""},
	} {
		c := Of([]Subject{labelled(www, test.image, test.gone)}, Options{Last: capability.CheckpointRestore}).Containers[0]
		if c.Service != test.want {
			t.Errorf("%s: %q, want %q", test.name, c.Service, test.want)
		}
	}
}
