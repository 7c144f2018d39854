package policy

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/compare"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/waiver"
)

// waived checks runs with a rule and waivers. A waiver consists of its selectors, capabilities and date.
func waived(t *testing.T, rules string, p profile.Profile, waivers ...string) Result {
	t.Helper()
	text := "waivers:\n"
	for _, w := range waivers {
		text += "  - {" + w + ", reason: it must, owner: team}\n"
	}
	file, err := waiver.Parse("waivers.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	result := Check(p, parsed(t, rules), nil)
	result.Waive(file.At(saturday))
	return result
}

const (
	web    = `container: "shop-*"`
	valid  = ", expires: 2027-03-31"
	over   = ", expires: 2026-07-31"
	digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
)

// The violations are described by their kinds and capabilities.
func TestWaivedViolations(t *testing.T) {
	granted := func(set capability.Set) func(*profile.Run) { return func(r *profile.Run) { r.Grants.Kernel = &set } }
	three := run(granted(capability.Of(capability.Chown, capability.Kill, capability.NetRaw)))
	for _, test := range []struct {
		name, rule, waiver string
		run                profile.Run
		fails, waived      []string
	}{
		{"used", "deny: [CHOWN]", web + ", capabilities: [CHOWN]" + valid, run(), nil, []string{"used CHOWN"}},
		{"used, not covered", "deny: [CHOWN]", web + ", capabilities: [KILL]" + valid, run(), []string{"used CHOWN"}, nil},
		{"denied", "deny: [SYS_TIME]", web + ", capabilities: [SYS_TIME]" + valid, run(), nil, []string{"denied SYS_TIME"}},
		{"one of two", "allow: []", web + ", capabilities: [SYS_TIME]" + valid, run(), []string{"used CHOWN"}, []string{"denied SYS_TIME"}},
		{"both", "allow: []", web + ", capabilities: [ALL]" + valid, run(), nil, []string{"used CHOWN", "denied SYS_TIME"}},
		{"granted", "deny-granted: [MKNOD, NET_RAW]", web + ", capabilities: [MKNOD, NET_RAW]" + valid, run(), nil, []string{"granted MKNOD,NET_RAW"}},
		{"granted, covered in part", "deny-granted: [MKNOD, NET_RAW]", web + ", capabilities: [NET_RAW]" + valid, run(), []string{"granted MKNOD,NET_RAW"}, nil},
		{"unused", "max-unused: 0", web + ", capabilities: [KILL, NET_RAW]" + valid, three, nil, []string{"unused KILL,NET_RAW"}},
		{"unused, covered in part", "max-unused: 0", web + ", capabilities: [KILL]" + valid, three, []string{"unused KILL,NET_RAW"}, nil},
		{"unused, and the rule allows the rest", "max-unused: 1", web + ", capabilities: [KILL]" + valid, three, nil, []string{"unused KILL,NET_RAW"}},
		{"unused, and the waiver covers none of them", "max-unused: 1", web + ", capabilities: [CHOWN]" + valid, three, []string{"unused KILL,NET_RAW"}, nil},
		{"expired", "deny: [CHOWN]", web + ", capabilities: [CHOWN]" + over, run(), []string{"used CHOWN"}, nil},
		{"of others", "deny: [CHOWN]", "container: db, capabilities: [CHOWN]" + valid, run(), []string{"used CHOWN"}, nil},
		{"of an image", "deny: [CHOWN]", `image: "registry:5000/shop/web", capabilities: [CHOWN]` + valid, run(), nil, []string{"used CHOWN"}},

		{"the start was not seen", "deny: [CHOWN]", web + ", capabilities: [ALL]" + valid, run(func(r *profile.Run) { r.Existed = true }), []string{"incomplete "}, []string{"used CHOWN"}},
		{"incomplete", "complete: true", web + ", capabilities: [ALL]" + valid, run(func(r *profile.Run) { r.Incomplete = []string{"3 were lost"} }), []string{"incomplete "}, nil},
		{"unwitnessed", "whole-run: true", web + ", capabilities: [ALL]" + valid, run(func(r *profile.Run) { r.Running = true }), []string{"unwitnessed "}, nil},
		{"unproved", "proved: true", web + ", capabilities: [ALL]" + valid, run(), []string{"unproved "}, nil},
		{"unknown grants", "deny-granted: [ALL]", web + ", capabilities: [ALL]" + valid, run(func(r *profile.Run) { r.Grants = profile.Grants{} }), []string{"unknown "}, nil},
		{"a long setup", "deny: [KILL]", web + ", capabilities: [ALL]" + valid, run(using(use(capability.Chown, classify.LongSetup))), []string{"long-setup CHOWN"}, nil},
		{"no rule", "deny: [ALL], match: {service: [db]}", web + ", capabilities: [ALL]" + valid, run(), []string{"unmatched "}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			result := waived(t, "unmatched: fail\n"+rule(test.rule), profile.New(test.run), test.waiver)
			kinds := func(violations []Violation) (all []string) {
				for _, v := range violations {
					all = append(all, string(v.Kind)+" "+v.Capabilities.String())
				}
				return all
			}
			c := result.Containers[0]
			if diff := cmp.Diff([][]string{test.fails, test.waived}, [][]string{kinds(c.Violations), kinds(c.Waived)}); diff != "" {
				t.Error(diff)
			}
			passing := 0
			if len(test.fails) == 0 {
				passing = 1
			}
			if result.Passed() != (passing == 1) || result.PassingWithWaivers() != passing {
				t.Errorf("passed: %v, %d with waivers", result.Passed(), result.PassingWithWaivers())
			}
			for _, v := range c.Waived {
				if len(v.Waivers.Valid) != 1 || v.Text == "" {
					t.Errorf("%+v", v)
				}
			}
		})
	}
}

// A failure names the waivers that cover only a part of it, and those that have expired.
func TestViolationsListTheirWaivers(t *testing.T) {
	result := waived(t, rule("deny-granted: [MKNOD, NET_RAW]"), whole(), web+", capabilities: [NET_RAW]"+valid, web+", capabilities: [ALL]"+over)
	want := []string{"waived until 2027-03-31: NET_RAW, accepted by team: it must  [waivers.yaml:2]",
		"the waiver expired on 2026-07-31, 1 day ago: ALL, accepted by team: it must  [waivers.yaml:3]", "no valid waiver covers MKNOD"}
	if diff := cmp.Diff(want, result.Containers[0].Violations[0].WaiverTexts()); diff != "" {
		t.Error(diff)
	}
	for i, w := range result.Waivers.List {
		if w.Matches != 1 || w.Covers != 1 {
			t.Errorf("waiver %d matches %d, covers %d", i, w.Matches, w.Covers)
		}
	}
}

// A container counts once for a waiver, however many of its violations the waiver covers.
func TestWaiversCountContainers(t *testing.T) {
	other := run(func(r *profile.Run) {
		r.ID, r.Container = "observation/2", profile.Container{ID: "aa", Name: "shop-db-1", Image: "postgres"}
	})
	result := waived(t, rule("allow: [], max-unused: 0"), profile.New(run(), other), web+", capabilities: [ALL]"+valid, "container: none, capabilities: [ALL]"+valid)
	if first, second := result.Waivers.List[0], result.Waivers.List[1]; first.Matches != 2 || first.Covers != 2 || second.Matches+second.Covers != 0 {
		t.Errorf("%+v\n%+v", first, second)
	}
}

// The uses of one build prove nothing about another, so a waiver for one build does not cover them.
func TestWaiverOfABuildDoesNotCoverOtherBuilds(t *testing.T) {
	build := func(r *profile.Run) { r.Container.ImageDigest = digest }
	other := run(build, func(r *profile.Run) { r.ID, r.Container.ImageID = "another", "sha256:02" })
	for name, p := range map[string]profile.Profile{"one": profile.New(run(build)), "two": profile.New(run(build), other)} {
		result := waived(t, rule("deny: [CHOWN]"), p, `image: "`+digest+`", capabilities: [CHOWN]`+valid)
		if result.Passed() != (name == "one") {
			t.Errorf("%s builds: %v", name, result.Passed())
		}
	}
}

// A user other than root may have chosen the ID of such a container.
func TestUnconfirmedContainersHaveNoWaiver(t *testing.T) {
	p := profile.New(run(func(r *profile.Run) { r.Container = profile.Container{ID: r.Container.ID, Unconfirmed: "/user.slice"} }))
	if result := waived(t, rule("deny: [CHOWN]"), p, "container: "+strings.Repeat("0f", 32)+", capabilities: [CHOWN]"+valid); result.Passed() {
		t.Error("it passes")
	}
}

func TestNewNeedsCanBeWaived(t *testing.T) {
	comparison, err := compare.Profiles(profile.New(run(using())), whole(), compare.Options{})
	if err != nil {
		t.Fatal(err)
	}
	file, err := waiver.Parse("w", []byte("waivers: [{"+web+", capabilities: [SYS_TIME, CHOWN], reason: a, owner: b"+valid+"}]"))
	if err != nil {
		t.Fatal(err)
	}
	result := Check(whole(), Policy{}, &comparison)
	result.Waive(nil)
	if result.Passed() {
		t.Error("it passes without waivers")
	}
	if result.Waive(file.At(saturday)); !result.Passed() || len(result.Containers[0].Waived) != 2 {
		t.Errorf("%+v", result.Containers[0])
	}
}
