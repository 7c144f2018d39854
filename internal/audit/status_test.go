package audit

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/classify"
	engine "github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/findings"
	"github.com/capmon/capmon/internal/profile"
)

// noon is the time of all events in these tests.
var noon = time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)

// web returns a container with the settings that change sets.
func web(change func(*container.HostConfig, *container.Config)) Subject {
	host, config := &container.HostConfig{}, &container.Config{Image: "nginx", Hostname: "web"}
	if change != nil {
		change(host, config)
	}
	return Subject{
		Info: engine.Info{
			ID: strings.Repeat("a", 64), Name: "web", Image: "nginx:latest", ImageID: "sha256:1", Labels: config.Labels, Running: true,
			CapAdd: host.CapAdd, CapDrop: host.CapDrop, Privileged: host.Privileged, SecurityOpt: host.SecurityOpt, Inspected: true,
		},
		Settings: engine.Settings{
			Container: container.InspectResponse{
				ContainerJSONBase: &container.ContainerJSONBase{ID: strings.Repeat("a", 64), Name: "/web", Image: "sha256:1", HostConfig: host, State: &container.State{Running: true}},
				Config:            config,
			},
			Security: []string{"name=seccomp,profile=builtin"},
		},
	}
}

func granted(names ...string) Subject {
	return web(func(h *container.HostConfig, _ *container.Config) { h.CapDrop, h.CapAdd = []string{"ALL"}, names })
}

// ran returns a run of web with these uses that capmon observed for the duration seen.
func ran(seen time.Duration, uses ...profile.UsePattern) profile.Run {
	return profile.Run{
		ID: "o/1", Container: profile.Container{ID: strings.Repeat("b", 64), Name: "web", Image: "nginx:latest", ImageID: "sha256:1"},
		Observation: profile.Observation{Start: noon.Add(-time.Second), End: noon.Add(seen)}, Started: &noon, Ended: noon.Add(seen), Uses: uses,
	}
}

func used(c capability.Capability) profile.UsePattern {
	return profile.UsePattern{Capability: c, Class: classify.Required, Granted: true, Program: "nginx", Call: "fchownat", Count: 1, First: noon, Last: noon}
}

func with(run profile.Run, change func(*profile.Run)) *profile.Profile {
	if change != nil {
		change(&run)
	}
	p := profile.New(run)
	return &p
}

func proof(p *profile.Profile, set capability.Set, minimal bool, tried ...capability.Capability) *profile.Profile {
	proof := profile.Proof{ID: "p", Time: noon, Container: p.Runs[0].Container, Set: set, Works: true, Minimal: minimal, Reasons: []string{"two runs disagreed"}}
	for _, c := range tried {
		proof.Members = append(proof.Members, profile.Member{Capability: c, Verdict: profile.Needed})
	}
	p.Proofs = append(p.Proofs, proof)
	return p
}

var thresholds = Thresholds{Observed: 10 * time.Minute, ObservedRisky: time.Minute, Runs: 1}

func TestStatuses(t *testing.T) {
	const chown, raw, kill, admin = capability.Chown, capability.NetRaw, capability.Kill, capability.SysAdmin
	long := ran(time.Hour, used(chown))
	privileged := web(func(h *container.HostConfig, _ *container.Config) { h.Privileged = true })
	alternative := used(capability.DACReadSearch)
	alternative.Alternative = new(capability.Capability)
	*alternative.Alternative = capability.DACOverride
	doubtful := used(chown)
	doubtful.Unsure = "the kernel does not show it"
	var all []profile.UsePattern
	for _, c := range capability.DockerDefault().Sorted() {
		all = append(all, used(c))
	}

	for _, test := range []struct {
		name    string
		subject Subject
		profile *profile.Profile
		change  func(*Thresholds)
		want    findings.Status
		reason  string
		certain bool // the remedy
		list    string
	}{
		{"static, the default", web(nil), nil, nil, findings.Fail, "all 14", false, "?"},
		{"static, privileged", privileged, nil, nil, findings.Fail, "privileged", false, "?"},
		{"static, something dropped", web(func(h *container.HostConfig, _ *container.Config) { h.CapDrop = []string{"NET_RAW"} }), nil, nil, findings.Manual, "audit does not read", false, "?"},
		{"static, dropped and added again", web(func(h *container.HostConfig, _ *container.Config) {
			h.CapDrop, h.CapAdd = []string{"NET_RAW"}, []string{"NET_RAW"}
		}), nil, nil, findings.Fail, "all 14", false, "?"},
		{"static, more than the default", web(func(h *container.HostConfig, _ *container.Config) { h.CapAdd = []string{"ALL"} }), nil, nil, findings.Fail, "all 14", false, "?"},
		{"static, nothing", granted(), nil, nil, findings.Pass, "no capability", false, "?"},
		{"an unknown capability", granted("NO_SUCH"), with(long, nil), nil, findings.Manual, "its grants are unknown", false, "?"},

		{"never observed", granted("CHOWN"), &profile.Profile{}, nil, findings.Manual, "never observed", false, "?"},
		{"another container's profile", granted("CHOWN"), with(long, func(r *profile.Run) { r.Container.Name = "db" }), nil, findings.Manual, "never observed", false, "?"},
		{"another image's profile", granted("CHOWN"), with(long, func(r *profile.Run) { r.Container.Image = "nginx:1" }), nil, findings.Manual, "never observed", false, "?"},
		{"another build's profile", granted("CHOWN"), with(long, func(r *profile.Run) { r.Container.ImageID = "sha256:2" }), nil, findings.Manual, "another build", false, "?"},
		{"only the runtime setup was seen", granted("CHOWN"), with(long, func(r *profile.Run) { r.Started = nil }), nil, findings.Manual, "saw only the runtime setup of the container, not its workload", false, "?"},

		{"only used capabilities", granted("CHOWN"), with(long, nil), nil, findings.Pass, "saw in use: CHOWN", false, "?"},
		{"only used capabilities, observed for a second", granted("CHOWN"), with(ran(time.Second, used(chown)), nil), nil, findings.Pass, "saw in use: CHOWN", false, "?"},
		{"only used capabilities, observed incompletely", granted("CHOWN"), with(long, func(r *profile.Run) { r.Incomplete = []string{"full"} }), nil, findings.Pass, "", false, "?"},
		{"all of the default, used", web(nil), with(ran(time.Hour, all...), nil), nil, findings.Pass, "", false, "?"},
		{"a capability that may not be needed", granted("CHOWN"), with(ran(time.Hour, doubtful), nil), nil, findings.Manual, "CHOWN may not be needed", false, "?"},
		{"used although another one is sufficient", granted("CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH"), with(ran(time.Hour, used(chown), used(capability.DACOverride), alternative), nil), nil, findings.Pass, "", false, "?"},

		{"the default, mostly unused", web(nil), with(long, nil), nil, findings.Fail, "NET_RAW is granted and was never used", true, "CHOWN"},
		{"the default, observed too briefly", web(nil), with(ran(time.Second, used(chown)), nil), nil, findings.Fail, "observed for 1.0s", false, "CHOWN"},
		{"privileged, observed", privileged, with(long, nil), nil, findings.Fail, "privileged", false, "CHOWN"},
		{"unused", granted("CHOWN", "KILL"), with(long, nil), nil, findings.Fail, "KILL is granted and was never used", true, "CHOWN"},
		{"unused, observed too briefly", granted("CHOWN", "KILL"), with(ran(5*time.Minute, used(chown)), nil), nil, findings.Manual, "observed for 5m0s, less than the required 10m0s", false, "?"},
		{"risky and unused", granted("CHOWN", "KILL", "SYS_ADMIN"), with(ran(5*time.Minute, used(chown)), nil), nil, findings.Fail, "SYS_ADMIN (risky)", false, "CHOWN"},
		{"NET_RAW unused", granted("CHOWN", "NET_RAW"), with(ran(5*time.Minute, used(chown)), nil), nil, findings.Fail, "NET_RAW is granted and was never used", false, "CHOWN"},
		{"risky, observed too briefly", granted("CHOWN", "SYS_ADMIN"), with(ran(5*time.Second, used(chown)), nil), nil, findings.Manual, "observed for 5.0s", false, "?"},
		{"other thresholds", granted("CHOWN", "KILL"), with(ran(5*time.Second, used(chown)), nil), func(t *Thresholds) { t.Observed = time.Second }, findings.Fail, "KILL", true, "CHOWN"},
		{"more runs required", granted("CHOWN", "KILL"), with(long, nil), func(t *Thresholds) { t.Runs = 2 }, findings.Manual, "1 of its runs were observed, fewer than the required 2", false, "?"},

		{"the start was not seen", granted("CHOWN", "SYS_ADMIN"), with(long, func(r *profile.Run) { r.Existed = true }), nil, findings.Manual, "capmon did not see the start of the container", false, "?"},
		{"any start is accepted", granted("CHOWN", "SYS_ADMIN"), with(long, func(r *profile.Run) { r.Existed = true }), func(t *Thresholds) { t.EvenIfStartUnseen = true }, findings.Fail, "SYS_ADMIN", true, "CHOWN"},
		{"the default, the start not seen", web(nil), with(long, func(r *profile.Run) { r.Existed = true }), nil, findings.Fail, "capmon did not see the start of the container", false, "CHOWN"},
		{"an incomplete observation", granted("CHOWN", "SYS_ADMIN"), with(long, func(r *profile.Run) { r.Incomplete = []string{"the map was full"} }), nil, findings.Manual, "incomplete: the map was full", false, "?"},
		{"programs that ended too soon", granted("CHOWN", "SYS_ADMIN"), with(long, func(r *profile.Run) { r.Unexamined = []string{"/bin/ping"} }), nil, findings.Manual, "/bin/ping", false, "?"},
		{"system calls not recorded", granted("CHOWN", "SYS_ADMIN"), with(long, func(r *profile.Run) { s := capability.Of(admin); r.Unwatched = &s }), nil, findings.Manual, "may require SYS_ADMIN", false, "?"},
		{"system calls not recorded, and another one unused", granted("CHOWN", "KILL", "SYS_ADMIN"), with(long, func(r *profile.Run) { s := capability.Of(admin); r.Unwatched = &s }), nil, findings.Fail, "KILL is granted and was never used", false, "CHOWN"},

		{"proved", granted("CHOWN"), proof(with(ran(time.Second, used(chown)), nil), capability.Of(chown), true, chown), nil, findings.Pass, "it needs each of its capabilities: CHOWN", false, "?"},
		{"more than proved", granted("CHOWN", "KILL"), proof(with(ran(time.Second, used(chown)), nil), capability.Of(chown), true, chown), nil, findings.Fail, "KILL is granted and proved unneeded", true, "CHOWN"},
		{"used and proved unneeded", granted("CHOWN", "NET_RAW"), proof(with(ran(time.Second, used(chown), used(raw)), nil), capability.Of(chown), true, chown, raw), nil, findings.Fail, "NET_RAW is granted and proved unneeded", true, "CHOWN"},
		{"needed although not observed", granted("CHOWN", "KILL"), proof(with(long, nil), capability.Of(chown, kill), true, chown, kill), nil, findings.Pass, "", false, "?"},
		{"sufficient, not proved needed", granted("CHOWN", "KILL"), proof(with(long, nil), capability.Of(chown, kill), false, chown, kill), nil, findings.Manual, "two runs disagreed", false, "?"},
		{"more was observed than tried", granted("CHOWN", "KILL"), proof(with(ran(time.Second, used(chown), used(kill)), nil), capability.Of(chown), true, chown), nil, findings.Pass, "", false, "?"},
	} {
		t.Run(test.name, func(t *testing.T) {
			options := Options{Profile: test.profile, Last: capability.CheckpointRestore, Thresholds: thresholds, Time: noon}
			if test.change != nil {
				test.change(&options.Thresholds)
			}
			c := Of([]Subject{test.subject}, options).Containers[0]
			if c.Status != test.want || !strings.Contains(strings.Join(c.Reasons, "; "), test.reason) || len(c.Reasons) == 0 {
				t.Errorf("%s, %q; want %s, %q", c.Status, c.Reasons, test.want, test.reason)
			}
			list := "?"
			if c.Remedy.List != nil {
				list = c.Remedy.List.String()
			}
			if list != test.list || c.Remedy.Certain != test.certain {
				t.Errorf("the remedy grants %s, certain: %v; want %s, %v", list, c.Remedy.Certain, test.list, test.certain)
			}
			if text := c.Remedy.Text(); (c.Status == findings.Pass) != (text == "") {
				t.Errorf("%s, and the remedy is %q", c.Status, text)
			}
		})
	}
}

// The uses and needs of one build of an image prove nothing about another build.
func TestBuildsAreAuditedSeparately(t *testing.T) {
	const chown, kill = capability.Chown, capability.Kill
	of := func(id, build string, after time.Duration, uses ...profile.UsePattern) profile.Run {
		run, started := ran(time.Hour, uses...), noon.Add(after)
		run.ID, run.Container.ImageID, run.Started, run.Ended = id, build, &started, started.Add(time.Hour)
		return run
	}
	this, before, after := of("1", "sha256:1", 0, used(chown)), of("2", "sha256:0", -time.Hour, used(kill)), of("3", "sha256:2", 2*time.Hour, used(kill))
	unknown := of("4", "", -time.Hour, used(chown))
	p := profile.New(this, before, after, unknown)
	audited := func(p profile.Profile) *ContainerResult {
		return Of([]Subject{granted("CHOWN", "KILL")}, Options{Profile: &p, Last: capability.CheckpointRestore, Thresholds: thresholds}).Containers[0]
	}
	c := audited(p)
	if o := c.Observation; o.Runs != 2 || o.Starts != 2 || o.Seconds != 7200 || o.Used != capability.Of(chown) || c.Status != findings.Fail {
		t.Errorf("%s, %+v", c.Status, o)
	}
	p = profile.New(this, before, after)
	p.Proofs = []profile.Proof{
		{ID: "its own", Time: noon, Container: this.Container, Set: capability.Of(chown), Works: true, Members: []profile.Member{{Capability: chown, Verdict: profile.Needed}}},
		{ID: "later", Time: noon.Add(time.Hour), Container: after.Container, Works: true, Members: []profile.Member{{Capability: chown, Verdict: profile.Unneeded}}},
	}
	if c := audited(p); !c.Observation.Proved || c.Observation.List != capability.Of(chown) {
		t.Errorf("%+v", c.Observation)
	}
	if c := audited(profile.New(before, after)); c.Status != findings.Manual || !strings.Contains(strings.Join(c.Reasons, "; "), "another build") {
		t.Errorf("%s, %q", c.Status, c.Reasons)
	}
}

// The grants of a privileged container end at what its engine has, and at what the kernel granted when it started. What
// the processes of a container that ran before the observation have left does not count.
func TestGrantsOfPrivilegedContainers(t *testing.T) {
	privileged := web(func(h *container.HostConfig, _ *container.Config) { h.Privileged = true })
	all, engine := capability.Known(capability.CheckpointRestore), capability.Known(capability.CheckpointRestore).Without(capability.SysResource)
	kernel := capability.Known(capability.AuditRead)
	started := func(r *profile.Run) { r.Container.ID, r.Grants.Kernel = privileged.Info.ID, &kernel }
	for name, test := range map[string]struct {
		profile  *profile.Profile
		bounding *capability.Set
		want     capability.Set
	}{
		"nothing is known":        {nil, nil, all},
		"the engine's process":    {nil, &engine, engine},
		"the start":               {with(ran(time.Hour), started), &engine, kernel.Intersect(engine)},
		"not the start":           {with(ran(time.Hour), func(r *profile.Run) { started(r); r.Existed = true }), nil, all},
		"not confirmed":           {with(ran(time.Hour), func(r *profile.Run) { started(r); r.Container.Unconfirmed = "forged" }), nil, all},
		"a container of its name": {with(ran(time.Hour), func(r *profile.Run) { started(r); r.Container.ID = strings.Repeat("c", 64) }), nil, all},
	} {
		options := Options{Profile: test.profile, Last: capability.CheckpointRestore, EngineBounding: test.bounding, Thresholds: thresholds, Time: noon}
		c := Of([]Subject{privileged}, options).Containers[0]
		if c.Status != findings.Fail || *c.Grants.Set != test.want {
			t.Errorf("%s: %s, granted %s; want %s", name, c.Status, names(*c.Grants.Set), names(test.want))
		}
	}
}

// What capmon cannot see makes the audit uncertain, until verify has proved the list.
func TestInvisibleUsesAreDoubts(t *testing.T) {
	shared := func(r *profile.Run) { r.SharesPIDs = true }
	p := with(ran(time.Hour, used(capability.Chown)), shared)
	audited := func(p *profile.Profile) *ContainerResult {
		return Of([]Subject{granted("CHOWN", "SYS_PTRACE")}, Options{Profile: p, Last: capability.CheckpointRestore, Thresholds: thresholds, Time: noon}).Containers[0]
	}
	c := audited(p)
	if text := strings.Join(c.Reasons, "; "); c.Status != findings.Manual || c.Remedy.Certain || !strings.Contains(text, "PID namespace") || strings.Contains(text, "never used") {
		t.Errorf("%s, certain: %v, %q", c.Status, c.Remedy.Certain, c.Reasons)
	}
	if c := audited(proof(p, capability.Of(capability.Chown), true, capability.Chown)); c.Status != findings.Fail || !c.Remedy.Certain {
		t.Errorf("with a proof: %s, %q", c.Status, c.Reasons)
	}
}

// A container that does not work never passes, because it may lack a capability.
func TestFailingContainersDoNotPass(t *testing.T) {
	moment := func(before time.Duration) string { return noon.Add(-before).Format(time.RFC3339Nano) }
	for name, test := range map[string]struct {
		state    container.State
		restarts int
		want     string
	}{
		"runs":                        {container.State{Running: true, StartedAt: moment(time.Second)}, 0, ""},
		"runs since it was restarted": {container.State{Running: true, StartedAt: moment(time.Hour)}, 3, ""},
		"was just restarted":          {container.State{Running: true, StartedAt: moment(time.Second)}, 3, "keeps restarting it (3 times)"},
		"waits to be restarted":       {container.State{Running: true, Restarting: true, ExitCode: 1, StartedAt: moment(time.Hour)}, 1, "after exit code 1"},
		"has failed":                  {container.State{ExitCode: 1}, 0, "ended with exit code 1"},
		"has ended with success":      {container.State{}, 0, ""},
		"was never started":           {container.State{StartedAt: "0001-01-01T00:00:00Z"}, 0, ""},
	} {
		subject := granted()
		subject.Settings.Container.State, subject.Settings.Container.RestartCount = &test.state, test.restarts
		c := Of([]Subject{subject}, Options{Time: noon, Last: capability.CheckpointRestore, Thresholds: thresholds}).Containers[0]
		want := findings.Pass
		if test.want != "" {
			want = findings.Manual
		}
		if c.Status != want || !strings.Contains(strings.Join(c.Reasons, "; "), test.want) {
			t.Errorf("%s: %s, %q", name, c.Status, c.Reasons)
		}
	}
}

// The commands that create a container again are left out until the observation is sufficient: the audit after the
// observation prints them.
func TestUncertainRemediesObserveFirst(t *testing.T) {
	c := Of([]Subject{web(nil)}, Options{Profile: with(ran(time.Second, used(capability.Chown)), nil), Last: capability.CheckpointRestore, Thresholds: thresholds}).Containers[0]
	var commands []string
	for line := range strings.SplitSeq(c.Remedy.Text(), "\n") {
		if !strings.HasPrefix(line, "#") {
			commands = append(commands, line)
		}
	}
	again := "docker stop web && docker rename web web-before && docker run --detach --name=web"
	if len(commands) != 2 || !strings.HasPrefix(commands[0], "capmon profile --save=./web.json -- sh -c '"+again) ||
		!strings.HasSuffix(commands[0], " nginx && sleep 600 && docker restart web'") || commands[1] != "capmon audit --profile=./web.json web" {
		t.Errorf("%q", commands)
	}
	if strings.Contains(c.Remedy.Text(), "#   docker run --detach --name=web") || !strings.Contains(c.Remedy.Text(), "#   capmon verify --test=TEST --save=./web.json -- docker run") {
		t.Error(c.Remedy.Text())
	}
}

// Commands that do not restore all settings of the container are comments, after a comment that lists these settings.
func TestRemediesThatLoseSettingsAreComments(t *testing.T) {
	for name, change := range map[string]func(*Subject){
		"nothing is lost":   nil,
		"its image is gone": func(s *Subject) { s.Settings.ImageGone = true },
		"an inline profile": func(s *Subject) {
			s.Settings.Container.HostConfig.SecurityOpt = []string{`seccomp={"defaultAction":"SCMP_ACT_ERRNO"}`}
		},
		"an unknown setting": func(s *Subject) { s.Settings.HostConfig = map[string]json.RawMessage{"Novelty": json.RawMessage("1")} },
	} {
		subject := web(nil)
		if change != nil {
			change(&subject)
		}
		c := Of([]Subject{subject}, Options{Profile: with(ran(time.Hour, used(capability.Chown)), nil), Last: capability.CheckpointRestore, Thresholds: thresholds}).Containers[0]
		text := c.Remedy.Text()
		before, rest, found := strings.Cut(text, "docker stop web\n")
		if !found || !c.Remedy.Certain || !strings.Contains(before, "# the new container does not have the data ") {
			t.Errorf("%s:\n%s", name, text)
		}
		live := strings.HasSuffix(before, "\n") && strings.HasPrefix(rest, "docker rename web web-before\ndocker run ")
		if live != (change == nil) || strings.Contains(before, "do not restore") != (change != nil) {
			t.Errorf("%s: runs: %v\n%s", name, live, text)
		}
		for line := range strings.SplitSeq(text, "\n") {
			if change != nil && !strings.HasPrefix(line, "#") {
				t.Errorf("%s: %s", name, line)
			}
		}
	}
}

// The arguments of the workload may look like options of docker run.
func TestProveCommandKeepsAllArguments(t *testing.T) {
	subject := web(func(_ *container.HostConfig, c *container.Config) { c.Cmd = []string{"tor", "--detach"} })
	for _, running := range []bool{true, false} {
		subject.Settings.Container.State.Running = running
		c := Of([]Subject{subject}, Options{WithValues: true, Profile: with(ran(time.Second), nil), Last: capability.CheckpointRestore, Thresholds: thresholds}).Containers[0]
		if prove := c.Remedy.Prove; strings.Count(prove, "--detach") != 1 || !strings.HasSuffix(prove, " nginx tor --detach") {
			t.Error(prove)
		}
	}
}

// verify rejects volumes and directories that an existing container uses.
func TestRemedyNamesSharedData(t *testing.T) {
	for _, test := range []struct {
		set    func(*container.HostConfig, *container.Config)
		shared bool
	}{
		{nil, false},
		{func(h *container.HostConfig, _ *container.Config) { h.Binds = []string{"data:/data"} }, true},
		{func(h *container.HostConfig, _ *container.Config) { h.VolumesFrom = []string{"db"} }, true},
		{func(h *container.HostConfig, _ *container.Config) {
			h.Mounts = []mount.Mount{{Type: mount.TypeBind, Source: "/srv", Target: "/srv"}}
		}, true},
	} {
		c := Of([]Subject{web(test.set)}, Options{WithValues: true, Profile: with(ran(time.Second), nil), Last: capability.CheckpointRestore, Thresholds: thresholds}).Containers[0]
		text := c.Remedy.Text()
		if !strings.Contains(text, "capmon verify") || strings.Contains(text, "verify rejects volumes and directories that an existing container uses") != test.shared {
			t.Errorf("shared: %v\n%s", test.shared, text)
		}
	}
}

func TestSwarmServicesAreUpdatedAsServices(t *testing.T) {
	labels := map[string]string{"com.docker.swarm.service.name": "www"}
	subject := web(func(_ *container.HostConfig, c *container.Config) { c.Labels = labels })
	subject.Info.Name = "www.1.x"
	p := with(ran(time.Hour, used(capability.Chown)), func(r *profile.Run) { r.Container.Labels, r.Container.Name = labels, "www.2.y" })
	c := Of([]Subject{subject}, Options{Profile: p, Last: capability.CheckpointRestore, Thresholds: thresholds}).Containers[0]
	want := "docker service update --cap-drop=RESET --cap-drop=ALL --cap-add=RESET --cap-add=CHOWN www"
	if c.Service != "www" || c.Remedy.Service != want || len(c.Remedy.Run) > 0 || !strings.HasSuffix(c.Remedy.Text(), want) {
		t.Errorf("%+v", c.Remedy)
	}
}

func TestComposeServicesAreChangedInTheirFile(t *testing.T) {
	labels := map[string]string{
		"com.docker.compose.project": "shop", "com.docker.compose.service": "web", "com.docker.compose.project.working_dir": "/srv/it's",
		"com.docker.compose.project.config_files":     "/srv/it's/a.yaml,/srv/it's/b.yaml",
		"com.docker.compose.project.environment_file": "/srv/it's/.env,/srv/more.env",
	}
	options := Options{Profile: with(ran(time.Hour, used(capability.Chown)), nil), Last: capability.CheckpointRestore, Thresholds: thresholds}
	subject := web(func(h *container.HostConfig, c *container.Config) { c.Labels, h.Privileged = labels, true })
	remedy := Of([]Subject{subject}, options).Containers[0].Remedy
	lines := []string{"services:", "  web:", "    cap_drop: [ALL]", "    cap_add: [CHOWN]", "    privileged: false"}
	up := `docker compose --project-name=shop '--project-directory=/srv/it'\''s' '--env-file=/srv/it'\''s/.env' --env-file=/srv/more.env '--file=/srv/it'\''s/a.yaml' '--file=/srv/it'\''s/b.yaml' up --detach web`
	if !slices.Equal(remedy.Compose, lines) || remedy.Up != up {
		t.Errorf("%q\n%s", remedy.Compose, remedy.Up)
	}
	// docker compose up does not start again what docker compose run has started.
	labels["com.docker.compose.oneoff"] = "True"
	if c := Of([]Subject{subject}, options).Containers[0]; c.Compose != nil || len(c.Remedy.Run) == 0 {
		t.Errorf("%+v", c.Remedy)
	}
	labels["com.docker.compose.oneoff"] = "False"
	// Any user can set any label.
	labels["com.docker.compose.service"] = "web\n    privileged: true"
	if c := Of([]Subject{subject}, options).Containers[0]; c.Compose != nil || len(c.Remedy.Run) == 0 {
		t.Errorf("%+v", c.Remedy)
	}
}

// Package alternatives tests the hints themselves.
func TestHintsUseThePresentNetworkMode(t *testing.T) {
	bind := used(capability.NetBindService)
	bind.Call = "bind(AF_INET, port 80)"
	hint := func(network container.NetworkMode) string {
		subject := web(func(h *container.HostConfig, _ *container.Config) { h.NetworkMode = network })
		c := Of([]Subject{subject}, Options{Profile: with(ran(time.Hour, bind), nil), Last: capability.CheckpointRestore, Thresholds: thresholds}).Containers[0]
		if len(c.Hints) == 0 {
			t.Fatal("there is no hint")
		}
		return c.Hints[0]
	}
	const flag = "--sysctl=net.ipv4.ip_unprivileged_port_start=80"
	if own, hosts := hint("bridge"), hint("host"); !strings.Contains(own, flag) || strings.Contains(hosts, flag) || !strings.Contains(hosts, "the host's network") {
		t.Errorf("%q and %q", own, hosts)
	}
}

func TestRelatedRules(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*container.HostConfig, *container.Config)
		engine []string
		want   string
	}{
		{"nothing set", nil, nil, "CIS-5.26"},
		{"privileged", func(h *container.HostConfig, _ *container.Config) { h.Privileged = true }, nil, "CIS-5.5 CIS-5.22 CIS-5.26"},
		{"privileged with a profile", func(h *container.HostConfig, _ *container.Config) {
			h.Privileged, h.SecurityOpt = true, []string{"seccomp=builtin"}
		}, nil, "CIS-5.5 CIS-5.26"},
		{"the host's namespaces", func(h *container.HostConfig, _ *container.Config) {
			h.NetworkMode, h.PidMode, h.IpcMode, h.UTSMode, h.UsernsMode = "host", "host", "host", "host", "host"
		}, nil, "CIS-5.10 CIS-5.16 CIS-5.17 CIS-5.21 CIS-5.26 CIS-5.31"},
		{"no new privileges", func(h *container.HostConfig, _ *container.Config) { h.SecurityOpt = []string{"no-new-privileges"} }, nil, ""},
		{"no new privileges, the former spelling", func(h *container.HostConfig, _ *container.Config) { h.SecurityOpt = []string{"no-new-privileges:true"} }, nil, ""},
		{"no new privileges, disabled for the container", func(h *container.HostConfig, _ *container.Config) {
			h.SecurityOpt = []string{"no-new-privileges=false"}
		}, []string{"name=seccomp,profile=builtin", "name=no-new-privileges"}, "CIS-5.26"},
		{"no new privileges in the engine", nil, []string{"name=seccomp,profile=builtin", "name=no-new-privileges"}, ""},
		{"unconfined", func(h *container.HostConfig, _ *container.Config) { h.SecurityOpt = []string{"seccomp=unconfined"} }, nil, "CIS-5.22 CIS-5.26"},
		{"unconfined by the engine", nil, []string{"name=seccomp,profile=unconfined"}, "CIS-5.22 CIS-5.26"},
		{"an engine without seccomp", nil, []string{"name=apparmor"}, "CIS-5.22 CIS-5.26"},
	} {
		subject := web(test.change)
		if test.engine != nil {
			subject.Settings.Security = test.engine
		}
		a := Of([]Subject{subject}, Options{Last: capability.CheckpointRestore})
		var failed []string
		for _, r := range a.Containers[0].failedRelated() {
			failed = append(failed, r.Rule)
		}
		if got := strings.Join(failed, " "); got != test.want {
			t.Errorf("%s: %s fail, want %s", test.name, got, test.want)
		}
		a.Containers[0].Status = findings.Pass
		strict := a
		strict.Strict = true
		if a.Failed() || strict.Failed() != (test.want != "") {
			t.Errorf("%s: fails %v, strictly %v", test.name, a.Failed(), strict.Failed())
		}
	}
}
