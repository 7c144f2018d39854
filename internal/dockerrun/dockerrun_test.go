package dockerrun

import (
	"context"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/capmon/capmon/capability"
	engine "github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/shell"
	"github.com/capmon/capmon/internal/testutil"
)

func remove(t *testing.T, kind, name string) {
	t.Cleanup(func() { _ = exec.Command("docker", kind, "rm", "-f", name).Run() })
}

// untilStopped runs until the container is stopped.
var untilStopped = []string{"bb", "sh", "-c", "trap exit TERM; sleep 1000 & wait"}

// connect connects only once, because reading Docker's configuration is not safe for concurrent use.
var connect = sync.OnceValues(func() (*engine.Docker, error) { return engine.NewDocker(context.Background()) })

func settingsOf(t *testing.T, name string) engine.Settings {
	t.Helper()
	d, err := connect()
	if err != nil {
		t.Fatal(err)
	}
	s, err := d.Settings(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// recreate creates the container again with the commands of the package, in a shell.
func recreate(t *testing.T, before engine.Settings, names map[string]string) (Recreation, engine.Settings) {
	t.Helper()
	grant := capability.Of(capability.Chown, capability.NetRaw)
	recreation := WithCapabilities(before, grant, names, true)
	remove(t, "container", strings.TrimPrefix(before.Container.Name, "/")+"-before")
	script := strings.Join(recreation.Lines(), "\n")
	if out, err := exec.CommandContext(t.Context(), "bash", "-ec", script).CombinedOutput(); err != nil {
		t.Fatalf("%s\n%v\n%s", script, err, out)
	}
	after := settingsOf(t, strings.TrimPrefix(before.Container.Name, "/"))
	granted, err := capability.Granted(after.Container.HostConfig.CapAdd, after.Container.HostConfig.CapDrop, after.Container.HostConfig.Privileged, capability.CheckpointRestore)
	if err != nil || granted != grant {
		t.Errorf("%s\ngrants %v, %v; want %v", script, granted, err, grant)
	}
	if after.Container.ID == before.Container.ID {
		t.Error("the container was not created again")
	}
	return recreation, after
}

// same compares the settings of two containers, except those that differ between any two containers.
func same(t *testing.T, script []string, before, after engine.Settings) {
	t.Helper()
	options := []cmp.Option{
		cmpopts.IgnoreFields(container.HostConfig{}, "CapAdd", "CapDrop", "ConsoleSize"),
		cmpopts.IgnoreFields(container.Config{}, "AttachStdin", "AttachStdout", "AttachStderr", "StdinOnce"),
		cmpopts.EquateEmpty(),
		cmpopts.SortSlices(func(a, b string) bool { return a < b }),
	}
	for _, s := range []engine.Settings{before, after} {
		if strings.HasPrefix(s.Container.ID, s.Container.Config.Hostname) {
			s.Container.Config.Hostname = "chosen by the engine"
		}
		// The new container has anonymous volumes by name (TestAnonymousVolumesAreKept).
		s.Container.HostConfig.Binds = slices.DeleteFunc(s.Container.HostConfig.Binds, anonymous.MatchString)
	}
	diff := cmp.Diff(before.Container.HostConfig, after.Container.HostConfig, options...) +
		cmp.Diff(before.Container.Config, after.Container.Config, options...) +
		cmp.Diff(before.Container.Name+before.Container.Image, after.Container.Name+after.Container.Image) +
		cmp.Diff(mountsOf(before), mountsOf(after)) + cmp.Diff(networksOf(before), networksOf(after), options...) +
		cmp.Diff(before.Container.State.Running, after.Container.State.Running)
	if diff != "" {
		t.Errorf("%s\nwanted: -, got: +\n%s", strings.Join(script, "\n"), diff)
	}
}

var anonymous = regexp.MustCompile(`^[0-9a-f]{64}:`)

func mountsOf(s engine.Settings) map[string]container.MountPoint {
	mounts := map[string]container.MountPoint{}
	for _, m := range s.Container.Mounts {
		m.Mode = "" // z or nothing, depending on the option
		mounts[m.Destination] = m
	}
	return mounts
}

func networksOf(s engine.Settings) map[string]network.EndpointSettings {
	networks := map[string]network.EndpointSettings{}
	for name, e := range s.Container.NetworkSettings.Networks {
		var aliases []string
		for _, alias := range e.Aliases {
			if !strings.HasPrefix(s.Container.ID, alias) {
				aliases = append(aliases, alias)
			}
		}
		networks[name] = network.EndpointSettings{Aliases: aliases, IPAMConfig: e.IPAMConfig, Links: e.Links}
	}
	return networks
}

// image creates an image with settings that containers inherit or override.
func image(t *testing.T) string {
	t.Helper()
	name := testutil.UnusedName()
	container := testutil.Docker(t, "create", "--stop-signal=SIGKILL", "bb")
	remove(t, "container", container)
	testutil.Docker(t, "commit", "--change", `ENTRYPOINT ["/bin/sh", "-c"]`, "--change", `CMD ["sleep 1000"]`, "--change", "ENV FROM=image", "--change", "LABEL from=image",
		"--change", "VOLUME /kept", "--change", "EXPOSE 81", "--change", "USER 1000", "--change", "WORKDIR /tmp",
		"--change", "HEALTHCHECK --interval=1h CMD true", container, name)
	t.Cleanup(func() { _ = exec.Command("docker", "rmi", "-f", name).Run() })
	return name
}

// In each case, --cap-drop and --cap-add are replaced.
func TestContainersAreCreatedAgainWithTheirSettings(t *testing.T) {
	front, back, volume, other, own := testutil.UnusedName(), testutil.UnusedName(), testutil.UnusedName(), testutil.UnusedName(), image(t)
	testutil.Docker(t, "network", "create", "--subnet=10.213.7.0/24", front)
	remove(t, "network", front)
	testutil.Docker(t, "network", "create", back)
	remove(t, "network", back)
	testutil.Docker(t, "volume", "create", volume)
	remove(t, "volume", volume)
	testutil.Docker(t, "run", "-d", "--name", other, "--ipc=shareable", "-v", volume+":/others", "bb", "sleep", "1000")
	remove(t, "container", other)
	directory := t.TempDir()
	hostile := "two\nlines 'quoted' \"twice\" $HOME `id` \\ !! {a,b} * \u202e \x1b[31m ü"

	for _, test := range []struct {
		name    string
		create  string
		options []string
		words   []string // the image and what follows
	}{
		{"plain", "run -d", nil, untilStopped},
		{"never started", "create", []string{"--cap-add=SYS_ADMIN", "--device-read-bps=/dev/null:1048576", "--device-write-iops=/dev/null:100", "--cpu-quota=50000", "--gpus=all"}, []string{"bb", "true"}},
		{"settings of its image", "run -d", nil, []string{own}},
		{"settings that override its image", "create", []string{
			"--entrypoint=/bin/sleep", "--env=FROM=user", "--label=from=user", "--user=0", "--workdir=/", "--stop-signal=SIGTERM", "--stop-timeout=0", "--health-interval=2h", "--expose=82", "--volume=" + volume + ":/kept",
		}, []string{own, "1000"}},
		{"without the image's entry point and check", "create", []string{"--entrypoint=", "--no-healthcheck", "--stop-timeout=0"}, []string{own, "sleep", "1000"}},
		{"hostile words", "run -d", []string{"--env=TEXT=" + hostile, "--label=" + "text=" + hostile, "--env=EMPTY=", "--health-cmd=" + hostile}, []string{"bb", "sh", "-c", "trap exit TERM; sleep 1000 & wait", hostile, ""}},
		{"process", "create -i -t", []string{
			"--hostname=web", "--domainname=example.com", "--user=1000:5", "--workdir=/tmp", "--stop-signal=SIGUSR1", "--stop-timeout=7", "--restart=on-failure:3", "--init",
			"--health-cmd=true", "--health-interval=1m30s", "--health-timeout=3s", "--health-retries=4", "--health-start-period=5s", "--log-driver=local", "--log-opt=max-size=10m",
		}, untilStopped},
		{"files", "run -d", []string{
			"--volume=" + directory + ":/bound:ro", "--volume=" + volume + ":/named", "--mount=type=bind,source=" + directory + ",target=/again,readonly,bind-propagation=private",
			"--mount=" + `type=tmpfs,"target=/a,b",tmpfs-size=65536,tmpfs-mode=1770`, "--mount=type=volume,source=" + volume + ",target=/more,volume-nocopy", "--volumes-from=" + other,
			"--tmpfs=/run:size=1m,mode=700", "--tmpfs=/scratch", "--read-only", "--shm-size=1m",
		}, untilStopped},
		{"declared volumes with --volume", "create", []string{"--volume=" + volume + ":/kept:z"}, []string{own}},
		{"declared volumes with --mount", "create", []string{"--mount=type=volume,source=" + volume + ",target=/kept/"}, []string{own}},
		{"networks", "create", []string{
			"--network=" + front, "--ip=10.213.7.77", "--network-alias=www", "--publish=80/udp", "--publish=127.0.0.1:18081:81", "--publish=127.0.0.1::82", "--expose=90",
			"--dns=192.0.2.1", "--dns-option=ndots:2", "--dns-search=example.com", "--add-host=db:192.0.2.2", "--sysctl=net.ipv4.ip_unprivileged_port_start=0",
		}, untilStopped},
		{"legacy links", "create", []string{"--link=" + other + ":db", "--publish-all"}, untilStopped},
		{"no network", "create", []string{"--network=none"}, untilStopped},
		{"the host's network", "run -d", []string{"--network=host"}, untilStopped},
		{"the host's network, under another name", "run -d", []string{"--network=host", "--hostname=web"}, untilStopped},
		{"namespaces of the host", "run -d", []string{"--network=host", "--pid=host", "--ipc=host", "--uts=host", "--userns=host"}, untilStopped},
		{"namespaces of another container", "create", []string{"--network=container:" + other, "--pid=container:" + other, "--ipc=container:" + other}, untilStopped},
		{"cgroups of its own", "create", []string{"--cgroupns=private"}, untilStopped},
		{"cgroups of the host", "create", []string{"--cgroupns=host"}, untilStopped},
		{"limits", "create", []string{
			"--memory=64m", "--memory-reservation=32m", "--cpus=0.5", "--cpu-shares=512", "--cpuset-cpus=0", "--pids-limit=50", "--ulimit=nofile=100:200", "--ulimit=core=0",
			"--oom-score-adj=300", "--device=/dev/null:/dev/nothing:r", "--device-cgroup-rule=c 1:3 rwm", "--group-add=5",
		}, untilStopped},
		{"security", "create", []string{
			"--cap-drop=MKNOD", "--cap-add=NET_ADMIN", "--security-opt=no-new-privileges", "--security-opt=seccomp=unconfined", "--security-opt=systempaths=unconfined", "--security-opt=label=disable",
		}, untilStopped},
		{"removes itself", "run -d --rm", nil, untilStopped},
		{"always restarted", "run -d --restart=always", nil, untilStopped},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			name := testutil.UnusedName()
			testutil.Docker(t, slices.Concat(strings.Fields(test.create), []string{"--name", name}, test.options, test.words)...)
			remove(t, "container", name)
			before := settingsOf(t, name)
			recreation, after := recreate(t, before, map[string]string{settingsOf(t, other).Container.ID: other})
			same(t, recreation.Lines(), before, after)
			if len(recreation.Untranslated) > 0 || len(recreation.Notes) == 0 || recreation.Notes[0] != newContainerNote {
				t.Errorf("untranslated: %q, notes: %q", recreation.Untranslated, recreation.Notes)
			}
			restoresOld(t, recreation, before)
		})
	}
}

// restoresOld verifies that the commands restore the old container, unless it was removed.
func restoresOld(t *testing.T, r Recreation, before engine.Settings) {
	t.Helper()
	name := strings.TrimPrefix(before.Container.Name, "/")
	if before.Container.HostConfig.AutoRemove {
		if len(r.Back)+len(r.Discard) > 0 || !strings.Contains(strings.Join(r.Notes, "\n"), "cannot be restored") {
			t.Errorf("commands that restore it: %q, notes: %q", r.Back, r.Notes)
		}
		return
	}
	old := settingsOf(t, name+"-before").Container
	if old.ID != before.Container.ID || old.State.Running || old.HostConfig.RestartPolicy.IsAlways() {
		t.Errorf("set oldName: %s, wanted %s; running: %v, restarted: %s", old.ID, before.Container.ID, old.State.Running, old.HostConfig.RestartPolicy.Name)
	}
	script := strings.Join(Lines(r.Back), "\n")
	if out, err := exec.CommandContext(t.Context(), "bash", "-ec", script).CombinedOutput(); err != nil {
		t.Fatalf("%s\n%v\n%s", script, err, out)
	}
	back := settingsOf(t, name).Container
	if back.ID != before.Container.ID || back.State.Running != before.Container.State.Running || back.HostConfig.RestartPolicy != before.Container.HostConfig.RestartPolicy {
		t.Errorf("%s\nleads to %s, wanted %s; running: %v", script, back.ID, before.Container.ID, back.State.Running)
	}
}

// The new name of the old container is not the name of any other container.
func TestTheOldContainerGetsAnUnusedName(t *testing.T) {
	b := &builder{names: map[string]string{"1": "web", "2": "web-before", "3": "web-before-2"}}
	if got := b.unusedName("web-before"); got != "web-before-3" {
		t.Errorf("%s", got)
	}
}

func TestASecondNetworkIsConnectedBeforeTheStart(t *testing.T) {
	t.Parallel()
	front, back, name := testutil.UnusedName(), testutil.UnusedName(), testutil.UnusedName()
	for _, network := range []string{front, back} {
		testutil.Docker(t, "network", "create", network)
		remove(t, "network", network)
	}
	testutil.Docker(t, slices.Concat([]string{"create", "--name", name, "--network", front}, untilStopped)...)
	remove(t, "container", name)
	testutil.Docker(t, "network", "connect", "--alias", "db", back, name)
	testutil.Docker(t, "start", name)
	before := settingsOf(t, name)
	recreation, after := recreate(t, before, nil)
	same(t, recreation.Lines(), before, after)
}

// The data of a container stay in the same volumes, including anonymous ones.
func TestAnonymousVolumesAreKept(t *testing.T) {
	t.Parallel()
	name, own := testutil.UnusedName(), image(t)
	testutil.Docker(t, "run", "-d", "--name", name, "--user=0", "-v", "/data/", "--mount=type=volume,target=/more/", own,
		"echo data >/data/file; echo kept >/kept/file; echo more >/more/file; trap exit TERM; sleep 1000 & wait")
	remove(t, "container", name)
	for testutil.Docker(t, "exec", name, "sh", "-c", "cat /data/file /kept/file /more/file 2>/dev/null || true") != "data\nkept\nmore" {
		continue
	}
	before := settingsOf(t, name)
	_, after := recreate(t, before, nil)
	if diff := cmp.Diff(mountsOf(before), mountsOf(after)); diff != "" {
		t.Error(diff)
	}
}

// With --rm, an anonymous volume is removed with the container, so the new container must not refer to it.
func TestAnonymousVolumesAreNotKeptWithRm(t *testing.T) {
	t.Parallel()
	name := testutil.UnusedName()
	testutil.Docker(t, "create", "--rm", "--name", name, "--mount=type=volume,target=/more", "bb", "true")
	remove(t, "container", name)
	if line := shell.Line(WithCapabilities(settingsOf(t, name), 0, nil, true).Create[0]); !strings.Contains(line, " --mount=type=volume,target=/more ") {
		t.Error(line)
	}
}

func TestAMovedImageIsNamedByItsID(t *testing.T) {
	t.Parallel()
	name, own := testutil.UnusedName(), image(t)
	testutil.Docker(t, "run", "-d", "--name", name, own)
	remove(t, "container", name)
	testutil.Docker(t, "tag", "bb", own)
	before := settingsOf(t, name)
	recreation, after := recreate(t, before, nil)
	if after.Container.Image != before.Container.Image || len(recreation.Notes) != 2 {
		t.Errorf("%s became %s; notes: %q", before.Container.Image, after.Container.Image, recreation.Notes)
	}
}

func TestAMissingImageIsReported(t *testing.T) {
	s := engine.Settings{ImageGone: true, ImageMoved: true, Container: container.InspectResponse{
		ContainerJSONBase: &container.ContainerJSONBase{ID: strings.Repeat("a", 64), Name: "/web", Image: "sha256:1", HostConfig: &container.HostConfig{}},
		Config:            &container.Config{Image: "app:1", Env: []string{"FROM=image"}, Entrypoint: []string{"/bin/app", "-v"}, Hostname: "aaaaaaaaaaaa"},
	}}
	got := WithCapabilities(s, 0, nil, true)
	want := []string{"docker rename web web-before", "docker create --name=web --env=FROM=image --entrypoint=/bin/app --cap-drop=ALL app:1 -v"}
	if diff := cmp.Diff(want, got.Lines()); diff != "" {
		t.Error(diff)
	}
	if len(got.Untranslated) != 1 || !strings.Contains(got.Untranslated[0], "pull or build app:1") {
		t.Errorf("%q", got.Untranslated)
	}
}

func TestPrivilegedIsRemoved(t *testing.T) {
	t.Parallel()
	name := testutil.UnusedName()
	testutil.Docker(t, slices.Concat([]string{"run", "-d", "--privileged", "--name", name}, untilStopped)...)
	remove(t, "container", name)
	recreation, after := recreate(t, settingsOf(t, name), nil)
	if after.Container.HostConfig.Privileged || len(after.Container.HostConfig.SecurityOpt) != 0 || len(recreation.Notes) != 2 || len(recreation.Untranslated) != 0 {
		t.Errorf("%+v\n%+v", after.Container.HostConfig, recreation)
	}
}

func TestUntranslatedSettingsAreReported(t *testing.T) {
	name := testutil.UnusedName()
	profile, err := filepath.Abs("../../test/e2e/testdata/seccomp.json")
	if err != nil {
		t.Fatal(err)
	}
	testutil.Docker(t, "create", "--name", name, "--security-opt=seccomp="+profile, "--cidfile="+filepath.Join(t.TempDir(), "id"), "bb", "true")
	remove(t, "container", name)
	s := settingsOf(t, name)
	s.Container.Config.MacAddress = "02:42:0a:d5:07:4d" //nolint:staticcheck // a new docker command rejects it for an old engine
	if line := shell.Line(WithCapabilities(s, 0, nil, true).Create[0]); !strings.Contains(line, " --mac-address=02:42:0a:d5:07:4d ") {
		t.Error(line)
	}
	s.HostConfig["Novelty"] = json.RawMessage(`{"some": "setting"}`)
	s.HostConfig["UnsetNovelty"] = json.RawMessage(`[ ]`)
	s.Config["NetworkDisabled"] = json.RawMessage(`true`)
	s.Container.Config.Healthcheck = &container.HealthConfig{Test: []string{"CMD", "curl", "-f", "a b"}}
	got := WithCapabilities(s, 0, nil, true).Untranslated
	var settings []string
	for _, text := range got {
		setting, _, _ := strings.Cut(text, ":")
		settings = append(settings, setting)
	}
	want := []string{"Config.Healthcheck", "Config.NetworkDisabled", "HostConfig.ContainerIDFile", "HostConfig.Novelty", "HostConfig.SecurityOpt"}
	if diff := cmp.Diff(want, settings); diff != "" {
		t.Error(diff)
	}
	if !strings.Contains(got[0], "curl -f 'a b'") {
		t.Error(got[0])
	}
}

func TestStepsForValuesThatAreLeftOut(t *testing.T) {
	s := engine.Settings{Container: container.InspectResponse{
		ContainerJSONBase: &container.ContainerJSONBase{ID: strings.Repeat("a", 64), Name: "/web", HostConfig: &container.HostConfig{}},
		Config:            &container.Config{Image: "app:1", Env: []string{"TOKEN=1", "KEY=2"}, Cmd: []string{"secret"}, Labels: map[string]string{"a": "b"}, Hostname: "aaaaaaaaaaaa"},
	}}
	got := WithCapabilities(s, 0, nil, false)
	want := []string{"export TOKEN, KEY (docker reads the values from the environment)", "replace each … with its value: --label a", "replace '…', with the quotes, with all arguments after the image"}
	if diff := cmp.Diff(want, got.Withheld); diff != "" || len(got.Untranslated) > 0 {
		t.Errorf("%s\nuntranslated: %q", diff, got.Untranslated)
	}
	if got := WithCapabilities(s, 0, nil, true).Withheld; len(got) > 0 {
		t.Errorf("with values: %q", got)
	}
}
