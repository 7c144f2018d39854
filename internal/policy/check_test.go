package policy

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/compare"
	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/profile"
)

var saturday = time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)

func ptr[T any](value T) *T { return &value }

// run returns a run of web that used CHOWN, tried SYS_TIME and was denied, and has checks of classes that are not
// needs.
func run(changes ...func(*profile.Run)) profile.Run {
	defaults := capability.DockerDefault()
	r := profile.Run{
		ID: "observation/1", Observation: profile.Observation{ID: "observation", Start: saturday, End: saturday.Add(time.Hour)},
		Container: profile.Container{
			ID: strings.Repeat("0f", 32), Name: "shop-web-1", Image: "registry:5000/shop/web:1.2", ImageID: "sha256:01",
			Labels: map[string]string{"com.docker.compose.project": "shop", "com.docker.compose.service": "web", "team": "edge"},
		},
		Grants:  profile.Grants{Kernel: &defaults},
		Started: &saturday, Ended: saturday.Add(time.Minute), Incomplete: []string{},
		Uses: []profile.UsePattern{
			use(capability.Chown, classify.Required), use(capability.SysTime, classify.Denied),
			use(capability.NetRaw, classify.Irrelevant), use(capability.NetAdmin, classify.Setup), use(capability.Setuid, classify.Redundant),
			use(capability.SysAdmin, classify.Tolerated), use(capability.Kill, classify.OtherCredential), use(capability.Setgid, classify.NestedUserns),
		},
	}
	for _, change := range changes {
		change(&r)
	}
	return r
}

func use(c capability.Capability, class classify.Class) profile.UsePattern {
	return profile.UsePattern{Capability: c, Class: class, Granted: class != classify.Denied && class != classify.Tolerated, Program: "sh", Call: "call", Site: "site", Count: 1, First: saturday, Last: saturday}
}

func using(uses ...profile.UsePattern) func(*profile.Run) {
	return func(r *profile.Run) { r.Uses = uses }
}

func whole() profile.Profile { return profile.New(run()) }

func parsed(t *testing.T, rules string) Policy {
	t.Helper()
	p, err := Parse("policy.yaml", []byte("version: 1\n"+rules))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func rule(text string) string { return "rules:\n  - {name: rule, " + text + "}\n" }

func violations(c ContainerResult) (all []string) {
	for _, v := range c.Violations {
		text := fmt.Sprintf("%s %s: %s", v.Kind, v.Capabilities, v.Text)
		if v.Unsure != "" {
			text += " UNSURE " + v.Unsure
		}
		all = append(all, text)
	}
	return all
}

func TestViolations(t *testing.T) {
	dac := use(capability.DACOverride, classify.Required)
	dac.Alternative = ptr(capability.DACReadSearch)
	perf := use(capability.SysAdmin, classify.Required)
	perf.Alternative = ptr(capability.Perfmon)
	search := use(capability.DACReadSearch, classify.Required)
	unsureUse := use(capability.Chown, classify.Required)
	unsureUse.Unsure = "a doubt"
	proof := func(set capability.Set, verdicts map[capability.Capability]profile.Verdict, change ...func(*profile.Proof)) profile.Proof {
		p := profile.Proof{ID: "proof", Container: run().Container, Set: set, Works: true}
		for c, verdict := range verdicts {
			p.Members = append(p.Members, profile.Member{Capability: c, Verdict: verdict})
		}
		for _, f := range change {
			f(&p)
		}
		return p
	}
	for _, test := range []struct {
		name, rule string
		run        profile.Run
		proof      []profile.Proof
		want       []string
	}{
		{name: "used and denied", rule: "deny: [CHOWN]", run: run(), want: []string{"used CHOWN: the container uses CHOWN; the rule denies CHOWN"}},
		{name: "soft", rule: "deny: [CHOWN]", run: run(using(use(capability.Chown, classify.Soft))), want: []string{"used CHOWN: the container uses CHOWN; the rule denies CHOWN"}},
		{name: "implicit", rule: "deny: [CHOWN]", run: run(using(use(capability.Chown, classify.Implicit))), want: []string{"used CHOWN: the container uses CHOWN; the rule denies CHOWN"}},
		{name: "unsure", rule: "deny: [CHOWN]", run: run(using(unsureUse)), want: []string{"used CHOWN: the container uses CHOWN; the rule denies CHOWN UNSURE it may not be needed: a doubt"}},
		{name: "tried and denied by the rule", rule: "deny: [SYS_TIME]", run: run(), want: []string{"denied SYS_TIME: the container tried SYS_TIME, and the kernel denied it; the rule denies SYS_TIME"}},
		{name: "denied, which the rule ignores", rule: "deny: [ALL], ignore-denied: true", run: run(), want: []string{"used CHOWN: the container uses CHOWN; the rule denies CHOWN"}},
		{name: "classes that are not needs", rule: "deny: [NET_RAW, NET_ADMIN, SETUID, SYS_ADMIN, KILL, SETGID]", run: run()},
		{name: "granted, but not used", rule: "deny: [MKNOD]", run: run()},
		{name: "allowed", rule: "allow: [chown, CAP_SYS_TIME, KILL]", run: run()},
		{
			name: "nothing allowed", rule: "allow: []", run: run(),
			want: []string{"used CHOWN: the container uses CHOWN; the rule does not allow CHOWN", "denied SYS_TIME: the container tried SYS_TIME, and the kernel denied it; the rule does not allow SYS_TIME"},
		},
		{name: "denied and allowed", rule: "deny: [CHOWN], allow: [CHOWN, SYS_TIME]", run: run(), want: []string{"used CHOWN: the container uses CHOWN; the rule denies CHOWN"}},
		{name: "an allowed capability would be sufficient", rule: "allow: [DAC_READ_SEARCH]", run: run(using(dac))},
		{name: "an allowed capability would not always be sufficient", rule: "allow: [DAC_READ_SEARCH]", run: run(using(dac, use(capability.DACOverride, classify.Required))), want: []string{"used DAC_OVERRIDE: the container uses DAC_OVERRIDE; the rule does not allow DAC_OVERRIDE"}},
		{name: "a narrower capability would be sufficient", rule: "deny: [SYS_ADMIN]", run: run(using(perf)), want: []string{"used SYS_ADMIN: the container uses SYS_ADMIN; the rule denies SYS_ADMIN; PERFMON would be sufficient"}},
		{name: "a narrower, but dangerous capability would be sufficient", rule: "deny: [DAC_OVERRIDE]", run: run(using(dac)), want: []string{"used DAC_OVERRIDE: the container uses DAC_OVERRIDE; the rule denies DAC_OVERRIDE"}},
		{name: "denied, and another needed capability is sufficient", rule: "deny: [DAC_OVERRIDE]", run: run(using(dac, search)), want: []string{"used DAC_OVERRIDE: the container uses DAC_OVERRIDE; the rule denies DAC_OVERRIDE; other capabilities that the container needs are sufficient"}},
		{name: "not allowed, and another needed capability is sufficient", rule: "allow: [DAC_READ_SEARCH]", run: run(using(dac, search))},
		{
			name: "proved unneeded", rule: "deny: [CHOWN], allow: [SYS_TIME]", run: run(),
			proof: []profile.Proof{proof(0, map[capability.Capability]profile.Verdict{capability.Chown: profile.Unneeded})},
		},
		{
			name: "a need that only a proof shows", rule: "allow: [CHOWN, SYS_TIME]", run: run(),
			proof: []profile.Proof{proof(capability.Of(capability.Chown, capability.Setfcap), map[capability.Capability]profile.Verdict{capability.Chown: profile.Needed})},
			want:  []string{"used SETFCAP: capmon verify has shown that the container needs SETFCAP; the rule does not allow SETFCAP"},
		},
		{name: "granted and denied", rule: "deny-granted: [MKNOD, NET_RAW, SYS_ADMIN]", run: run(), want: []string{"granted MKNOD,NET_RAW: MKNOD, NET_RAW are granted, which the rule denies"}},
		{name: "not granted", rule: "deny-granted: [SYS_TIME]", run: run()},
		{name: "the default is granted", rule: "allow-granted: [DEFAULT]", run: run()},
		{
			name: "more than the default is granted", rule: "allow-granted: [DEFAULT]",
			run:  run(func(r *profile.Run) { r.Grants.Kernel = ptr(capability.DockerDefault().With(capability.SysTime)) }),
			want: []string{"granted SYS_TIME: SYS_TIME is granted, which the rule does not allow"},
		},
		{
			name: "the grants are unknown", rule: "deny-granted: [SYS_TIME]", run: run(func(r *profile.Run) { r.Grants = profile.Grants{} }),
			want: []string{"unknown : the rule restricts the grants, which are unknown"},
		},
		{name: "the grants are unknown, and not restricted", rule: "allow: [CHOWN, SYS_TIME]", run: run(func(r *profile.Run) { r.Grants = profile.Grants{} })},
		{name: "as many unused as the rule allows", rule: "max-unused: 13", run: run()},
		{
			name: "more unused", rule: "max-unused: 1", run: run(func(r *profile.Run) {
				r.Grants.Kernel = ptr(capability.Of(capability.Chown, capability.Kill, capability.NetRaw))
			}),
			want: []string{"unused KILL,NET_RAW: 2 of 3 granted capabilities were never used; the rule allows 1: KILL, NET_RAW"},
		},
		{
			name: "more unused, and incomplete", rule: "max-unused: 0", run: run(func(r *profile.Run) {
				r.Grants.Kernel, r.Incomplete = ptr(capability.Of(capability.Chown, capability.Kill)), []string{"3 were lost"}
			}),
			want: []string{"unused KILL: 1 of 2 granted capabilities were never used; the rule allows 0: KILL UNSURE incomplete: 3 were lost"},
		},
		{name: "complete", rule: "complete: true, whole-run: true", run: run()},
		{
			name: "incomplete", rule: "complete: true", run: run(func(r *profile.Run) { r.Incomplete = []string{"3 were lost"} }),
			want: []string{"incomplete : capmon did not record everything: incomplete: 3 were lost"},
		},
		{
			name: "never started", rule: "complete: true", run: run(func(r *profile.Run) { r.Started = nil }),
			want: []string{"incomplete : capmon did not record everything: capmon saw only the runtime setup of the container, not its workload"},
		},
		{
			name: "not from start to end", rule: "whole-run: true", run: run(func(r *profile.Run) { r.Existed, r.Running = true, true }),
			want: []string{"unwitnessed : capmon did not watch the whole run: the container was running before the observation began; the container was still running when the observation ended"},
		},
		{name: "no proof", rule: "proved: true", run: run(), want: []string{"unproved : the profile contains no proof of capmon verify"}},
		{
			name: "proved", rule: "proved: true", run: run(),
			proof: []profile.Proof{proof(capability.Of(capability.Chown), map[capability.Capability]profile.Verdict{capability.Chown: profile.Needed})},
		},
		{
			name: "proved of another image", rule: "proved: true", run: run(),
			proof: []profile.Proof{proof(0, nil, func(p *profile.Proof) { p.Container.ImageID = "sha256:02" })},
			want:  []string{"unproved : the proof of capmon verify is for another build of the image"},
		},
		{
			name: "a proof that failed", rule: "proved: true", run: run(), proof: []profile.Proof{proof(0, nil, func(p *profile.Proof) { p.Works = false })},
			want: []string{"unproved : the proof of capmon verify failed"},
		},
		{
			name: "more needs than the proof covers", rule: "proved: true", run: run(), proof: []profile.Proof{proof(0, nil)},
			want: []string{"unproved : the proof of capmon verify does not cover CHOWN"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := profile.New(test.run)
			p.Proofs = test.proof
			result := Check(p, parsed(t, rule(test.rule)), nil)
			if diff := cmp.Diff(test.want, violations(result.Containers[0])); diff != "" {
				t.Error(diff)
			}
			if result.Passed() != (len(test.want) == 0) {
				t.Errorf("passed: %v", result.Passed())
			}
			for _, v := range result.Containers[0].Violations {
				if v.Rule != "rule" || v.Line != 3 {
					t.Errorf("the violation is of %s in line %d", v.Rule, v.Line)
				}
				if (v.Kind == Used || v.Kind == Denied) && len(v.Uses) == 0 && !strings.Contains(v.Text, "SETFCAP") {
					t.Errorf("there are no uses: %+v", v)
				}
			}
		})
	}
}

// A workload may hide in a runtime setup that takes too long, so no rule allows it.
func TestALongSetupIsAlwaysAViolation(t *testing.T) {
	p := profile.New(run(using(use(capability.Chown, classify.LongSetup), use(capability.NetRaw, classify.LongSetup))))
	const want = "long-setup CHOWN,NET_RAW: CHOWN, NET_RAW are used after more than 30s of runtime setup, where a workload may hide"
	for name, policy := range map[string]Policy{
		"no policy":       {},
		"all allowed":     parsed(t, rule("allow: [ALL]")),
		"others denied":   parsed(t, rule("deny: [MKNOD]")),
		"no rule applies": parsed(t, rule("deny: [ALL], match: {service: [db]}")),
	} {
		result := Check(p, policy, nil)
		if diff := cmp.Diff([]string{want}, violations(result.Containers[0])); diff != "" || result.Passed() {
			t.Errorf("%s: passed: %v\n%s", name, result.Passed(), diff)
		}
		if uses := result.Containers[0].Violations[0].Uses; len(uses) != 2 {
			t.Errorf("%s: got the uses %+v", name, uses)
		}
	}
	result := Check(p, parsed(t, rule("deny: [CHOWN]")), nil)
	got := violations(result.Containers[0])
	if len(got) != 2 || !strings.HasPrefix(got[0], "used CHOWN") || got[1] != want {
		t.Errorf("denied as well: %q", got)
	}
}

func TestAProofOfOneBuildDoesNotCoverSeveralBuilds(t *testing.T) {
	other := run()
	other.ID, other.Container.ImageID = "another", "sha256:02"
	p := profile.New(run(), other)
	latest := p.Runs[1].Container
	p.Proofs = []profile.Proof{{ID: "proof", Container: latest, Works: true, Members: []profile.Member{{Capability: capability.Chown, Verdict: profile.Unneeded}}}}
	result := Check(p, parsed(t, rule("proved: true, deny: [CHOWN]")), nil)
	want := []string{
		"used CHOWN: the container uses CHOWN; the rule denies CHOWN",
		"unproved : the proof of capmon verify is for one build of the image, but capmon observed several builds",
	}
	if diff := cmp.Diff(want, violations(result.Containers[0])); diff != "" {
		t.Error(diff)
	}
}

func TestSelectorsOfRules(t *testing.T) {
	swarm := run(func(r *profile.Run) {
		r.Container.Labels = map[string]string{"com.docker.swarm.service.name": "web"}
	})
	bare := run(func(r *profile.Run) { r.Container = profile.Container{ID: r.Container.ID} })
	redacted := run(func(r *profile.Run) { r.Container.Labels = map[string]string{"team": container.Redacted} })
	for _, test := range []struct {
		selectors string
		run       profile.Run
		want      bool
	}{
		{"complete: false", run(), true},
		{"match: {container: [shop-web-1]}", run(), true},
		{"match: {container: ['shop-*']}", run(), true},
		{"match: {container: [0f0f0f0f0f0f]}", run(), true},
		{"match: {container: [web]}", run(), false},
		{"match: {image: ['registry:5000/*/web']}", run(), true},
		{"match: {image: ['registry:5000/shop/web:1.?']}", run(), true},
		{"match: {image: [web]}", run(), false},
		{"match: {service: [web]}", run(), true},
		{"match: {service: ['w*']}", run(), true},
		{"match: {service: [web]}", swarm, true},
		{"match: {service: ['*']}", bare, false},
		{"match: {label: [team]}", run(), true},
		{"match: {label: ['team=e*']}", run(), true},
		{"match: {label: [team=core]}", run(), false},
		{"match: {label: [team]}", redacted, true},
		{"match: {label: [team=core]}", redacted, true}, // the unknown value may match
		{"match: {label: [team=core], container: [db]}", redacted, false},
		{"except: {label: [team=core]}", redacted, true},
		{"except: {label: [team]}", redacted, false},
		{"match: {service: [db, web], label: [team=edge]}", run(), true},
		{"match: {service: [web], label: [team=core]}", run(), false},
		{"except: {service: [web]}", run(), false},
		{"except: {service: [db]}", run(), true},
		{"match: {image: ['*/*/*']}, except: {container: ['*-1']}", run(), false},
		{"match: {image: ['*/*/*']}, except: {container: ['0*']}", run(), true}, // wildcards do not match IDs
		{"match: {image: ['*/*/*']}, except: {container: [0f0f0f0f0f0f]}", run(), false},
	} {
		got := Check(profile.New(test.run), parsed(t, rule("deny: [MKNOD], "+test.selectors)), nil)
		if applied := len(got.Containers[0].Rules) == 1; applied != test.want || len(got.Idle) == 0 != test.want {
			t.Errorf("%s: %v, want %v; idle %v", test.selectors, applied, test.want, got.Idle)
		}
	}
}

func TestIncompleteProfilesHaveNotes(t *testing.T) {
	other := "rules:\n  - {name: other, match: {service: [db]}, complete: true}\n"
	partial := profile.New(run(func(r *profile.Run) { r.Incomplete, r.Existed = []string{"3 were lost"}, true }))
	notes := []string{"incomplete: 3 were lost", "the container was running before the observation began"}
	for _, test := range []struct {
		name, policy string
		p            profile.Profile
		passed       bool
		notes        []string
	}{
		{"a container without a rule", other, whole(), true, []string{"no rule of the policy applies to the container"}},
		{"a container without a rule, which is denied", "unmatched: fail\n" + other, whole(), false, nil},
		{"an incomplete profile", rule("allow: [ALL]"), partial, false, notes},
		{"an incomplete profile, start ignored", "even-if-start-unseen: true\n" + rule("allow: [ALL]"), partial, true, notes},
		{"an incomplete profile, rule about grants", rule("allow-granted: [ALL]"), partial, true, notes},
	} {
		got := Check(test.p, parsed(t, test.policy), nil)
		if diff := cmp.Diff(test.notes, got.Containers[0].Notes); diff != "" || got.Passed() != test.passed {
			t.Errorf("%s: passed: %v %s", test.name, got.Passed(), diff)
		}
	}
}

// A container that did not start is not a violation, but it must not look like a container that passes.
func TestMissingContainersOfTheBaselineAreReported(t *testing.T) {
	database := run(func(r *profile.Run) {
		r.ID, r.Container = "observation/2", profile.Container{ID: "aa", Name: "db", Image: "postgres"}
	})
	comparison, err := compare.Profiles(profile.New(run(), database), whole(), compare.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got := Check(whole(), Policy{}, &comparison).Missing; !slices.Equal(got, []string{"db"}) {
		t.Errorf("%q", got)
	}
}

func TestNewNeedsViolateTheBaseline(t *testing.T) {
	baseline := profile.New(run(using(use(capability.Chown, classify.Required))))
	for _, test := range []struct {
		name string
		p    profile.Profile
		want []string
	}{
		{"nothing new", profile.New(run(using(use(capability.Chown, classify.Required), use(capability.NetRaw, classify.Redundant)))), nil},
		{"less", profile.New(run(using())), nil},
		{"new", profile.New(run(using(use(capability.NetRaw, classify.Soft)))), []string{"new NET_RAW: NET_RAW is needed, and was neither needed nor tried in the baseline"}},
		{"denied", profile.New(run()), []string{"new SYS_TIME: SYS_TIME was tried and denied, and was neither needed nor tried in the baseline"}},
		{
			"another container",
			profile.New(run(using()), run(func(r *profile.Run) {
				r.ID, r.Container = "observation/2", profile.Container{ID: "aa", Name: "db", Image: "postgres"}
			})),
			[]string{"new CHOWN: CHOWN is needed, and the container is not in the baseline", "new SYS_TIME: SYS_TIME was tried and denied, and the container is not in the baseline"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			comparison, err := compare.Profiles(baseline, test.p, compare.Options{})
			if err != nil {
				t.Fatal(err)
			}
			got := Check(test.p, Policy{}, &comparison)
			if diff := cmp.Diff(test.want, violations(got.Containers[len(got.Containers)-1])); diff != "" {
				t.Error(diff)
			}
		})
	}
}
