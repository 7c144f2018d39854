package audit

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/google/go-cmp/cmp"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/findings"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/waiver"
)

// waivers returns waivers that each consist of their selectors, capabilities and dates.
func waivers(t *testing.T, all ...string) *waiver.File {
	t.Helper()
	text := "waivers:\n"
	for _, w := range all {
		text += "  - {" + w + ", reason: it must, owner: team}\n"
	}
	file, err := waiver.Parse("waivers.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// waive returns a waiver for web, valid or expired.
func waive(capabilities string) string {
	return "container: web, capabilities: [" + capabilities + "], expires: 2027-03-31"
}

func expired(capabilities string) string {
	return "container: web, capabilities: [" + capabilities + "], expires: 2026-07-30"
}

func TestWaivedStatuses(t *testing.T) {
	const chown, kill, admin = capability.Chown, capability.Kill, capability.SysAdmin
	long, short := with(ran(time.Hour, used(chown)), nil), with(ran(5*time.Minute, used(chown)), nil)
	privileged := web(func(h *container.HostConfig, _ *container.Config) { h.Privileged = true })
	more := web(func(h *container.HostConfig, _ *container.Config) { h.CapAdd = []string{"SYS_TIME"} })
	doubtful := used(chown)
	doubtful.Unsure = "the kernel does not show it"
	unsure := with(ran(time.Hour, doubtful), nil)
	notMinimal := proof(with(ran(time.Hour, used(chown), used(kill)), nil), capability.Of(chown, kill), false, chown, kill)
	const others = "AUDIT_WRITE, DAC_OVERRIDE, FOWNER, FSETID, KILL, MKNOD, NET_BIND_SERVICE, NET_RAW, SETFCAP, SETGID, SETPCAP, SETUID, SYS_CHROOT"

	for _, test := range []struct {
		name    string
		subject Subject
		profile *profile.Profile
		waivers []string
		want    findings.Status
		covered string // capabilities of valid waivers
		reasons []string
	}{
		{"no waiver", granted("CHOWN", "KILL"), long, nil, findings.Fail, "", []string{"KILL is granted and was never used"}},
		{"unused", granted("CHOWN", "KILL"), long, []string{waive("KILL")}, findings.Waived, "KILL", []string{"KILL is granted and was never used"}},
		{"of others", granted("CHOWN", "KILL"), long, []string{"container: db, capabilities: [KILL], expires: 2027-03-31"}, findings.Fail, "", []string{"KILL is granted and was never used"}},
		{"of another capability", granted("CHOWN", "KILL"), long, []string{waive("SYS_ADMIN")}, findings.Fail, "", []string{"KILL is granted and was never used"}},
		{"expired", granted("CHOWN", "KILL"), long, []string{expired("KILL")}, findings.Fail, "", []string{"KILL is granted and was never used", "no valid waiver covers KILL"}},
		{"expired and renewed", granted("CHOWN", "KILL"), long, []string{expired("KILL"), waive("KILL")}, findings.Waived, "KILL", []string{"KILL is granted and was never used"}},
		{"one of two", granted("CHOWN", "KILL", "NET_RAW"), long, []string{waive("KILL")}, findings.Fail, "KILL", []string{"NET_RAW is granted and was never used", "KILL is granted and was never used", "no valid waiver covers NET_RAW"}},
		{"two waivers", granted("CHOWN", "KILL", "NET_RAW"), long, []string{waive("KILL"), waive("NET_RAW")}, findings.Waived, "KILL,NET_RAW", []string{"NET_RAW is granted and was never used", "KILL is granted and was never used"}},
		{"ALL", granted("CHOWN", "KILL", "NET_RAW"), long, []string{waive("ALL")}, findings.Waived, "KILL,NET_RAW", []string{"NET_RAW is granted and was never used", "KILL is granted and was never used"}},
		{"proved unneeded", granted("CHOWN", "KILL"), proof(with(ran(time.Second, used(chown)), nil), capability.Of(chown), true, chown), []string{waive("KILL")}, findings.Waived, "KILL", []string{"KILL is granted and proved unneeded"}},

		// capmon does not know whether the rest is used.
		{"the rest is undecided", granted("CHOWN", "KILL", "SYS_ADMIN"), short, []string{waive("SYS_ADMIN")}, findings.Manual, "SYS_ADMIN", []string{
			"SYS_ADMIN (risky) is granted and was never used", "it was observed for 5m0s, less than the required 10m0s (--min-observed)", "granted, but capmon did not see their use: KILL",
		}},
		{"the rest is undecided, and covered", granted("CHOWN", "KILL", "SYS_ADMIN"), short, []string{waive("SYS_ADMIN, KILL")}, findings.Waived, "KILL,SYS_ADMIN", []string{
			"SYS_ADMIN (risky) is granted and was never used", "it was observed for 5m0s, less than the required 10m0s (--min-observed)",
		}},
		{"the rest may not be needed", granted("CHOWN", "KILL"), unsure, []string{waive("KILL")}, findings.Manual, "KILL", []string{
			"KILL is granted and was never used", "it is granted only capabilities that it uses, but CHOWN may not be needed: only capmon verify can find out",
		}},
		{"the rest may not be needed, and is covered", granted("CHOWN", "KILL"), unsure, []string{waive("ALL")}, findings.Waived, "CHOWN,KILL", []string{"KILL is granted and was never used"}},
		{"the rest is proved to be sufficient only", granted("CHOWN", "KILL", "NET_RAW"), notMinimal, []string{waive("NET_RAW")}, findings.Waived, "NET_RAW", []string{"NET_RAW is granted and proved unneeded"}},

		// A waiver decides nothing that capmon does not know.
		{"manual", granted("CHOWN", "KILL"), short, []string{waive("KILL")}, findings.Manual, "KILL", []string{
			"granted, but capmon did not see their use: KILL", "it was observed for 5m0s, less than the required 10m0s (--min-observed)",
		}},
		{"manual, never observed", granted("CHOWN"), &profile.Profile{}, []string{waive("ALL")}, findings.Manual, "CHOWN", []string{"capmon has never observed it"}},
		{"manual, unknown grants", granted("NO_SUCH"), long, []string{waive("ALL")}, findings.Manual, "", []string{`its grants are unknown: added capabilities: unknown capability "NO_SUCH": the nearest is FOWNER`}},
		{"pass", granted("CHOWN"), long, []string{waive("ALL")}, findings.Pass, "", []string{"it is granted only capabilities that capmon saw in use: CHOWN"}},

		{"privileged", privileged, long, []string{waive("ALL")}, findings.Waived, "?", []string{"it is privileged, so it has all capabilities", "?"}},
		{"privileged, static", privileged, nil, []string{waive("ALL")}, findings.Waived, "?", []string{"it is privileged, so it has all capabilities", "with --static, audit does not read what it uses"}},
		{"privileged, a waiver for one capability", privileged, nil, []string{waive("SYS_ADMIN")}, findings.Fail, "SYS_ADMIN", []string{
			"it is privileged, so it has all capabilities", "with --static, audit does not read what it uses", "no valid waiver covers that it is privileged: only a waiver for ALL does",
		}},
		{"privileged, expired", privileged, nil, []string{expired("ALL"), waive("DEFAULT")}, findings.Fail, "?", []string{
			"it is privileged, so it has all capabilities", "with --static, audit does not read what it uses", "no valid waiver covers that it is privileged: only a waiver for ALL does",
		}},

		{"the default, static", web(nil), nil, []string{waive("DEFAULT")}, findings.Waived, "?", []string{"it has all 14 default capabilities of Docker", "with --static, audit does not read what it uses"}},
		{"the default, one covered", web(nil), nil, []string{waive("NET_RAW")}, findings.Fail, "NET_RAW", []string{
			"it has all 14 default capabilities of Docker", "with --static, audit does not read what it uses",
			"no valid waiver covers AUDIT_WRITE, CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, MKNOD, NET_BIND_SERVICE, SETFCAP, SETGID, SETPCAP, SETUID, SYS_CHROOT",
		}},
		{"the default, all unused ones covered", web(nil), long, []string{waive(others)}, findings.Waived, "?", []string{"?", "?", "it has all 14 default capabilities of Docker"}},
		{"the default, observed too briefly", web(nil), with(ran(time.Second, used(chown)), nil), []string{waive(others)}, findings.Waived, "?", []string{"it has all 14 default capabilities of Docker", "?", "?"}},
		{"the default and another one, which is not covered", more, long, []string{waive("DEFAULT")}, findings.Fail, "?", []string{"?", "?", "?", "it has all 14 default capabilities of Docker", "no valid waiver covers SYS_TIME"}},
		{"the default and another one, which is unknown", more, nil, []string{waive("DEFAULT")}, findings.Manual, "?", []string{"it has all 14 default capabilities of Docker", "with --static, audit does not read what it uses"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			options := Options{Profile: test.profile, Last: capability.CheckpointRestore, Thresholds: thresholds, Time: noon}
			if len(test.waivers) > 0 {
				options.Waivers = waivers(t, test.waivers...)
			}
			audit := Of([]Subject{test.subject}, options)
			c := audit.Containers[0]
			covered := c.waived().String()
			if test.covered == "?" {
				covered = "?"
			}
			for i, reason := range test.reasons {
				if reason == "?" && i < len(c.Reasons) {
					test.reasons[i] = c.Reasons[i]
				}
			}
			if diff := cmp.Diff(test.reasons, c.Reasons); c.Status != test.want || covered != test.covered || diff != "" {
				t.Errorf("%s, and %s are covered; want %s, %s\n%s", c.Status, covered, test.want, test.covered, diff)
			}
			if audit.Failed() != (test.want == findings.Fail) {
				t.Errorf("the audit fails: %v", audit.Failed())
			}
			accepted := c.Status == findings.Waived || c.Status == findings.Pass
			if text := c.Remedy.Text(); accepted != (text == "") {
				t.Errorf("%s, and the remedy is %q", c.Status, text)
			}
			if list := c.Remedy.List; list != nil && !c.waived().Minus(*list).Empty() {
				t.Errorf("the remedy removes capabilities that waivers cover: %s", list)
			}
		})
	}
}

// A container that does not work may lack a capability. Nobody has accepted that.
func TestFailingContainersAreNotWaived(t *testing.T) {
	subject := granted("CHOWN", "KILL")
	subject.Settings.Container.State = &container.State{ExitCode: 1}
	c := Of([]Subject{subject}, Options{
		Profile: with(ran(time.Hour, used(capability.Chown)), nil), Last: capability.CheckpointRestore, Thresholds: thresholds, Time: noon, Waivers: waivers(t, waive("KILL")),
	}).Containers[0]
	if c.Status != findings.Manual || !slices.Contains(c.Reasons, "it may not work: it ended with exit code 1") {
		t.Errorf("%s, %q", c.Status, c.Reasons)
	}
}

// A waiver concerns CIS 5.4 only. A privileged container has more than capabilities.
func TestWaiversDoNotCoverRelatedRules(t *testing.T) {
	privileged := web(func(h *container.HostConfig, _ *container.Config) { h.Privileged = true })
	audit := Of([]Subject{privileged}, Options{Last: capability.CheckpointRestore, Time: noon, Waivers: waivers(t, waive("ALL"))})
	strict := audit
	strict.Strict = true
	if audit.Failed() || !strict.Failed() {
		t.Errorf("fails: %v, strictly: %v", audit.Failed(), strict.Failed())
	}
}

// The remedy keeps what waivers cover: the owner of the waiver needs it.
func TestRemediesKeepWhatWaiversCover(t *testing.T) {
	c := Of([]Subject{granted("CHOWN", "KILL", "SYS_ADMIN")}, Options{
		Profile: with(ran(time.Hour, used(capability.Chown)), nil), Last: capability.CheckpointRestore, Thresholds: thresholds, Time: noon, Waivers: waivers(t, waive("SYS_ADMIN")),
	}).Containers[0]
	text := c.Remedy.Text()
	const comment = "# to create the container again with the capabilities that capmon saw in use: CHOWN\n# and with those that waivers cover: SYS_ADMIN\n"
	if !strings.HasPrefix(text, comment) || !strings.Contains(text, " --cap-drop=ALL --cap-add=CHOWN --cap-add=SYS_ADMIN nginx\n") || c.Remedy.Waived != capability.Of(capability.SysAdmin) {
		t.Error(text)
	}
}

func waivedAudit(t *testing.T) Audit {
	t.Helper()
	subjects := []Subject{granted("CHOWN", "KILL"), granted("CHOWN", "NET_RAW"), granted("CHOWN"), web(nil)}
	for i, name := range []string{"waived", "expired", "pass", "part"} {
		subjects[i].Info.Name, subjects[i].Info.ID = name, strings.Repeat(string(rune('a'+i)), 64)
	}
	run := ran(time.Hour, used(capability.Chown))
	p := profile.New()
	for i, s := range subjects {
		run.ID, run.Container.Name = s.Info.ID[:1], s.Info.Name
		run.Container.ID = strings.Repeat(string(rune('0'+i)), 64)
		p = profile.Merge(p, profile.New(run))
	}
	return Of(subjects, Options{
		Profile: &p, Last: capability.CheckpointRestore, Thresholds: thresholds, Time: noon, Waivers: waivers(t,
			"container: waived, image: nginx, capabilities: [KILL], expires: 2026-08-20",
			"container: expired, capabilities: [NET_RAW], expires: 2026-07-30",
			"container: part, capabilities: [NET_RAW, KILL], expires: 2027-03-31",
			"container: none, capabilities: [ALL], expires: 2027-03-31",
			"container: pass, capabilities: [ALL], expires: 2026-08-01"),
	})
}

// Every format lists the waivers with their reasons, owners and dates, and those that need attention.
func TestEveryFormatListsWaivers(t *testing.T) {
	audit := waivedAudit(t)
	for _, format := range Formats() {
		text := strings.NewReplacer(`\\[`, "[", `\\]`, "]", "`", "").Replace(write(t, audit, format)) // as SARIF and Markdown escape it
		wanted := []string{
			"it must", "team", "2026-08-20", "waivers.yaml", "waived until 2026-08-20, in 19 days: KILL, accepted by team: it must  [waivers.yaml:2]",
			"the waiver expired on 2026-07-30, 2 days ago: NET_RAW, accepted by team: it must  [waivers.yaml:3]",
			"waived until 2027-03-31: KILL, NET_RAW, accepted by team: it must  [waivers.yaml:4]",
			"unused: it matches none of these containers", "expires today; unused: it matches 1 container, and covers no finding",
			"expired on 2026-07-30, 2 days ago; no longer covers findings of 1 container",
		}
		if format == JSON {
			wanted = []string{`"status": "waived"`, `"state": "expired"`, `"days": -2`, `"covers": 0`, `"matches": 0`, `"expiredWaivers": [`}
		}
		for _, part := range wanted {
			if !strings.Contains(text, part) {
				t.Errorf("%s does not contain %q", format, part)
			}
		}
		if totals := "4 containers: 2 fail, 1 waived, 1 pass"; format == Table && !strings.Contains(text, totals) {
			t.Errorf("%s does not contain %q", format, totals)
		}
	}
}

func TestTableOfWaivers(t *testing.T) {
	text := write(t, waivedAudit(t), Table)
	for _, part := range []string{`
WAIVED  waived  nginx:latest  aaaaaaaaaaaa
  granted: CHOWN, KILL
  observed for 1h: used CHOWN
  - KILL is granted and was never used
  - waived until 2026-08-20, in 19 days: KILL, accepted by team: it must  [waivers.yaml:2]
`, `
  - NET_RAW is granted and was never used
  - no valid waiver covers NET_RAW
  - the waiver expired on 2026-07-30, 2 days ago: NET_RAW, accepted by team: it must  [waivers.yaml:3]
`, `
waivers in waivers.yaml: 5
  line 2: KILL of container waived and image nginx, until 2026-08-20, accepted by team: it must
    expires in 19 days; covers findings of 1 container
`, `
  line 6: ALL of container pass, until 2026-08-01, accepted by team: it must
    expires today; unused: it matches 1 container, and covers no finding
`} {
		if !strings.Contains(text, part) {
			t.Errorf("the table does not contain %s\n%s", part, text)
		}
	}
}

func TestJSONOfWaivers(t *testing.T) {
	var got struct {
		Containers []struct {
			Name, Status           string
			Waived, ExpiredWaivers []struct {
				Capabilities           []string
				Reason, Owner, Expires string
				Line                   int
			}
		}
		Waivers struct {
			File string
			List []struct{ Container, State string }
		}
	}
	if err := json.Unmarshal([]byte(write(t, waivedAudit(t), JSON)), &got); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range got.Containers {
		names = append(names, c.Name+" "+c.Status)
	}
	if diff := cmp.Diff([]string{"expired fail", "part fail", "waived waived", "pass pass"}, names); diff != "" {
		t.Error(diff)
	}
	if w := got.Containers[2].Waived; len(w) != 1 || w[0].Capabilities[0] != "KILL" || w[0].Reason != "it must" || w[0].Owner != "team" || w[0].Expires != "2026-08-20" || w[0].Line != 2 {
		t.Errorf("%+v", w)
	}
	if w := got.Containers[0]; len(w.Waived) != 0 || len(w.ExpiredWaivers) != 1 {
		t.Errorf("%+v", w)
	}
	if len(got.Waivers.List) != 5 || got.Waivers.File != "waivers.yaml" {
		t.Errorf("%+v", got.Waivers)
	}
	if text := write(t, Of([]Subject{web(nil)}, Options{Time: noon}), JSON); strings.Contains(strings.ToLower(text), "waive") {
		t.Errorf("without waivers: %s", text)
	}
}

// Only a container whose findings are all accepted is suppressed.
func TestSARIFSuppressesWaivedContainersOnly(t *testing.T) {
	var log struct {
		Runs []struct {
			Results []struct {
				RuleID, Level string
				Suppressions  *[]struct{ Kind, Justification string }
				Locations     []struct {
					LogicalLocations []struct{ Name string }
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(write(t, waivedAudit(t), SARIF)), &log); err != nil {
		t.Fatal(err)
	}
	var suppressed []string
	for _, r := range log.Runs[0].Results {
		switch {
		case r.Suppressions == nil:
			t.Errorf("%+v does not state whether it is suppressed", r)
		case len(*r.Suppressions) > 0:
			suppressed = append(suppressed, r.RuleID+" "+r.Locations[0].LogicalLocations[0].Name+" "+r.Level)
		}
	}
	if diff := cmp.Diff([]string{"CIS-5.4 waived note"}, suppressed); diff != "" {
		t.Error(diff)
	}
}
