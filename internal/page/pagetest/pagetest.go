// Package pagetest has audits, comparisons and hostile profiles for tests of pages.
package pagetest

import (
	"reflect"
	"strings"
	"testing"
	"time"

	docker "github.com/docker/docker/api/types/container"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/audit"
	"github.com/capmon/capmon/internal/compare"
	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/page"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/report/reporttest"
	"github.com/capmon/capmon/internal/waiver"
)

// Options are the options of the pages in tests.
var Options = page.Options{Version: "1.0", Time: reporttest.Saturday.Add(24 * time.Hour)}

// Fleet returns the page of a fleet.
func Fleet(n int) page.Page { return page.OfProfile(reporttest.Fleet(n), Options) }

// Audit returns the audit of a fleet of n containers, and of one that capmon never observed. waivers may be nil.
func Audit(n int, waivers *waiver.File) audit.Audit {
	p := reporttest.Fleet(n)
	var subjects []audit.Subject
	for _, run := range p.Runs {
		subjects = append(subjects, subject(run.Container, run.Grants))
	}
	standard := capability.DockerDefault().Without(capability.NetRaw)
	subjects = append(subjects, subject(profile.Container{ID: strings.Repeat("e", 64), Name: "old", Image: "old:1"}, profile.Grants{Kernel: &standard}))
	return audit.Of(subjects, audit.Options{
		Profile: &p, Waivers: waivers, Last: capability.CheckpointRestore, Time: Options.Time,
		Thresholds: audit.Thresholds{Observed: 10 * time.Minute, ObservedRisky: time.Minute, Runs: 1},
	})
}

// subject returns the container as its engine describes it.
func subject(c profile.Container, g profile.Grants) audit.Subject {
	granted, _ := g.Set()
	host := &docker.HostConfig{Privileged: g.Privileged}
	host.CapDrop = []string{"ALL"}
	for _, each := range granted.Sorted() {
		host.CapAdd = append(host.CapAdd, each.String())
	}
	return audit.Subject{
		Info: container.Info{
			ID: c.ID, Name: c.Name, Image: c.Image, ImageID: c.ImageID, Labels: c.Labels, Running: true,
			CapAdd: host.CapAdd, CapDrop: host.CapDrop, Privileged: host.Privileged, Inspected: true,
		},
		Settings: container.Settings{
			Container: docker.InspectResponse{
				ContainerJSONBase: &docker.ContainerJSONBase{ID: c.ID, Name: "/" + c.Name, Image: c.ImageID, HostConfig: host, State: &docker.State{Running: true}},
				Config:            &docker.Config{Image: c.Image, Labels: c.Labels},
			},
			Security: []string{"name=seccomp,profile=builtin"},
		},
	}
}

// Comparison returns a comparison of the reporttest cases with this name.
func Comparison(t testing.TB, name string) compare.Comparison {
	t.Helper()
	sides := reporttest.Comparisons()[name]
	c, err := compare.Profiles(sides[0], sides[1], compare.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// HostileTexts are texts that try to leave their place in HTML, in JSON, in a script or on a screen.
func HostileTexts() []string {
	return []string{
		`</script><script>alert(1)</script>`, `<!--<script>`, `"><img src=x onerror=alert(1)>`, `'"` + "`" + `\`, "\u2028\u2029", "\u202eright to left\u2066",
		"\xff\xfe\xc0\x80", "\x00\x1b[31m\r\n\t", "{{.}} ${1} </style>", "javascript:alert(1)", strings.Repeat("long \u0301", 1<<17),
	}
}

// Hostile returns a profile in which each text is hostile.
func Hostile(text string) profile.Profile {
	p := reporttest.Fleet(8)
	p.Proofs = reporttest.Profiles()["proved"].Proofs
	fill(reflect.ValueOf(&p).Elem(), text)
	for i := range p.Runs { // texts on which the meaning of a run depends
		p.Runs[i].ID += string(rune('a' + i))
		p.Runs[i].Container.ID += string(rune('a' + i))
		p.Runs[i].Container.Unconfirmed = ""
		for j, use := range reporttest.Fleet(8).Runs[i].Uses {
			p.Runs[i].Uses[j].Class = use.Class
		}
	}
	p.Runs[0].Container.Labels = map[string]string{
		"com.docker.compose.project": text, "com.docker.compose.service": text, "io.kubernetes.container.name": text,
		"io.kubernetes.pod.namespace": text, "com.docker.swarm.service.name": text,
	}
	p.Runs[1].Container.Unconfirmed = text
	return p
}

// fill sets all texts in a value.
func fill(value reflect.Value, text string) {
	switch value.Kind() {
	case reflect.String:
		value.SetString(text)
	case reflect.Pointer:
		if !value.IsNil() {
			fill(value.Elem(), text)
		}
	case reflect.Slice:
		for i := range value.Len() {
			fill(value.Index(i), text)
		}
	case reflect.Struct:
		if _, isTime := value.Interface().(time.Time); isTime {
			return
		}
		for i := range value.NumField() {
			if value.Field(i).CanSet() {
				fill(value.Field(i), text)
			}
		}
	}
}
