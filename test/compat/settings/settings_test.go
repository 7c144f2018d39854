// Package settings_test compares the settings that capmon writes with what each target's own parser or types read.
package settings_test

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/settings"
	"github.com/capmon/capmon/internal/settings/settingstest"
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

// hostile are names that no engine allows, but that a forged profile may contain.
var hostile = []string{
	`"`, `'`, "a\nb: c", "# x", "*/ {", "\x1b[31mred", "${jndi}", "{{ 7*7 }}", strings.Repeat("x", 255), "ünï\u202ecode", "-->",
	`web\`, "true", "web: --privileged", "\u009b31m", "\xff\xfe", "\r\n[Service]\r\nExecStart=/bin/sh", "---", "$(reboot)", "1.0", "café ☕",
}

// several returns sets of containers whose settings are written together.
func several() map[string][]profile.Run {
	all := map[string][]profile.Run{
		"one that needs nothing":    {settingstest.Needing(1, "web", 0)},
		"one":                       {settingstest.Needing(1, "web", capability.Of(capability.NetRaw, capability.Setuid))},
		"one that needs everything": {settingstest.Needing(1, "web", capability.Known(lastKnown))},
		"one without a name":        {settingstest.Needing(1, "", capability.Of(capability.SysPtrace))},
		"two":                       {settingstest.Needing(1, "web", capability.Of(capability.NetBindService)), settingstest.Needing(2, "db-1.x", capability.DockerDefault())},
	}
	for i, name := range hostile {
		run := settingstest.Needing(i+1, name, capability.Set(0x5a3c96<<i).Intersect(capability.Known(lastKnown)))
		all["hostile names"] = append(all["hostile names"], run)
		if i < 8 { // alone, so that an unterminated name is noticed
			all[fmt.Sprintf("the name %q", name)] = []profile.Run{run}
		}
	}
	return all
}

func TestSettingsGrantTheNeedsAndNothingElse(t *testing.T) {
	for _, target := range settings.Targets() {
		t.Run(target.Name, func(t *testing.T) {
			t.Parallel()
			for name, runs := range several() {
				all := settings.Containers(profile.New(runs...))
				for _, style := range []settings.Style{settings.Absolute, settings.Delta} {
					if style == settings.Delta && !hasDelta(target, all) {
						continue
					}
					t.Run(name+" "+string(style), func(t *testing.T) { checkSettings(t, target, all, style) })
				}
			}
		})
	}
}

// hasDelta reports whether a target has the style delta. The tests of internal/settings compare the answer with the
// documentation.
func hasDelta(target settings.Target, all []settings.LabeledContainer) bool {
	_, _, err := target.Settings(all, settings.Delta)
	return err == nil || !strings.HasPrefix(err.Error(), "--style delta is not available for "+target.Name)
}

func checkSettings(t *testing.T, target settings.Target, all []settings.LabeledContainer, style settings.Style) {
	t.Helper()
	text, notes, err := target.Settings(all, style)
	if err != nil {
		t.Fatal(err)
	}
	printed := text
	for _, note := range notes {
		printed += note.Label + note.Text
	}
	if i := strings.IndexFunc(printed, func(r rune) bool { return r > '~' || r < ' ' && r != '\n' }); i >= 0 {
		t.Fatalf("not for a terminal: %q", printed[i:])
	}
	want := make(map[string]capability.Set)
	for _, c := range all {
		want[nameIn(target, c)] = c.List()
	}
	got := readers[target.Name](t, text)
	if _, unnamed := got[""]; unnamed && len(want) == 1 {
		got = map[string]capability.Set{nameIn(target, all[0]): got[""]}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("granted (- wanted, + got):\n%s%s", diff, text)
	}
}

var validServiceName = regexp.MustCompile(`^[a-zA-Z0-9._-]+$`)

// nameIn returns the name of a container in the settings of a target. A compose file has the names of services.
func nameIn(target settings.Target, c settings.LabeledContainer) string {
	switch {
	case target.Name != "compose":
		return c.Label
	case validServiceName.MatchString(c.Container.Name):
		return c.Container.Name
	default:
		return c.Container.ID[:12]
	}
}

func TestEveryTargetHasAReader(t *testing.T) {
	if diff := cmp.Diff(slices.Sorted(slices.Values(settings.TargetNames())), slices.Sorted(maps.Keys(readers))); diff != "" {
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

// Docker's sysctls hide needs that containers have with other engines.
func TestListsHaveTheNeedsThatDockerHides(t *testing.T) {
	const unknownPorts, unknownEcho = "capmon does not know whether the container binds ports below 1024", "capmon does not know whether the container sends ICMP echo"
	const added, echo, reach = "bound UDP port 53, TCP port 80", "opened a socket for ICMP echo (ping)", "does not get an added capability"
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
		run := settingstest.Needing(1, "web", test.needs)
		run.Container.NetworkMode, run.LimitsSeen, run.Lifted = test.network, test.seen, test.lifted
		for _, target := range settings.Targets() {
			text, notes, err := target.Settings(settings.Containers(profile.New(run)), settings.Absolute)
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
