package compare

import (
	"fmt"
	"math/rand"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/profile"
)

var saturday = time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)

func ptr[T any](value T) *T { return &value }

type change func(*profile.Run)

// run returns a run of 90 seconds of a container with Docker's default grants.
func run(name, image string, changes ...change) profile.Run {
	defaults := capability.DockerDefault()
	r := profile.Run{
		ID:          "observation/" + name + image,
		Observation: profile.Observation{ID: "observation", Start: saturday, End: saturday.Add(time.Hour)},
		Container:   profile.Container{ID: strings.Repeat("0f", 32), Name: name, Image: image},
		Grants:      profile.Grants{Engine: &defaults, Kernel: &defaults, Permitted: &defaults},
		Started:     &saturday, Ended: saturday.Add(90 * time.Second), Incomplete: []string{}, Uses: []profile.UsePattern{},
	}
	for _, change := range changes {
		change(&r)
	}
	return r
}

func using(uses ...profile.UsePattern) change {
	return func(r *profile.Run) { r.Uses = uses }
}

func labelled(labels ...string) change {
	return func(r *profile.Run) {
		r.Container.Labels = make(map[string]string)
		for pair := range slices.Chunk(labels, 2) {
			r.Container.Labels[pair[0]] = pair[1]
		}
	}
}

func composed(project, service string) change {
	return labelled("com.docker.compose.project", project, "com.docker.compose.service", service)
}

func oneOff(project, service string) change {
	return labelled("com.docker.compose.project", project, "com.docker.compose.service", service, "com.docker.compose.oneoff", "True")
}

func in(engine string) change {
	return func(r *profile.Run) {
		r.Container.Engine, r.Container.ID, r.ID = engine, engine+r.Container.ID[len(engine):], engine+r.ID
	}
}

// of makes the container part of a pod of Kubernetes, whose name is that of the container without its last part.
func of(owner string) change {
	return func(r *profile.Run) {
		c := &r.Container
		c.Engine, c.Owner = "containerd", owner
		c.Namespace, c.PodName, _ = strings.Cut(path.Dir(c.Name), "/")
	}
}

func lasting(d time.Duration) change {
	return func(r *profile.Run) { r.Ended = r.Started.Add(d) }
}

func use(c capability.Capability, class classify.Class, texts ...string) profile.UsePattern {
	u := profile.UsePattern{Capability: c, Class: class, Granted: class != classify.Denied, Count: 1, First: saturday, Last: saturday}
	for i, text := range []*string{&u.Program, &u.Call, &u.Site} {
		if i < len(texts) {
			*text = texts[i]
		}
	}
	return u
}

func entry(u profile.UsePattern) profile.UsePattern { u.Entry = true; return u }

func either(u profile.UsePattern, other capability.Capability) profile.UsePattern {
	u.Alternative = &other
	return u
}

func compared(t *testing.T, before, after profile.Profile, options Options) Comparison {
	t.Helper()
	c, err := Profiles(before, after, options)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// pairs describes which containers were paired.
func pairs(c Comparison) (all []string) {
	name := func(s *profile.Summary) string {
		if s == nil {
			return "-"
		}
		if project, service := s.Container.ComposeService(); service != "" {
			return project + "/" + service + "@" + s.Container.Image
		}
		return nameOf(*s) + "@" + s.Container.Image
	}
	for _, each := range c.Containers {
		all = append(all, fmt.Sprintf("%s %s %s", name(each.Before), name(each.After), each.PairedBy))
	}
	slices.Sort(all)
	return all
}

func TestContainersArePaired(t *testing.T) {
	for _, test := range []struct {
		name          string
		before, after []profile.Run
		options       Options
		want          []string
		wantErr       string
	}{
		{
			name:   "by name, whatever the image",
			before: []profile.Run{run("web", "app:1"), run("db", "postgres")}, after: []profile.Run{run("db", "postgres"), run("web", "app:2")},
			want: []string{"db@postgres db@postgres name", "web@app:1 web@app:2 name"},
		},
		{
			name:   "by the service of compose, in another project, and its replicas are one",
			before: []profile.Run{run("a-web-1", "app:1", composed("a", "web")), run("a-web-2", "app:1", composed("a", "web"))},
			after:  []profile.Run{run("b-web-1", "app:2", composed("b", "web"))},
			want:   []string{"a/web@app:1 b/web@app:2 service"},
		},
		{
			name:   "by the project first",
			before: []profile.Run{run("a-web-1", "app", composed("a", "web")), run("b-web-1", "app", composed("b", "web"))},
			after:  []profile.Run{run("b-web-1", "app", composed("b", "web")), run("a-web-1", "app", composed("a", "web"))},
			want:   []string{"a/web@app a/web@app service", "b/web@app b/web@app service"},
		},
		{
			name:   "by name in each engine",
			before: []profile.Run{run("web", "app:1"), run("web", "site:1", in("podman"))},
			after:  []profile.Run{run("web", "site:2", in("podman")), run("web", "app:2")},
			want:   []string{"web@app:1 web@app:2 name", "web@site:1 web@site:2 name"},
		},
		{
			name:   "by name in another engine, if each profile has one such container",
			before: []profile.Run{run("web", "app:1"), run("db", "postgres")},
			after:  []profile.Run{run("web", "app:2", in("podman")), run("db", "postgres")},
			want:   []string{"db@postgres db@postgres name", "web@app:1 web@app:2 name"},
		},
		{
			name:    "not by name if several engines have such a container",
			before:  []profile.Run{run("web", "app:1"), run("web", "site:1", in("podman"))},
			after:   []profile.Run{run("web", "app:2", in("containerd"))},
			wantErr: `cannot match the containers of name "web": the earlier profile has 0f0f0f0f0f0f, podman0f0f0f, the later profile has web`,
		},
		{
			name:   "by the owner of their pods, in another namespace",
			before: []profile.Run{run("a/web-7d9f-x2x4q/main", "app:1", of("Deployment/web")), run("a/web-7d9f-abcde/main", "app:1", of("Deployment/web"))},
			after:  []profile.Run{run("b/web-5c8b-fghij/main", "app:2", of("Deployment/web")), run("b/web-5c8b-fghij/proxy", "proxy", of("Deployment/web"))},
			want:   []string{"- Deployment/web/proxy@proxy ", "Deployment/web/main@app:1 Deployment/web/main@app:2 service"},
		},
		{
			name:   "static pods by name",
			before: []profile.Run{run("kube-system/etcd-node1/etcd", "etcd:1", of("Node"))},
			after:  []profile.Run{run("kube-system/etcd-node1/etcd", "etcd:2", of("Node"))},
			want:   []string{"kube-system/etcd-node1/etcd@etcd:1 kube-system/etcd-node1/etcd@etcd:2 name"},
		},
		{
			name:   "one-offs apart from their service",
			before: []profile.Run{run("a-web-1", "app:1", composed("a", "web")), run("a-web-run-1", "app:1", oneOff("a", "web"))},
			after:  []profile.Run{run("b-web-1", "app:2", composed("b", "web")), run("b-web-run-1", "app:2", oneOff("b", "web"))},
			want:   []string{"a/web@app:1 b/web@app:2 service", "a/web@app:1 b/web@app:2 service"},
		},
		{
			name:   "by the service of a swarm",
			before: []profile.Run{run("web.1.x", "app", labelled("com.docker.swarm.service.name", "web"))},
			after:  []profile.Run{run("web.1.y", "app", labelled("com.docker.swarm.service.name", "web"))},
			want:   []string{"web@app web@app service"},
		},
		{
			name:   "by the image without its tag, if each profile has one",
			before: []profile.Run{run("eager_curie", "app:1"), run("db", "postgres")}, after: []profile.Run{run("vain_bohr", "docker.io/library/app:2"), run("db", "postgres")},
			want: []string{"db@postgres db@postgres name", "eager_curie@app:1 vain_bohr@docker.io/library/app:2 image"},
		},
		{
			name:   "by being the only ones",
			before: []profile.Run{run("old", "apache")}, after: []profile.Run{run("new", "nginx")},
			want: []string{"old@apache new@nginx only"},
		},
		{
			name:   "not if there are others",
			before: []profile.Run{run("old", "apache"), run("db", "postgres")}, after: []profile.Run{run("new", "nginx"), run("db", "postgres")},
			want: []string{"- new@nginx ", "db@postgres db@postgres name", "old@apache - "},
		},
		{
			name:   "services with other names do not match, whatever their images",
			before: []profile.Run{run("p-a-1", "app", composed("p", "a")), run("p-b-1", "app", composed("p", "b"))},
			after:  []profile.Run{run("p-a-1", "app", composed("p", "a")), run("p-c-1", "app", composed("p", "c"))},
			want:   []string{"- p/c@app ", "p/a@app p/a@app service", "p/b@app - "},
		},
		{
			name:   "several of an image",
			before: []profile.Run{run("one", "app")}, after: []profile.Run{run("two", "app"), run("three", "app")},
			wantErr: `cannot match the containers of image "app": the earlier profile has one, the later profile has two, three`,
		},
		{
			name:   "several of a service",
			before: []profile.Run{run("a", "app", composed("a", "web"))}, after: []profile.Run{run("b", "app", composed("b", "web")), run("c", "app", composed("c", "web"))},
			wantErr: `cannot match the containers of service "web": the earlier profile has a/web, the later profile has b/web, c/web`,
		},
		{
			name:   "several of an image in one profile only",
			before: []profile.Run{run("db", "postgres")}, after: []profile.Run{run("one", "app"), run("two", "app"), run("db", "postgres")},
			want: []string{"- one@app ", "- two@app ", "db@postgres db@postgres name"},
		},
		{
			name:   "by choice",
			before: []profile.Run{run("one", "app")}, after: []profile.Run{run("two", "app"), run("three", "app")},
			options: Options{Choices: []Choice{{"one", "three"}}}, want: []string{"one@app three@app choice"},
		},
		{
			name:   "by choice, of a service with its project",
			before: []profile.Run{run("a", "app", composed("a", "web"))}, after: []profile.Run{run("b", "app", composed("b", "web")), run("c", "app", composed("c", "web"))},
			options: Options{Choices: []Choice{{"web", "c/web"}}}, want: []string{"a/web@app c/web@app choice"},
		},
		{
			name:   "by a choice that does not exist",
			before: []profile.Run{run("one\x1b", "app")}, after: []profile.Run{run("one", "app")},
			options: Options{Choices: []Choice{{"one", "one"}}}, wantErr: `the earlier profile has no container "one": it has one\x1b`,
		},
		{
			name:   "by a choice that matches several",
			before: []profile.Run{run("one", "app")}, after: []profile.Run{run("two", "app:1"), run("three", "app:2")},
			options: Options{Choices: []Choice{{"app", "app"}}}, wantErr: `the later profile has several containers "app": choose one of two, three`,
		},
		{
			name:   "as images",
			before: []profile.Run{run("one", "app:1")}, after: []profile.Run{run("two", "app:2"), run("three", "app:2")},
			options: Options{Images: true}, want: []string{"one@app:1 three@app:2 image"},
		},
		{name: "nothing with nothing"},
		{name: "nothing with something", after: []profile.Run{run("one", "app")}, want: []string{"- one@app "}},
	} {
		t.Run(test.name, func(t *testing.T) {
			for i := range test.after { // in the order given
				test.after[i].Started = ptr(saturday.Add(time.Duration(i) * time.Millisecond))
			}
			c, err := Profiles(profile.New(test.before...), profile.New(test.after...), test.options)
			if got := fmt.Sprint(err); err != nil && got != test.wantErr || err == nil && test.wantErr != "" {
				t.Fatalf("got %v, want %s", err, test.wantErr)
			}
			if diff := cmp.Diff(test.want, pairs(c)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestCapabilities(t *testing.T) {
	read := use(capability.DACOverride, classify.Required, "tar", "openat", "may_open")
	proof := func(set capability.Set, unneeded ...capability.Capability) func(*profile.Profile) {
		return func(p *profile.Profile) {
			members := []profile.Member{}
			for _, c := range set.Sorted() {
				members = append(members, profile.Member{Capability: c, Verdict: profile.Needed})
			}
			for _, c := range unneeded {
				members = append(members, profile.Member{Capability: c, Verdict: profile.Unneeded})
			}
			p.Proofs = []profile.Proof{{ID: "proof", Container: p.Runs[0].Container, Set: set, Works: true, Members: members}}
		}
	}
	for _, test := range []struct {
		name          string
		before, after []profile.UsePattern
		prove         [2]func(*profile.Profile)
		want          []string
		added, gone   capability.Set
	}{
		{
			name: "needed", before: []profile.UsePattern{use(capability.Chown, classify.Required)}, after: []profile.UsePattern{use(capability.Chown, classify.Soft), use(capability.NetRaw, classify.Implicit)},
			want: []string{"CHOWN needed → needed", "NET_RAW  → needed"}, added: capability.Of(capability.NetRaw),
		},
		{
			name: "classes that are not needs", before: nil,
			after: []profile.UsePattern{
				use(capability.Chown, classify.Irrelevant), use(capability.Setuid, classify.Redundant), use(capability.Kill, classify.Tolerated),
				use(capability.SysAdmin, classify.Setup), use(capability.Setgid, classify.NestedUserns), use(capability.NetRaw, classify.OtherCredential),
			},
		},
		{
			name: "denied", before: nil, after: []profile.UsePattern{use(capability.SysTime, classify.Denied)},
			want: []string{"SYS_TIME  → denied"}, added: capability.Of(capability.SysTime),
		},
		{
			name: "denied as before", before: []profile.UsePattern{use(capability.SysTime, classify.Denied)}, after: []profile.UsePattern{use(capability.SysTime, classify.Denied)},
			want: []string{"SYS_TIME denied → denied"},
		},
		{
			name: "denied before, needed now", before: []profile.UsePattern{use(capability.SysTime, classify.Denied)}, after: []profile.UsePattern{use(capability.SysTime, classify.Required)},
			want: []string{"SYS_TIME denied → needed"}, added: capability.Of(capability.SysTime),
		},
		{
			name: "needed before, denied now", before: []profile.UsePattern{use(capability.SysTime, classify.Required)}, after: []profile.UsePattern{use(capability.SysTime, classify.Denied)},
			want: []string{"SYS_TIME needed → denied"},
		},
		{
			name: "gone", before: []profile.UsePattern{use(capability.Chown, classify.Required), use(capability.Kill, classify.Denied)},
			want: []string{"CHOWN needed → ", "KILL denied → "}, gone: capability.Of(capability.Chown, capability.Kill),
		},
		{
			name: "observed again, and proved unneeded before", before: []profile.UsePattern{read}, prove: [2]func(*profile.Profile){proof(0, capability.DACOverride), nil}, after: []profile.UsePattern{read},
			want: []string{"DAC_OVERRIDE proved unneeded → needed"},
		},
		{
			name: "new, and proved unneeded", after: []profile.UsePattern{read}, prove: [2]func(*profile.Profile){nil, proof(0, capability.DACOverride)},
			want: []string{"DAC_OVERRIDE  → proved unneeded"},
		},
		{
			name: "a need that only a proof shows", prove: [2]func(*profile.Profile){nil, proof(capability.Of(capability.Setfcap))},
			want: []string{"SETFCAP  → needed"}, added: capability.Of(capability.Setfcap),
		},
		{
			name:   "the other one of two sufficient capabilities",
			before: []profile.UsePattern{either(read, capability.DACReadSearch), use(capability.DACReadSearch, classify.Required)},
			after:  []profile.UsePattern{read}, want: []string{"DAC_OVERRIDE  → needed", "DAC_READ_SEARCH needed → "},
			added: capability.Of(capability.DACOverride), gone: capability.Of(capability.DACReadSearch),
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			sides := [2]profile.Profile{profile.New(run("web", "app", using(test.before...))), profile.New(run("web", "app", using(test.after...)))}
			for i, prove := range test.prove {
				if prove != nil {
					prove(&sides[i])
				}
			}
			c := compared(t, sides[0], sides[1], Options{})
			var got []string
			for _, each := range c.Containers[0].Capabilities {
				got = append(got, fmt.Sprintf("%s %s → %s", each.Capability, each.Before, each.After))
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
			if c.Containers[0].New() != test.added || c.Containers[0].Gone() != test.gone || (len(c.New()) > 0) != !test.added.Empty() {
				t.Errorf("new %s, gone %s; want %s and %s", c.Containers[0].New(), c.Containers[0].Gone(), test.added, test.gone)
			}
		})
	}
}

func TestUsesAreMatchedWithTheMostSimilarOnes(t *testing.T) {
	base := use(capability.Chown, classify.Required, "chown", "chown", "setattr_prepare")
	changed := func(f func(*profile.UsePattern)) profile.UsePattern {
		u := base
		f(&u)
		return u
	}
	for _, test := range []struct {
		name          string
		before, after []profile.UsePattern
		want          []string
	}{
		{"the same", []profile.UsePattern{base}, []profile.UsePattern{base}, []string{"same []"}},
		{"counts do not matter", []profile.UsePattern{base}, []profile.UsePattern{changed(func(u *profile.UsePattern) { u.Count = 7; u.User = 3 })}, []string{"same []"}},
		{"class", []profile.UsePattern{base}, []profile.UsePattern{changed(func(u *profile.UsePattern) { u.Class = classify.Redundant })}, []string{"changed [class]"}},
		{"denied", []profile.UsePattern{base}, []profile.UsePattern{changed(func(u *profile.UsePattern) { u.Class, u.Granted = classify.Denied, false })}, []string{"changed [class granted]"}},
		{"program", []profile.UsePattern{base}, []profile.UsePattern{changed(func(u *profile.UsePattern) { u.Program = "install" })}, []string{"changed [program]"}},
		{"call", []profile.UsePattern{base}, []profile.UsePattern{changed(func(u *profile.UsePattern) { u.Call = "fchownat" })}, []string{"changed [call]"}},
		{"site", []profile.UsePattern{base}, []profile.UsePattern{changed(func(u *profile.UsePattern) { u.Site = "chown_common" })}, []string{"changed [site]"}},
		{"all but the program", []profile.UsePattern{base}, []profile.UsePattern{changed(func(u *profile.UsePattern) { u.Call, u.Site = "a", "b" })}, []string{"new []", "gone []"}},
		{"another capability", []profile.UsePattern{base}, []profile.UsePattern{changed(func(u *profile.UsePattern) { u.Capability = capability.Fowner })}, []string{"new []", "gone []"}},
		{
			"the most similar use is matched, the other is new",
			[]profile.UsePattern{base},
			[]profile.UsePattern{changed(func(u *profile.UsePattern) { u.Program = "install" }), base}, []string{"new []", "same []"},
		},
		{
			"each is matched once",
			[]profile.UsePattern{base, changed(func(u *profile.UsePattern) { u.Program = "a" })},
			[]profile.UsePattern{changed(func(u *profile.UsePattern) { u.Program = "b" })}, []string{"changed [program]", "gone []"},
		},
		{
			"the entrypoint is the same under another runtime",
			[]profile.UsePattern{entry(base)}, []profile.UsePattern{entry(changed(func(u *profile.UsePattern) { u.Program = "crun" }))}, []string{"same []"},
		},
		{"runtime setup is left out", []profile.UsePattern{changed(func(u *profile.UsePattern) { u.Class = classify.Setup })}, nil, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got []string
			for _, u := range uses(test.before, test.after) {
				got = append(got, fmt.Sprint(u.Change, " ", u.Fields))
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestReasonsWhyAComparisonIsUnsure(t *testing.T) {
	before := run("web", "app", using(use(capability.Chown, classify.Required)))
	for _, test := range []struct {
		name  string
		after []profile.Run
		want  string // of GoneUnsure
	}{
		{"as long", []profile.Run{run("web", "app")}, ""},
		{"half as long", []profile.Run{run("web", "app", lasting(45*time.Second))}, ""},
		{"less than half as long", []profile.Run{run("web", "app", lasting(44*time.Second))}, "watched the container for 44s, in the other profile for 1m30s"},
		{"incomplete", []profile.Run{run("web", "app", func(r *profile.Run) { r.Incomplete = []string{"3 were lost"} })}, "incomplete: 3 were lost"},
		{"existed", []profile.Run{run("web", "app", func(r *profile.Run) { r.Existed = true })}, "running before the observation began"},
		{"running", []profile.Run{run("web", "app", func(r *profile.Run) { r.Running = true })}, "still running"},
		{"never started", []profile.Run{run("web", "app", func(r *profile.Run) { r.Started = nil })}, "saw only the runtime setup of the container, not its workload"},
		{"unexamined", []profile.Run{run("web", "app", func(r *profile.Run) { r.Unexamined = []string{"/bin/x"} })}, "/bin/x"},
		{"unwatched", []profile.Run{run("web", "app", func(r *profile.Run) { r.Unwatched = ptr(capability.Of(capability.SysNice)) })}, "SYS_NICE"},
		{"more runs", []profile.Run{run("web", "app"), run("web", "app", func(r *profile.Run) { r.ID = "observation/2" })}, ""},
		{"not in the later profile", []profile.Run{run("db", "postgres"), run("other", "app2")}, "the container is not in the later profile"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := compared(t, profile.New(before), profile.New(test.after...), Options{})
			last := c.Containers[len(c.Containers)-1]
			if got := strings.Join(last.GoneUnsure, "; "); !strings.Contains(got, test.want) || test.want == "" && got != "" {
				t.Errorf("got %q, want %q", got, test.want)
			}
			if last.After == nil {
				return
			}
			if test.name == "more runs" {
				test.want = "capmon saw fewer runs of the container: 1 instead of 2"
				if got := strings.Join(last.NewUnsure, "; "); !strings.Contains(got, test.want) {
					t.Errorf("got %q, want %q", got, test.want)
				}
			}
			back := compared(t, profile.New(test.after...), profile.New(before), Options{}).Containers[0]
			if diff := cmp.Diff(last.GoneUnsure, back.NewUnsure); diff != "" {
				t.Errorf("in the opposite direction: %s", diff)
			}
		})
	}
}

func TestGrantsAreCompared(t *testing.T) {
	before := run("web", "app", func(r *profile.Run) { r.Grants.Kernel = ptr(capability.Of(capability.Chown, capability.Kill)) })
	after := run("web", "app", func(r *profile.Run) { r.Grants.Kernel = ptr(capability.Of(capability.Chown, capability.NetRaw)) })
	c := compared(t, profile.New(before), profile.New(after), Options{}).Containers[0]
	if c.Granted != capability.Of(capability.NetRaw) || c.Withdrawn != capability.Of(capability.Kill) {
		t.Errorf("granted %s, withdrawn %s", c.Granted, c.Withdrawn)
	}
	unknown := run("web", "app", func(r *profile.Run) { r.Grants = profile.Grants{} })
	c = compared(t, profile.New(before), profile.New(unknown), Options{}).Containers[0]
	if !c.Granted.Empty() || !c.Withdrawn.Empty() {
		t.Errorf("granted %s, withdrawn %s, although one of the two is unknown", c.Granted, c.Withdrawn)
	}
}

// A profile compared with itself has nothing new, gone or changed.
func TestAProfileDoesNotDifferFromItself(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	for range 200 {
		var uses []profile.UsePattern
		for range r.Intn(20) {
			uses = append(uses, use(capability.Capability(r.Intn(3)), classify.Classes()[r.Intn(10)], fmt.Sprint("p", r.Intn(2)), fmt.Sprint("c", r.Intn(2)), fmt.Sprint("s", r.Intn(2))))
		}
		p := profile.New(run("web", "app", using(uses...)), run("db", "postgres", using(uses...)))
		for _, c := range compared(t, p, p, Options{}).Containers {
			if !c.New().Empty() || !c.Gone().Empty() || len(c.NewUnsure)+len(c.GoneUnsure) > 0 {
				t.Fatalf("%+v", c)
			}
			for _, u := range c.Uses {
				if u.Change != Same {
					t.Fatalf("%+v", u)
				}
			}
		}
	}
}

func TestParseChoice(t *testing.T) {
	for text, want := range map[string]Choice{"web": {"web", "web"}, "web-1=web-2": {"web-1", "web-2"}, "a/web=b/web": {"a/web", "b/web"}} {
		if got, err := ParseChoice(text); err != nil || got != want {
			t.Errorf("%s: got %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "=", "a=", "=b"} {
		if got, err := ParseChoice(text); err == nil {
			t.Errorf("%q: got %v", text, got)
		}
	}
}

// The creator of a pod chooses its labels, and an image has labels too.
func TestLabelsOfDockerDoNotIdentifyPods(t *testing.T) {
	service := func(r *profile.Run) {
		composed("shop", "db")(r)
		r.Container.Labels["com.docker.swarm.service.name"] = "db"
	}
	all := profile.Profile{Runs: []profile.Run{
		run("shop-db-1", "postgres:16", service, in("containerd")),
		run("shop/db-0/postgres", "postgres:16", service, of("")),
		run("evil/db-0/postgres", "postgres:16", service, of("")),
	}}
	if c := compared(t, profile.Profile{}, all, Options{}); len(c.Containers) != 3 {
		t.Errorf("compared %d containers, wanted 3", len(c.Containers))
	}
}

// A user can name a cgroup after a container.
func TestUnconfirmedCgroupsAreNotTheContainer(t *testing.T) {
	unconfirmed := func(r *profile.Run) {
		r.Container.Name, r.Container.Unconfirmed, r.ID = "", "/user.slice/docker-"+r.Container.ID+".scope", "other"
	}
	all := profile.Profile{Runs: []profile.Run{run("", ""), run("", "", unconfirmed)}}
	if c := compared(t, all, all, Options{}); len(c.Containers) != 2 {
		t.Errorf("compared %d containers, wanted 2", len(c.Containers))
	}
}
