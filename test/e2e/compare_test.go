package e2e

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/joshdk/go-junit"
	"github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// saved profiles a container and returns the path of the profile.
func saved(t *testing.T, name string, run ...string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "profile.json")
	mustExecute(t, slices.Concat([]string{binary, "profile", "--save", file, "--", "docker", "run", "--rm", "--name", name}, run)...)
	return file
}

// valid validates a JSON document against a published schema.
func valid(t *testing.T, name, text string) {
	t.Helper()
	schema, err := jsonschema.NewCompiler().Compile("../../docs/schema/" + name + ".schema.json")
	if err != nil {
		t.Fatal(err)
	}
	document, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if err := schema.Validate(document); err != nil {
		t.Errorf("%s: %v", name, err)
	}
}

func contents(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func written(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// expected runs capmon and verifies the exit code and that stdout contains each of the texts.
func expected(t *testing.T, code int, arguments []string, texts ...string) result {
	t.Helper()
	r := execute(t, append([]string{binary}, arguments...)...)
	if r.code != code {
		t.Errorf("capmon %s: exit code %d, want %d\n%s%s", strings.Join(arguments, " "), r.code, code, r.stdout, r.stderr)
	}
	for _, text := range texts {
		if !strings.Contains(r.stdout, text) {
			t.Errorf("capmon %s: %q is not in\n%s%s", strings.Join(arguments, " "), text, r.stdout, r.stderr)
		}
	}
	return r
}

// Two versions of a container: the first changes the owner of a file. The second also opens a raw socket and tries to
// create a device, which is denied.
func TestTwoVersionsAreMergedComparedAndChecked(t *testing.T) {
	t.Parallel()
	first := saved(t, "versioned", "bb", "sh", "-c", "touch /tmp/f && chown 5 /tmp/f")
	second := saved(t, "versioned", "--cap-drop=MKNOD", "bb", "sh", "-c", "touch /tmp/f && chown 5 /tmp/f; probe rawsock; mknod /tmp/null c 1 3; true")

	t.Run("merge", func(t *testing.T) {
		there := expected(t, exitDone, []string{"merge", first, second}).stdout
		back := expected(t, exitDone, []string{"merge", second, first, second}).stdout
		if there != back {
			t.Error("the bytes depend on the order")
		}
		valid(t, "profile", there)
		if alone := expected(t, exitDone, []string{"merge", first}).stdout; alone != contents(t, first) {
			t.Error("merging a single profile changes it")
		}
		sum := written(t, "sum.json", contents(t, first))
		expected(t, exitDone, []string{"merge", sum, second, "-o", sum})
		if contents(t, sum) != there {
			t.Error("merging into one of the input files gives another result")
		}
		expected(t, exitDone, []string{"merge", sum, sum, "-o", sum})
		if contents(t, sum) != there {
			t.Error("merging a profile with itself changes it")
		}
		expected(t, exitDone, []string{"report", sum}, "versioned  bb:latest", "2 runs")
	})

	t.Run("diff", func(t *testing.T) {
		expected(t, exitDone, []string{"diff", first, second}, "container versioned", "\n+  NET_RAW ", "NEW ", "in inet_create\n", "\n+  MKNOD       NEW, denied",
			"granted only before: MKNOD", "1 container compared, NEW: versioned MKNOD, NET_RAW\n")
		expected(t, exitFindings, []string{"diff", "--fail-on-new", first, second}, "\n+  NET_RAW ")
		expected(t, exitDone, []string{"diff", "--fail-on-new", second, first}, "\n-  NET_RAW ", "no capability is new")
		expected(t, exitDone, []string{"diff", "--fail-on-new", first, first}, "no change in what is needed: CHOWN")
		text := expected(t, exitFindings, []string{"diff", "--fail-on-new", "-o", "json", first, second}).stdout
		valid(t, "diff", text)
		valid(t, "diff", expected(t, exitDone, []string{"diff", "--all", "-o", "json", first, second}).stdout)
		var got struct {
			New        bool
			Containers []struct {
				Name, PairedBy string
				New, Gone      []string
				Uses           []struct {
					Change string
					After  *struct{ Capability, Class, Program, Call, Site string }
				}
			}
		}
		if err := json.Unmarshal([]byte(text), &got); err != nil {
			t.Fatal(err)
		}
		c := got.Containers[0]
		if !got.New || len(got.Containers) != 1 || c.PairedBy != "name" {
			t.Errorf("got %+v", got)
		}
		same(t, "new", c.New, caps("MKNOD", "NET_RAW"))
		same(t, "gone", c.Gone, nil)
		var uses []string
		for _, use := range c.Uses {
			uses = append(uses, fmt.Sprint(use.Change, " ", use.After.Capability, " ", use.After.Class, " ", use.After.Program, " ", use.After.Site))
		}
		if diff := cmp.Diff([]string{"new NET_RAW required probe inet_create", "new MKNOD denied mknod vfs_mknod"}, uses); diff != "" {
			t.Error(diff)
		}
	})

	t.Run("check", func(t *testing.T) {
		for _, test := range []struct {
			name, rule string
			flags      []string
			code       int
			texts      []string
		}{
			{"denied", "deny: [NET_RAW]", []string{"--deny=NET_RAW"}, exitFindings, []string{"the container uses NET_RAW; the rule denies NET_RAW", "by probe  socket(AF_INET, SOCK_RAW", "in inet_create"}},
			{"not denied", "deny: [NET_ADMIN, SETPCAP, SYS_ADMIN]", []string{"--deny=net_admin,CAP_SETPCAP", "--deny=SYS_ADMIN"}, exitDone, []string{"container versioned  bb:latest  passes"}},
			{"allowed", "allow: [CHOWN, NET_RAW, MKNOD]", []string{"--allow=CHOWN,NET_RAW,MKNOD"}, exitDone, []string{"passes"}},
			{"not allowed", "allow: [CHOWN, MKNOD]", []string{"--allow=CHOWN,MKNOD"}, exitFindings, []string{"the container uses NET_RAW; the rule does not allow NET_RAW"}},
			{"tried", "allow: [CHOWN, NET_RAW]", []string{"--allow=CHOWN,NET_RAW"}, exitFindings, []string{"the container tried MKNOD, and the kernel denied it; the rule does not allow MKNOD"}},
			{"tried, and that is allowed", "allow: [CHOWN, NET_RAW], ignore-denied: true", []string{"--allow=CHOWN,NET_RAW", "--ignore-denied"}, exitDone, []string{"passes"}},
			{"nothing allowed", "allow: []", []string{"--allow="}, exitFindings, []string{"the container uses CHOWN"}},
			{"granted", "deny-granted: [KILL]", []string{"--deny-granted=KILL"}, exitFindings, []string{"KILL is granted, which the rule denies"}},
			{"not granted", "deny-granted: [MKNOD, SYS_ADMIN]", []string{"--deny-granted=MKNOD,SYS_ADMIN"}, exitDone, nil},
			{"granted as allowed", "allow-granted: [DEFAULT]", []string{"--allow-granted=default"}, exitDone, nil},
			{"granted beyond", "allow-granted: [CHOWN]", []string{"--allow-granted=CHOWN"}, exitFindings, []string{"are granted, which the rule does not allow"}},
			{"unused", "max-unused: 10", nil, exitFindings, []string{"11 of 13 granted capabilities were never used; the rule allows 10"}},
			{"complete", "complete: true, whole-run: true, max-unused: 11", nil, exitDone, nil},
			{"unproved", "proved: true", nil, exitFindings, []string{"the profile contains no proof of capmon verify"}},
			{"of others", "deny: [ALL], match: {image: [nginx]}", nil, exitDone, []string{"note: no rule of the policy applies to the container", `note: rule "r" applied to no container`}},
		} {
			t.Run(test.name, func(t *testing.T) {
				policy := written(t, "policy.yaml", "version: 1\nrules:\n  - {name: r, "+test.rule+"}\n")
				asJSON, err := yaml.YAMLToJSON([]byte(contents(t, policy)))
				if err != nil {
					t.Fatal(err)
				}
				valid(t, "policy", string(asJSON))
				expected(t, test.code, []string{"check", "--policy", policy, second}, test.texts...)
				valid(t, "check", expected(t, test.code, []string{"check", "--policy", policy, "-o", "json", second}).stdout)
				if test.flags != nil {
					expected(t, test.code, slices.Concat([]string{"check"}, test.flags, []string{second}), test.texts...)
				}
				parsedByOthers(t, test.code, "check", "--policy", policy, second)
			})
		}
		expected(t, exitFindings, []string{"check", "--baseline", first, second}, "NET_RAW is needed, and was neither needed nor tried in the baseline", "MKNOD was tried and denied, and was neither needed nor tried in the baseline")
		expected(t, exitDone, []string{"check", "--baseline", second, first})
		expected(t, exitDone, []string{"check", "--baseline", second, first, second}, "passed: 1 container")
	})
}

// failedInJUnit returns the number of failed tests in a report.
func failedInJUnit(t *testing.T, text string) int {
	t.Helper()
	suites, err := junit.Ingest([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	failed := 0
	for _, suite := range suites {
		failed += suite.Totals.Failed
	}
	return failed
}

// parsedByOthers runs a check and verifies with independent parsers that SARIF and JUnit report failures exactly if the
// check fails.
func parsedByOthers(t *testing.T, code int, arguments ...string) {
	t.Helper()
	log, err := sarif.FromString(expected(t, code, append(arguments, "-o", "sarif")).stdout)
	if err != nil {
		t.Fatal(err)
	}
	if err := log.Validate(); err != nil {
		t.Errorf("SARIF: %v", err)
	}
	failures := 0
	for _, r := range log.Runs[0].Results {
		if r.Kind == "fail" {
			failures++
		}
	}
	text := expected(t, code, append(arguments, "-o", "junit")).stdout
	failed := failedInJUnit(t, text)
	if failures != failed || (failed > 0) != (code == exitFindings) {
		t.Errorf("exit code %d, %d failures in SARIF, %d in JUnit", code, failures, failed)
	}
	if err := xml.Unmarshal([]byte(text), new(struct{})); err != nil {
		t.Error(err)
	}
}

func TestPolicyCanRequireAProof(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "proved.json")
	mustExecute(t, binary, "verify", "--save", file, "--", "docker", "run", "--rm", "--name", "proved-by-policy", "bb", "chroot", "/", "true")
	policy := written(t, "policy.yaml", "version: 1\nrules:\n  - {name: r, proved: true, allow: [SYS_CHROOT]}\n")
	expected(t, exitDone, []string{"check", "--policy", policy, file}, "passes")
	valid(t, "profile", contents(t, file))
	valid(t, "report", expected(t, exitDone, []string{"report", "-o", "json", file}).stdout)
}

// Attackers choose these values: names, labels and names of programs.
func TestHostileNamesCannotBreakReports(t *testing.T) {
	t.Parallel()
	const label = "\"quotes'\n<script>alert(1)</script>\x1b[2J\u202e]]>&amp;{{.}}`$(id)`"
	name := "hostile_" + strings.Repeat("n", 247)
	file := saved(t, name,
		"--label", "note="+label+strings.Repeat("ü", 255), "--label", strings.Repeat("k", 255)+"=", "--label", "com.docker.compose.service=```\n"+label,
		"bb", "sh", "-c", "printf '```"+`"\n<b>\033[2J' > /proc/self/comm; : < /data/secret
			program="$(printf '/tmp/%%s]]>&"\n\033[1m' '\xff')"; cp /bin/probe "$program"; "$program" rawsock`)
	valid(t, "profile", contents(t, file))
	valid(t, "report", expected(t, exitDone, []string{"report", "-o", "json", file}).stdout)
	valid(t, "diff", expected(t, exitDone, []string{"diff", "-o", "json", file, file}).stdout)
	valid(t, "check", expected(t, exitFindings, []string{"check", "--deny=ALL", "-o", "json", file}).stdout)
	parsedByOthers(t, exitFindings, "check", "--deny=ALL", file)
	nothing := saved(t, name, "--label", "com.docker.compose.service=```\n"+label, "bb", "true")
	for _, arguments := range [][]string{{"check", "--deny=ALL", file}, {"diff", nothing, file}, {"diff", "--all", nothing, file}, {"check", "--baseline", nothing, file}} {
		r := execute(t, append([]string{binary}, arguments...)...)
		if !strings.Contains(r.stdout, "DAC_OVERRIDE") || !strings.Contains(r.stdout, "NET_RAW") {
			t.Errorf("%v: not all uses are in\n%s%s", arguments, r.stdout, r.stderr)
		}
		for line := range strings.Lines(r.stdout + r.stderr) {
			if strings.HasPrefix(strings.TrimSpace(line), "```") {
				t.Errorf("%v: %q", arguments, line)
			}
			if i := strings.IndexFunc(strings.TrimSuffix(line, "\n"), func(c rune) bool { return !unicode.IsGraphic(c) || c == unicode.ReplacementChar }); i >= 0 {
				t.Errorf("%v: %q", arguments, line)
			}
		}
	}
}
