package container

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/containerid"
	"github.com/capmon/capmon/internal/kernel"
	"github.com/capmon/capmon/internal/testutil"
)

func TestInspectReturnsTheSettings(t *testing.T) {
	docker, name := engine(t), testutil.UnusedName()
	begin := time.Now().Add(-time.Second)
	id := through{t: t}.run("--name", name, "--label", "a=b=c", "--user", "1000:1000", "--cap-add", "NET_ADMIN",
		"--cap-drop", "MKNOD", "--security-opt", "no-new-privileges", "--pid", "host", "--network", "none",
		"--userns", "host", "--cgroupns", "host", "--cgroup-parent", "capmon-test", "bb", "sleep", "600")
	for _, spelling := range []string{id, containerid.Short(id), name} {
		got, err := docker.Inspect(t.Context(), spelling)
		if err != nil {
			t.Fatal(err)
		}
		want := Info{
			ID: id, Name: name, Image: "bb:latest", User: "1000:1000",
			PidMode: "host", NetworkMode: "none",
			UsernsMode: "host", CgroupnsMode: "host", CgroupParent: "capmon-test",
			Running: true, Inspected: true,
		}
		if got.ImageDigest == got.ImageID { // with containerd's image store, every image has one
			want.ImageDigest = got.ImageID
		}
		ignored := cmpopts.IgnoreFields(Info{}, "SecurityOpt", "Seccomp", "Layers", "ImageID", "Labels", "CapAdd", "CapDrop", "Pid", "CreatedAt", "StartedAt")
		if diff := cmp.Diff(want, got, ignored); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", spelling, diff)
		}
		if _, err := os.Stat("/proc/" + strconv.Itoa(got.Pid)); err != nil {
			t.Errorf("first process: %v", err)
		}
		if got.CreatedAt.Before(begin) || got.StartedAt.Before(got.CreatedAt) || got.StartedAt.After(time.Now().Add(time.Second)) {
			t.Errorf("created %v, started %v, but the test began %v", got.CreatedAt, got.StartedAt, begin)
		}
		if !strings.HasPrefix(got.ImageID, "sha256:") || got.Labels["a"] != "b=c" {
			t.Errorf("image %q, labels %v", got.ImageID, got.Labels)
		}
		// The engine adds label=disable to --pid host.
		if !slices.Contains(got.SecurityOpt, "no-new-privileges") {
			t.Errorf("security options %v", got.SecurityOpt)
		}
		// The docker command writes them as CAP_NET_ADMIN or NET_ADMIN, depending on its version.
		if granted, err := capability.Granted(got.CapAdd, got.CapDrop, got.Privileged, capability.CheckpointRestore); err != nil ||
			granted != capability.DockerDefault().With(capability.NetAdmin).Without(capability.Mknod) {
			t.Errorf("granted %v, %v", granted, err)
		}
	}
}

func TestInspectOfAnEndedContainer(t *testing.T) {
	docker := engine(t)
	cli := through{t: t}
	id := cli.run("bb", "sh", "-c", "exit 3")
	cli.output("wait", id)
	info, err := docker.Inspect(t.Context(), id)
	if err != nil || info.Running || info.Pid != 0 || info.ExitCode != 3 || info.StartedAt.IsZero() || info.FinishedAt.IsZero() {
		t.Errorf("got %+v, %v", info, err)
	}
	created, err := docker.Inspect(t.Context(), cli.create("bb", "true"))
	if err != nil || created.Running || !created.StartedAt.IsZero() || !created.FinishedAt.IsZero() || created.CreatedAt.IsZero() {
		t.Errorf("never started: got %+v, %v", created, err)
	}
}

func TestInspectOfAMissingContainer(t *testing.T) {
	_, err := engine(t).Inspect(t.Context(), testutil.UnusedName())
	if !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v; want ErrNotFound", err)
	}
}

func TestList(t *testing.T) {
	docker, name := engine(t), testutil.UnusedName()
	cli := through{t: t}
	running := cli.run("--name", name, "--label", "a=b", "bb", "sleep", "600")
	linked := cli.run("--link", name+":alias", "bb", "sleep", "600")
	cli.output("pause", linked)
	stopped := cli.create("bb", "true")

	infos := func(all bool) map[string]Info {
		list, err := docker.List(t.Context(), all)
		if err != nil {
			t.Fatal(err)
		}
		byID := make(map[string]Info)
		for _, info := range list {
			byID[info.ID] = info
		}
		return byID
	}
	onlyRunning, all := infos(false), infos(true)
	got := onlyRunning[running]
	if got.Name != name || got.Image != "bb:latest" || !got.Running || got.Labels["a"] != "b" || got.CreatedAt.IsZero() || got.Inspected {
		t.Errorf("got %+v", got)
	}
	if !onlyRunning[linked].Running {
		t.Error("a paused container is not running")
	}
	if _, shown := onlyRunning[stopped]; shown {
		t.Error("a container that was never started is among the running ones")
	}
	if got, shown := all[stopped]; !shown || got.Running {
		t.Errorf("all: got %+v, %v", got, shown)
	}
}

func TestVersion(t *testing.T) {
	docker := engine(t)
	got, err := docker.Version(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if want := (through{t: t}).output("version", "--format", "{{.Server.Version}} {{.Server.APIVersion}}"); got.Engine+" "+got.API != want {
		t.Errorf("got %+v, docker version prints %s", got, want)
	}
	release, err := kernel.Release()
	if err != nil {
		t.Fatal(err)
	}
	if got.Kernel != release || got.OS == "" || got.CgroupDriver == "" || got.CgroupVersion != "1" && got.CgroupVersion != "2" {
		t.Errorf("got %+v; want this kernel, %s", got, release)
	}
}

// The PID is that of the process that created the socket.
func TestPIDIsThatOfTheListener(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	for endpoint, want := range map[string]int{"unix://" + path: os.Getpid(), "unix://" + path + "-none": 0, "tcp://127.0.0.1:2375": 0} {
		if pid := (&Docker{endpoint: endpoint}).PID(); pid != want {
			t.Errorf("%s: %d, wanted %d", endpoint, pid, want)
		}
	}
}

func TestEvents(t *testing.T) {
	docker, name := engine(t), testutil.UnusedName()
	cli := through{t: t}
	since := time.Now()
	// These labels must not be mistaken for attributes that the engine adds.
	id := cli.create("--name", name, "--label", "a=b", "--label", "oldName=mine", "bb", "sh", "-c", "exit 3")
	events, errs := docker.Events(t.Context(), since) // after the creation
	cli.output("start", id)
	cli.output("wait", id)
	cli.output("rename", id, name+"-2")
	cli.output("rm", id)

	var got []EventType
	for !slices.Contains(got, Removed) {
		select {
		case err := <-errs:
			t.Fatalf("ended after %v: %v", got, err)
		case event := <-events:
			if event.ID != id {
				continue
			}
			got = append(got, event.Type)
			if died := event.Type == Died; died != (event.ExitStatus != nil) || died && *event.ExitStatus != 3 {
				t.Errorf("%s: exit status %v", event.Type, event.ExitStatus)
			}
			wantName := name
			if event.Type == Renamed || event.Type == Removed {
				wantName = name + "-2"
			}
			labels := cmpopts.IgnoreMapEntries(func(key, _ string) bool { return strings.HasPrefix(key, "com.github.") })
			wantLabels := map[string]string{"a": "b", "oldName": "mine"}
			if event.Type == Renamed {
				delete(wantLabels, "oldName")
			}
			if diff := cmp.Diff(wantLabels, event.Labels, labels); diff != "" || event.Name != wantName || event.Image != "bb:latest" {
				t.Errorf("%+v: labels %s", event, diff)
			}
			if event.Time.Before(since.Add(-time.Second)) || event.Time.After(time.Now().Add(time.Second)) {
				t.Errorf("%+v: not a current time", event)
			}
		}
	}
	if want := []EventType{Created, Started, Died, Renamed, Removed}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestEventsEndWithTheEngine(t *testing.T) {
	docker := fake(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"Type":"container","Action":"start","Actor":{"ID":"x","Attributes":{"name":"web"}}}`)
	})
	events, errs := docker.Events(t.Context(), time.Now())
	if event := <-events; event.Type != Started || event.Name != "web" {
		t.Errorf("got %+v", event)
	}
	if err := <-errs; err == nil || !strings.Contains(err.Error(), "closed the connection") {
		t.Errorf("got %v", err)
	}
	if _, open := <-errs; open {
		t.Error("the channel is still open after the error")
	}

	ctx, cancel := context.WithCancel(t.Context())
	_, errs = engine(t).Events(ctx, time.Now())
	cancel()
	if err, open := <-errs; open {
		t.Errorf("cancelled: got %v", err)
	}
}

func TestImageDigestIsThatOfTheNamedRepository(t *testing.T) {
	named, copied := strings.Repeat("a", 64), strings.Repeat("b", 64)
	for _, test := range []struct {
		name, image, known, want string
	}{
		{"one", "web:1", `"web@sha256:` + named + `"`, "sha256:" + named},
		{"the named repository of two", "web:1", `"copy.example/web@sha256:` + copied + `", "web@sha256:` + named + `"`, "sha256:" + named},
		{"another name", "mine", `"web@sha256:` + named + `"`, "sha256:" + named},
		{"named by digest", "web@sha256:" + copied, `"web@sha256:` + named + `"`, "sha256:" + copied},
		{"built here", "web", ``, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			docker := fake(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				if strings.Contains(r.URL.Path, "/images/") {
					_, _ = io.WriteString(w, `{"RepoDigests":[`+test.known+`]}`)
					return
				}
				_, _ = io.WriteString(w, `{"Id":"x","Image":"sha256:1","State":{},"HostConfig":{},"Config":{"Image":"`+test.image+`"}}`)
			})
			info, err := docker.Inspect(t.Context(), "x")
			if err != nil || info.ImageDigest != test.want {
				t.Errorf("got %q, %v; want %q", info.ImageDigest, err, test.want)
			}
		})
	}
	if info, err := fake(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{}`)
	}).Inspect(t.Context(), "x"); err == nil {
		t.Errorf("got %+v from an empty answer", info)
	}
}

func TestPastEventsIncludeRemovedContainers(t *testing.T) {
	docker, cli := engine(t), through{t: t}
	before := time.Now()
	name := testutil.UnusedName()
	cli.output("run", "--rm", "--name", name, "--label", "team=edge", "bb", "true")
	between := time.Now()
	cli.output("run", "--rm", "bb", "true")
	past, err := docker.Past(t.Context(), before, between)
	if err != nil {
		t.Fatal(err)
	}
	var types []EventType
	for _, event := range past {
		if event.Name != name {
			continue // another test's container
		}
		types = append(types, event.Type)
		if event.Image != "bb:latest" || event.Labels["team"] != "edge" {
			t.Errorf("got %+v", event)
		}
	}
	for _, want := range []EventType{Created, Started, Died, Removed} {
		if !slices.Contains(types, want) {
			t.Errorf("%s is missing: %v", want, types)
		}
	}
	for _, event := range past {
		if event.Time.After(between) {
			t.Errorf("later than requested: %+v", event)
		}
	}
}

func TestFamiliar(t *testing.T) {
	id := "sha256:beef" + strings.Repeat("0", 60)
	for image, want := range map[string]string{
		"bb":                                  "bb:latest",
		"nginx:1.27":                          "nginx:1.27",
		"docker.io/library/nginx":             "nginx:latest",
		"docker.io/grafana/grafana:11":        "grafana/grafana:11",
		"localhost:5000/x":                    "localhost:5000/x:latest",
		"x@sha256:" + strings.Repeat("a", 64): "x@sha256:" + strings.Repeat("a", 64),
		"beef0":                               "beef0",
		"beef":                                "beef",
		"bee":                                 "bee:latest",
		"cafe":                                "cafe:latest",
		id:                                    id,
		id[7:]:                                id[7:],
		strings.Repeat("a", 64):               strings.Repeat("a", 64),
		"":                                    "",
	} {
		if got := familiar(image, id); got != want {
			t.Errorf("%q: got %q, want %q", image, got, want)
		}
	}
}

// capability.Granted returns the same set as the kernel: the bounding set of a container.
func TestGrantedIsTheBoundingSet(t *testing.T) {
	docker := engine(t)
	last, err := kernel.LastCapability()
	if err != nil {
		t.Fatal(err)
	}
	// An engine cannot grant capabilities that its host lacks, or that are newer than the engine: Docker 20.10 ends at
	// AUDIT_READ.
	bounding := []string{"bb", "sed", "-n", `s/^CapBnd:\s*//p`, "/proc/self/status"}
	most := parseHex(t, through{t: t}.output(append([]string{"run", "--rm", "--privileged"}, bounding...)...))
	if most.Minus(capability.Known(last)) != 0 || capability.DockerDefault().Minus(most) != 0 {
		t.Fatalf("a privileged container has %v", most)
	}
	for _, flags := range []string{
		"", "--cap-add net_admin", "--cap-drop ALL", "--cap-drop ALL --cap-add CHOWN --cap-add cap_sys_nice",
		"--cap-add ALL", "--cap-add ALL --cap-drop NET_RAW", "--cap-add ALL --cap-drop ALL",
		"--cap-add NET_RAW --cap-drop NET_RAW", "--privileged --cap-drop CHOWN",
	} {
		cli := through{t: t}
		id := cli.create(append(strings.Fields(flags), bounding...)...)
		info, err := docker.Inspect(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		computed, err := capability.Granted(info.CapAdd, info.CapDrop, info.Privileged, last)
		if err != nil {
			t.Fatal(err)
		}
		out, err := cli.command("start", "-a", id).Output()
		beyond := computed.Minus(most)
		switch {
		case err != nil && !beyond.Empty():
			t.Logf("docker run %s: not possible here, because %v is missing", flags, beyond)
		case err != nil:
			t.Errorf("docker run %s: %v\n%s", flags, err, out)
		case parseHex(t, strings.TrimSpace(string(out))) != computed.Minus(beyond):
			t.Errorf("docker run %s: computed %v, but the kernel has %s", flags, computed, out)
		}
	}
}

func parseHex(t *testing.T, s string) capability.Set {
	t.Helper()
	set, err := strconv.ParseUint(s, 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	return capability.Set(set)
}
