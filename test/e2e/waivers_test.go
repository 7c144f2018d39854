package e2e

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif"
)

// day returns the date some days from now, in UTC.
func day(fromNow int) string { return time.Now().UTC().AddDate(0, 0, fromNow).Format(time.DateOnly) }

// waivers writes a file of waivers that each consist of their selectors, capabilities and dates.
func waivers(t *testing.T, all ...string) string {
	t.Helper()
	text := "waivers:\n"
	for _, w := range all {
		text += "  - {" + w + ", reason: it must, owner: the team}\n"
	}
	return written(t, "waivers.yaml", text)
}

// waivedAudit has the fields of an audit's JSON that the tests of waivers read.
type waivedAudit struct {
	Containers []struct {
		Name, Status           string
		Waived, ExpiredWaivers []struct{ Capabilities []string }
		Remedy                 struct{ List, Run []string }
	}
	Waivers struct {
		File string
		List []struct {
			State           string
			Matches, Covers int
		}
	}
}

func TestAuditWithWaivers(t *testing.T) {
	t.Parallel()
	containers := map[string][]string{
		"waivers-admin":      grant("CHOWN", "SYS_ADMIN"),
		"waivers-two":        grant("CHOWN", "KILL", "NET_RAW"),
		"waivers-privileged": {"--privileged"},
		"waivers-default":    nil,
		"waivers-exact":      grant("CHOWN"),
	}
	var names []string
	for name, options := range containers {
		names = append(names, name)
		mustExecute(t, slices.Concat([]string{"docker", "create", "--name", name}, options, []string{"bb"}, sh(owns))...)
		t.Cleanup(func() { mustExecute(t, "docker", "rm", "-f", name) })
	}
	slices.Sort(names)
	profile := filepath.Join(t.TempDir(), "profile.json")
	mustExecute(t, binary, "profile", "--save", profile, "--", "sh", "-ec", "for name in "+strings.Join(names, " ")+"; do docker start --attach $name; done")
	image := strings.TrimSpace(mustExecute(t, "docker", "inspect", "--format={{.Image}}", "waivers-privileged"))

	for _, test := range []struct {
		name     string
		waivers  []string
		code     int
		statuses map[string]string // of the containers that do not fail
	}{
		{"no container", []string{"container: other, capabilities: [ALL], expires: " + day(90)}, exitFindings, map[string]string{}},
		{"one capability", []string{`container: "waivers-*", capabilities: [SYS_ADMIN], expires: ` + day(90)}, exitFindings, map[string]string{"waivers-admin": "waived"}},
		{"two waivers for one container", []string{
			"container: waivers-two, capabilities: [KILL], expires: " + day(90), "image: bb, capabilities: [NET_RAW], expires: " + day(1),
		}, exitFindings, map[string]string{"waivers-two": "waived"}},
		{"the default", []string{`container: "waivers-*", capabilities: [DEFAULT], expires: ` + day(90)}, exitFindings, map[string]string{"waivers-two": "waived", "waivers-default": "waived"}},
		{"all", []string{`image: "bb:*", capabilities: [ALL], expires: ` + day(1)}, exitDone, map[string]string{
			"waivers-admin": "waived", "waivers-two": "waived", "waivers-privileged": "waived", "waivers-default": "waived",
		}},
		{"all of this build", []string{`image: "bb@` + image + `", capabilities: [ALL], expires: ` + day(1)}, exitDone, map[string]string{
			"waivers-admin": "waived", "waivers-two": "waived", "waivers-privileged": "waived", "waivers-default": "waived",
		}},
		{"all of another build", []string{`image: "bb@sha256:` + strings.Repeat("0", 64) + `", capabilities: [ALL], expires: ` + day(1)}, exitFindings, map[string]string{}},
		{"expired", []string{`container: "waivers-*", capabilities: [ALL], expires: ` + day(-1)}, exitFindings, map[string]string{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			file := waivers(t, test.waivers...)
			arguments := slices.Concat([]string{"audit", "--profile", profile, "--min-observed=1us", "--waivers", file}, names)
			var audit waivedAudit
			if err := json.Unmarshal([]byte(expected(t, test.code, append(arguments, "-o", "json")).stdout), &audit); err != nil {
				t.Fatal(err)
			}
			got := make(map[string]string)
			waived, failed := 0, 0
			for _, c := range audit.Containers {
				switch {
				case c.Name == "waivers-exact":
					if c.Status != "pass" {
						t.Errorf("%+v", c)
					}
				case c.Status == "fail":
					failed++
				default:
					got[c.Name] = c.Status
					waived++
				}
				if c.Status == "waived" && (len(c.Waived) == 0 || len(c.Remedy.Run) > 0) {
					t.Errorf("%+v", c)
				}
			}
			if diff := cmp.Diff(test.statuses, got); diff != "" {
				t.Error(diff)
			}
			if audit.Waivers.File != file || len(audit.Waivers.List) != len(test.waivers) {
				t.Errorf("%+v", audit.Waivers)
			}
			total := "CIS 5.4, 5 containers: "
			if failed > 0 {
				total += fmt.Sprintf("%d fail, ", failed)
			}
			if waived > 0 {
				total += fmt.Sprintf("%d waived, ", waived)
			}
			total += "1 pass\n"
			expected(t, test.code, arguments, total, "waivers in "+file, "accepted by the team: it must")
			suppressed, failures := waivedByOthers(t, test.code, arguments...)
			if suppressed != waived || failures != failed {
				t.Errorf("%d suppressed and %d failed results in SARIF, want %d and %d", suppressed, failures, waived, failed)
			}
			oscal := expected(t, test.code, append(arguments, "-o", "oscal")).stdout
			validOSCAL(t, []byte(oscal))
			if dated := strings.Contains(oscal, `"deadline"`); dated != (waived > 0 || test.name == "expired") {
				t.Errorf("%d waived, but a deadline in OSCAL: %v", waived, dated)
			}
			expected(t, test.code, append(arguments, "-o", "html"), "Waivers in ")
			expected(t, test.code, append(arguments, "-o", "csv"), "accepted by the team: it must")
		})
	}
	t.Run("the remedy keeps what is waived", func(t *testing.T) {
		file := waivers(t, "container: waivers-two, capabilities: [KILL], expires: "+day(90))
		r := expected(t, exitFindings, []string{"audit", "--profile", profile, "--min-observed=1us", "--waivers", file, "waivers-two"}, "and with those that waivers cover: KILL")
		if !strings.Contains(r.stdout, "--cap-add=CHOWN --cap-add=KILL ") || strings.Contains(r.stdout, "--cap-add=NET_RAW") {
			t.Error(r.stdout)
		}
	})
	t.Run("a related rule is not waived", func(t *testing.T) {
		file := waivers(t, "container: waivers-privileged, capabilities: [ALL], expires: "+day(90))
		expected(t, exitDone, []string{"audit", "--static", "--waivers", file, "waivers-privileged"}, "WAIVED  waivers-privileged")
		expected(t, exitFindings, []string{"audit", "--static", "--strict", "--waivers", file, "waivers-privileged"}, "WAIVED  waivers-privileged")
	})
	t.Run("a mistake", func(t *testing.T) {
		file := written(t, "waivers.yaml", "waivers:\n  - container: web\n")
		complains(t, []string{"audit", "--for=10m", "--waivers", file}, file+":2: this waiver has no capabilities")
	})
}

// waivedByOthers runs a command and returns the numbers of suppressed and failed results in SARIF. It verifies that
// JUnit has the same number of failures.
func waivedByOthers(t *testing.T, code int, arguments ...string) (suppressed, failed int) {
	t.Helper()
	log, err := sarif.FromString(expected(t, code, append(arguments, "-o", "sarif")).stdout)
	if err != nil {
		t.Fatal(err)
	}
	if err := log.Validate(); err != nil {
		t.Error(err)
	}
	for _, r := range log.Runs[0].Results {
		switch {
		case len(r.Suppressions) > 0:
			suppressed++
		case r.Kind == "fail" && r.Level == "error":
			failed++
		}
	}
	inJUnit := failedInJUnit(t, expected(t, code, append(arguments, "-o", "junit")).stdout)
	if inJUnit != failed || (failed > 0) != (code == exitFindings) {
		t.Errorf("exit code %d, %d failures in SARIF, %d in JUnit", code, failed, inJUnit)
	}
	return suppressed, failed
}

func TestCheckWithWaivers(t *testing.T) {
	t.Parallel()
	file := saved(t, "waivers-check", "bb", "sh", "-c", "probe rawsock; chown 5 /tmp")
	policy := written(t, "policy.yaml", "version: 1\nrules:\n  - {name: r, deny: [NET_RAW], max-unused: 20}\n")
	strict := written(t, "policy.yaml", "version: 1\nrules:\n  - {name: r, deny: [NET_RAW], proved: true}\n")
	for _, test := range []struct {
		name, policy, waiver string
		code                 int
		texts                []string
	}{
		{"used", policy, "container: waivers-check, capabilities: [NET_RAW], expires: " + day(90), exitDone, []string{
			"waived: the container uses NET_RAW", "waived until " + day(90) + ": NET_RAW, accepted by the team: it must", "covers findings of 1 container",
			"passed: 1 container; 1 only because of waivers",
		}},
		{"of its image", policy, "image: bb, capabilities: [cap_net_raw], expires: " + day(90), exitDone, []string{"1 waived violation"}},
		{"expired", policy, "container: waivers-check, capabilities: [NET_RAW], expires: " + day(-1), exitFindings, []string{
			"the waiver expired on " + day(-1), "no longer covers findings of 1 container", "failed: 1 of 1 container violates a rule",
		}},
		{"of another capability", policy, "container: waivers-check, capabilities: [CHOWN], expires: " + day(90), exitFindings, []string{"unused: it matches 1 container, and covers no finding"}},
		{"of another container", policy, "container: other, capabilities: [NET_RAW], expires: " + day(90), exitFindings, []string{"unused: it matches none of these containers"}},
		{"what is not about capabilities", strict, "container: waivers-check, capabilities: [ALL], expires: " + day(90), exitFindings, []string{
			"waived: the container uses NET_RAW", "the profile contains no proof of capmon verify",
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			arguments := []string{"check", "--policy", test.policy, "--waivers", waivers(t, test.waiver), file}
			expected(t, test.code, arguments, test.texts...)
			valid(t, "check", expected(t, test.code, append(arguments, "-o", "json")).stdout)
			waivedByOthers(t, test.code, arguments...)
		})
	}
	expected(t, exitFindings, []string{"check", "--policy", policy, "--waivers", written(t, "waivers.yaml", "waivers: []\n"), file}, "waivers in ", ": 0")
	wrong := written(t, "waivers.yaml", "waivers:\n  - {container: a, capabilities: [ALL], reason: b, owner: c, expires: 31.3.2027}\n")
	complains(t, []string{"check", "--policy", policy, "--waivers", wrong, file}, wrong+`:2: "31.3.2027" is not a date such as 2027-03-31`)
}

// The example waivers are valid against the schema.
func TestExampleWaiversAreValid(t *testing.T) {
	t.Parallel()
	text, err := yaml.YAMLToJSON([]byte(contents(t, examples+"/waivers.yaml")))
	if err != nil {
		t.Fatal(err)
	}
	valid(t, "waivers", string(text))
}
