package settings

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/profile"
)

// readers read a target's text as the target does. They return what each container is granted, by its label in the text
// ("" if there is only one container). They report an error for text that the target would reject.
var readers = map[string]func(t *testing.T, text string) map[string]capability.Set{
	"docker": readDockerLines, "service": readDockerLines, "service-update": readServiceUpdate, "podman": readPodmanLines,
	"compose": readCompose, "quadlet": readQuadlets, "kubernetes": readPods, "helm": readValues, "systemd": readUnits,
	"oci": readOCI, "nomad": readNomad, "ecs": readECS, "ansible": readAnsible, "terraform": readTerraform,
	"devcontainer": readDevcontainers,
}

const lastKnown = capability.CheckpointRestore

var saturday = time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)

func ptr[T any](value T) *T { return &value }

// hostile are names that no engine allows, but that a forged profile may contain.
var hostile = []string{
	`"`, `'`, "a\nb: c", "# x", "*/ {", "\x1b[31mred", "${jndi}", "{{ 7*7 }}", strings.Repeat("x", 255), "ünï\u202ecode", "-->",
	`web\`, "true", "web: --privileged", "\u009b31m", "\xff\xfe", "\r\n[Service]\r\nExecStart=/bin/sh", "---", "$(reboot)", "1.0", "café ☕",
}

// needing returns the run of a container with the number id that needs the set.
func needing(id int, name string, needs capability.Set) profile.Run {
	run := profile.Run{
		ID:        fmt.Sprint("observation/", id),
		Container: profile.Container{ID: strings.Repeat(fmt.Sprintf("%04x", id), 16), Name: name, Image: "app"},
		Grants:    profile.Grants{Kernel: ptr(capability.DockerDefault())},
		Started:   ptr(saturday.Add(time.Duration(id) * time.Second)), Ended: saturday.Add(time.Hour),
	}
	for _, c := range needs.Sorted() {
		run.Uses = append(run.Uses, profile.Use{Capability: c, Class: classify.Required, Granted: true, Count: 1})
	}
	return run
}

// several returns sets of containers whose settings are written together.
func several() map[string][]profile.Run {
	all := map[string][]profile.Run{
		"one that needs nothing":    {needing(1, "web", 0)},
		"one":                       {needing(1, "web", capability.Of(capability.NetRaw, capability.Setuid))},
		"one that needs everything": {needing(1, "web", capability.Known(lastKnown))},
		"one without a name":        {needing(1, "", capability.Of(capability.SysPtrace))},
		"two":                       {needing(1, "web", capability.Of(capability.NetBindService)), needing(2, "db-1.x", capability.DockerDefault())},
	}
	for i, name := range hostile {
		run := needing(i+1, name, capability.Set(0x5a3c96<<i).Intersect(capability.Known(lastKnown)))
		all["hostile names"] = append(all["hostile names"], run)
		if i < 8 { // alone, so that an unterminated name is noticed
			all[fmt.Sprintf("the name %q", name)] = []profile.Run{run}
		}
	}
	return all
}

func TestSettingsGrantTheNeedsAndNothingElse(t *testing.T) {
	for _, target := range Targets() {
		t.Run(target.Name, func(t *testing.T) {
			t.Parallel()
			for name, runs := range several() {
				all := Containers(profile.New(runs...))
				for _, style := range []Style{Absolute, Delta} {
					if style == Delta && target.noDelta != "" {
						continue
					}
					t.Run(name+" "+string(style), func(t *testing.T) { checkSettings(t, target, all, style) })
				}
			}
		})
	}
}

func checkSettings(t *testing.T, target Target, all []Container, style Style) {
	t.Helper()
	text, notes, err := target.Settings(all, style)
	if err != nil {
		t.Fatal(err)
	}
	for _, note := range notes {
		text += note.Label + note.Text
	}
	if i := strings.IndexFunc(text, func(r rune) bool { return r > '~' || r < ' ' && r != '\n' }); i >= 0 {
		t.Fatalf("not for a terminal: %q", text[i:])
	}
	text, _, _ = target.Settings(all, style)
	want := make(map[string]capability.Set)
	groups, err := oneEach(all)
	if target.groups != nil {
		groups, err = target.groups(all)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, group := range groups {
		want[group.Label] = group.Needs
	}
	got := readers[target.Name](t, text)
	if _, unnamed := got[""]; unnamed && len(want) == 1 {
		got = map[string]capability.Set{groups[0].Label: got[""]}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("granted (- wanted, + got):\n%s%s", diff, text)
	}
}

func TestEveryTargetHasAReader(t *testing.T) {
	if diff := cmp.Diff(slices.Sorted(slices.Values(TargetNames())), slices.Sorted(maps.Keys(readers))); diff != "" {
		t.Error(diff)
	}
}

// granted returns what Docker grants with the lists, without the default of another engine.
func granted(t *testing.T, add, drop []string) capability.Set {
	t.Helper()
	set, err := capability.Granted(add, drop, false, lastKnown)
	if err != nil {
		t.Error(err)
	}
	return set
}

// setOf reads names with a prefix.
func setOf(t *testing.T, prefix string, names []string) capability.Set {
	t.Helper()
	var set capability.Set
	for _, name := range names {
		bare, ok := strings.CutPrefix(name, prefix)
		c, err := capability.Parse(bare)
		if !ok || err != nil || c.String() != bare {
			t.Errorf("%q is not a capability with the prefix %s: %v", name, prefix, err)
		}
		set = set.With(c)
	}
	return set
}

// documents splits a text for several containers at its separators. The keys are the labels in the comments at the
// beginning of the parts.
func documents(t *testing.T, text, separator string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for part := range strings.SplitSeq(text, separator) {
		first, _, _ := strings.Cut(part, "\n")
		label, ok := strings.CutPrefix(first, "# ")
		if _, twice := all[label]; !ok || twice {
			t.Fatalf("%q is not the label of another container:\n%s", first, text)
		}
		all[label] = part
	}
	return all
}

func TestLabelsAreUnique(t *testing.T) {
	run := func(id int, name, image string) profile.Run {
		r := needing(id, name, 0)
		r.Container.Image = image
		return r
	}
	service := run(7, "api.1.x", "api")
	service.Container.Labels = map[string]string{"com.docker.swarm.service.name": "api"}
	var got []string
	for _, c := range Containers(profile.New(run(1, "web", "nginx"), run(2, "web", "nginx:2"), run(3, "db", "pg"), run(4, "", ""), run(5, "", ""),
		run(6, "db 2", "pg"), service, run(8, "api", ""))) {
		got = append(got, c.Label)
	}
	want := []string{`"web (nginx)"`, `"web (nginx:2)"`, "db", "000400040004", "000500050005", `"db 2"`, `"api (api)"`,
		`"api (` + strings.Repeat("0008", 16) + `)"`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestNoSettingsWithoutAList(t *testing.T) {
	unseen, unnamed := needing(1, "unseen", 0), needing(2, "newer", capability.Of(63, capability.Chown))
	unseen.Started = nil
	all := Containers(profile.New(unseen, unnamed, needing(3, "web", capability.Of(capability.Chown))))
	for _, target := range Targets() {
		text, _, err := target.Settings(all, Absolute)
		if err != nil || text == "" || strings.Contains(text, "63") || strings.Contains(text, "newer") || strings.Contains(text, "unseen") {
			t.Errorf("%s: %v, %q", target.Name, err, text)
		}
		for _, c := range all {
			text, _, err := target.Settings([]Container{c}, Absolute)
			if err != nil || (text != "") != (c.Label == "web") {
				t.Errorf("%s: %s: %v, %q", target.Name, c.Label, err, text)
			}
		}
	}
	for i, want := range []string{"capability 63", "", "saw only its runtime setup, not its workload"} { // in the order of their starts
		if reason := all[i].Unavailable(); !strings.Contains(reason, want) || (reason == "") != (want == "") {
			t.Errorf("%s: %q, wanted %q", all[i].Label, reason, want)
		}
	}
}

func TestDeltaRequiresKnownGrants(t *testing.T) {
	run := needing(1, "web", 0)
	run.Grants = profile.Grants{}
	for _, target := range Targets() {
		_, _, err := target.Settings(Containers(profile.New(run)), Delta)
		want := "web: its grants are unknown"
		if target.noDelta != "" {
			want = "is not available for " + target.Name
		}
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "--style absolute") {
			t.Errorf("%s: %v; wanted %s", target.Name, err, want)
		}
	}
}

func TestNotesAboutCurrentSettings(t *testing.T) {
	privileged, added, plain := needing(1, "p", 0), needing(2, "a", 0), needing(3, "n", 0)
	privileged.Grants.Privileged = true
	added.Grants.Kernel = ptr(capability.DockerDefault().With(capability.SysTime).Without(capability.Kill))
	all := Containers(profile.New(privileged, added, plain))
	for style, want := range map[Style]map[string]string{
		Absolute: {"p": "remove --privileged first"},
		Delta:    {"p": "remove --privileged first", "a": "it was run with SYS_TIME and without KILL"},
	} {
		_, notes, err := dockerTarget().Settings(all, style)
		if err != nil || len(notes) != len(want) {
			t.Errorf("%s: %v, %v", style, notes, err)
		}
		for _, note := range notes {
			if want[note.Label] == "" || !strings.Contains(note.Text, want[note.Label]) {
				t.Errorf("%s: %+v, wanted %s", style, note, want[note.Label])
			}
		}
	}
}

// Docker's sysctls hide needs that containers have with other engines.
func TestListsHaveTheNeedsThatDockerHides(t *testing.T) {
	const unknownPorts, unknownEcho = "capmon does not know whether it binds ports below 1024", "capmon does not know whether it sends ICMP echo"
	const added, echo, reach = "bound UDP port 53, TCP port 80", "opened a socket for ICMP echo (ping)", "An added capability does not reach user"
	var (
		web  = profile.Lifted{Capability: capability.NetBindService, Transport: "TCP", Port: 80, Program: "nginx", Count: 1}
		dns  = profile.Lifted{Capability: capability.NetBindService, Transport: "UDP", Port: 53, Program: "evil\n- x", User: 33, Count: 1}
		ping = profile.Lifted{Capability: capability.NetRaw, Program: "ping", Count: 1}
	)
	rootOnly := []string{"kubernetes", "helm", "oci"}
	strict := append([]string{"podman", "quadlet", "systemd"}, rootOnly...)
	for _, test := range []struct {
		what    string
		network string
		needs   capability.Set
		seen    bool
		lifted  []profile.Lifted
		list    capability.Set
		notes   []string
	}{
		{what: "limits not seen", network: "bridge", notes: []string{unknownPorts, unknownEcho}},
		{what: "limits not seen, but it needs both capabilities", network: "bridge", needs: capability.Of(capability.NetBindService, capability.NetRaw)},
		{what: "the host's network, whose sysctls Docker does not set", network: "host"},
		{what: "it does neither", network: "bridge", seen: true},
		{
			what: "it does both", network: "bridge", seen: true, lifted: []profile.Lifted{web, dns, ping},
			list: capability.Of(capability.NetBindService), notes: []string{added, echo, reach, `start=53`, `"evil\n- x"`},
		},
		{
			what: "it does both, and needs both capabilities", network: "bridge", seen: true, lifted: []profile.Lifted{web, dns, ping},
			needs: capability.Of(capability.NetBindService, capability.NetRaw),
		},
		{
			what: "it binds, and limits not seen", network: "bridge", lifted: []profile.Lifted{web, dns},
			list: capability.Of(capability.NetBindService), notes: []string{added, unknownEcho, reach, `start=53`, `"evil\n- x"`},
		},
	} {
		run := needing(1, "web", test.needs)
		run.Container.NetworkMode, run.LimitsSeen, run.Lifted = test.network, test.seen, test.lifted
		for _, target := range Targets() {
			text, notes, err := target.Settings(Containers(profile.New(run)), Absolute)
			if err != nil {
				t.Fatal(err)
			}
			want := test.needs
			if slices.Contains(strict, target.Name) {
				want = want.Union(test.list)
			}
			for _, got := range readers[target.Name](t, text) {
				if got != want {
					t.Errorf("%s, %s: granted is %v, wanted %v", test.what, target.Name, got, want)
				}
			}
			for _, note := range notes {
				text += "\n" + note.Text
			}
			for _, note := range []string{unknownPorts, unknownEcho, added, echo, reach, `start=53`, `"evil\n- x"`} {
				wanted := slices.Contains(strict, target.Name) && slices.Contains(test.notes, note) && (note != reach || slices.Contains(rootOnly, target.Name))
				if strings.Contains(text, note) != wanted {
					t.Errorf("%s, %s: wanted %q: %v\n%s", test.what, target.Name, note, wanted, text)
				}
			}
		}
	}
}

func TestErrorsForUnknownNamesListTheKnownOnes(t *testing.T) {
	if _, err := ParseTarget("swarm"); err == nil || !strings.Contains(err.Error(), `"swarm": choose docker, service,`) || !strings.Contains(err.Error(), "or devcontainer") {
		t.Error(err)
	}
	if _, err := ParseStyle("relative"); err == nil || !strings.Contains(err.Error(), "absolute or delta") {
		t.Error(err)
	}
}

func TestHasName(t *testing.T) {
	run := needing(0xabcd, "shop-web-1", 0)
	run.Container.Labels = map[string]string{"com.docker.compose.service": "web", "io.kubernetes.container.name": "front"}
	c := Containers(profile.New(run))[0]
	for name, want := range map[string]bool{
		"shop-web-1": true, "web": true, "front": true, "abcdab": true, run.Container.ID: true,
		"": false, "abc": false, "shop": false, "bcda": false,
	} {
		if c.HasName(name) != want {
			t.Errorf("%q: %v", name, !want)
		}
	}
}

func TestEveryTargetIsDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../docs/flags.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, target := range Targets() {
		delta := "yes"
		if target.noDelta != "" {
			delta = ""
		}
		row := regexp.MustCompile("(?m)^\\| `" + target.Name + "` \\| [^|]+\\| *" + delta + " *\\|$")
		if !row.Match(doc) {
			t.Errorf("no row for %s in docs/flags.md, or a wrong entry for the style delta", target.Name)
		}
	}
}
