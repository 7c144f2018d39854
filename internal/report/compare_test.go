package report

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/joshdk/go-junit"
	"github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/compare"
	"github.com/capmon/capmon/internal/policy"
	"github.com/capmon/capmon/internal/printable"
	"github.com/capmon/capmon/internal/profile"
)

// twoProfiles returns the cases of the golden files of comparisons.
func twoProfiles() map[string][2]profile.Profile {
	own := use(capability.Chown, classify.Required, 3, checked("nginx", "chown", "setattr_prepare"))
	bind := use(capability.NetBindService, classify.Required, 1, checked("nginx", "bind(AF_INET, port 80)", "__inet_bind"))
	ping := use(capability.NetRaw, classify.Required, 1, checked("ping", "socket(AF_INET, SOCK_RAW, ICMP)", "inet_create"))
	mount := use(capability.SysAdmin, classify.Denied, 1, checked("mount", "mount(tmpfs)", "path_mount"))
	memory := use(capability.SysAdmin, classify.Irrelevant, 900, checked("nginx", "mmap", "security_vm_enough_memory_mm"), because("checked on every change of memory size"))
	other := func(change func(*profile.Use), u profile.Use) profile.Use { change(&u); return u }
	renamed := other(func(u *profile.Use) { u.Program = "install" }, own)
	needless := other(func(u *profile.Use) { u.Class, u.Reason = classify.Redundant, "the owner stays the same" }, own)
	after := func(uses ...profile.Use) profile.Run { return changed(run(1, uses...), called("web", "nginx:1.29")) }

	many := []profile.Use{own}
	for _, program := range []string{"a", "b", "c", "d", "e"} {
		many = append(many, other(func(u *profile.Use) { u.Program, u.Call = program, "fchownat" }, own), other(func(u *profile.Use) { u.Program = program }, ping))
	}
	return map[string][2]profile.Profile{
		"same":          {profile.New(run(1, own, memory)), profile.New(run(1, own, memory))},
		"no-needs":      {profile.New(run(1)), profile.New(run(1))},
		"new":           {profile.New(run(1, own)), profile.New(after(own, ping, bind))},
		"new-patterns":  {profile.New(run(1, own)), profile.New(after(own, other(func(u *profile.Use) { u.Program, u.Call = "tar", "fchownat" }, own)))},
		"gone":          {profile.New(run(1, own, ping)), profile.New(after(own))},
		"changed":       {profile.New(run(1, own, bind)), profile.New(after(renamed, other(func(u *profile.Use) { u.Call = "bind(AF_INET6, port 443)" }, bind)))},
		"many-patterns": {profile.New(run(1, own)), profile.New(after(many...))},
		"no-need":       {profile.New(run(1, own)), profile.New(after(needless))},
		"denied":        {profile.New(run(1, own)), profile.New(changed(after(own, mount), func(r *profile.Run) { r.Grants.Kernel = ptr(capability.Of(capability.Chown)) }))},
		"denied-now":    {profile.New(run(1, ping)), profile.New(after(other(func(u *profile.Use) { u.Class, u.Granted = classify.Denied, false }, ping)))},
		"unsure": {
			profile.New(changed(run(1, own), func(r *profile.Run) { r.Existed = true })),
			profile.New(changed(after(ping), func(r *profile.Run) {
				r.Incomplete, r.Ended = []string{"3 checks were lost"}, r.Started.Add(10*time.Second)
			})),
		},
		"same-as-far-as-seen": {
			profile.New(changed(run(1, own), func(r *profile.Run) { r.Existed = true })),
			profile.New(changed(after(own), func(r *profile.Run) { r.Running = true })),
		},
		"containers": {
			profile.New(run(1, own), changed(run(2, bind), called("old", "apache:2"))),
			profile.New(run(1, own), changed(run(3, ping), called("new", "caddy:2"))),
		},
		"renamed": {profile.New(changed(run(1, own), called("vain_bohr", "nginx:1.28"))), profile.New(changed(run(1, own), called("eager_curie", "nginx:1.29")))},
		"proved":  {profile.New(run(1, own)), withProof(profile.New(after(own)), proof(func(p *profile.Proof) { p.Container.Image = "nginx:1.29" }))},
		"nothing": {profile.New(), profile.New()},
		"hostile": {
			profile.New(changed(run(1, use(capability.Chown, classify.Required, 1, checked(hostile, "chown", "site"))), called("one", "app"))),
			profile.New(changed(run(1,
				use(capability.Chown, classify.Class(hostile), 1, checked("```", "chown", "site"), because(hostile)),
				use(capability.Kill, classify.Denied, 1, checked(hostile, hostile, hostile), because(hostile)),
				use(capability.Setuid, classify.Required, 1, checked("```", hostile, hostile), unsure(hostile)),
			), called(hostile, hostile), func(r *profile.Run) { r.Incomplete, r.Unexamined = []string{hostile}, []string{hostile} })),
		},
	}
}

func comparison(t *testing.T, sides [2]profile.Profile) compare.Comparison {
	t.Helper()
	c, err := compare.Profiles(sides[0], sides[1], compare.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func comparisonText(t *testing.T, c compare.Comparison, format Format, options Options) string {
	t.Helper()
	var out bytes.Buffer
	if err := WriteComparison(&out, c, format, options); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// golden compares the files with testdata/DIR/NAME.txtar. go test -update writes this file.
func golden(t *testing.T, dir, name string, files ...txtar.File) {
	t.Helper()
	path := filepath.Join("testdata", dir, name+".txtar")
	got := txtar.Format(&txtar.Archive{Files: files})
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("differs from %s (go test -update writes it again):\n%s", path, diff)
	}
}

func TestComparisons(t *testing.T) {
	for name, sides := range twoProfiles() {
		t.Run(name, func(t *testing.T) {
			c := comparison(t, sides)
			golden(t, "compare", name,
				txtar.File{Name: "table", Data: []byte(comparisonText(t, c, Table, Options{}))},
				txtar.File{Name: "table --all", Data: []byte(comparisonText(t, c, Table, Options{All: true}))},
				txtar.File{Name: "json", Data: []byte(comparisonText(t, c, JSON, Options{}))},
			)
		})
	}
}

// Users quote a comparison in a pull request, in a Markdown block that a line of three backquotes ends.
func TestNoNameEndsTheMarkdownBlockOfAComparison(t *testing.T) {
	for name, sides := range twoProfiles() {
		for _, all := range []bool{false, true} {
			text := comparisonText(t, comparison(t, sides), Table, Options{All: all})
			for line := range strings.Lines(text) {
				if strings.HasPrefix(strings.TrimSpace(line), "```") {
					t.Errorf("%s: %q", name, line)
				}
			}
			graphic(t, name, text)
		}
	}
}

func graphic(t *testing.T, about, text string) {
	t.Helper()
	for _, r := range text {
		if r != '\n' && !unicode.IsGraphic(r) || r == unicode.ReplacementChar {
			t.Errorf("%s: %q in\n%q", about, r, text)
			return
		}
	}
}

func TestColorOnlyAddsColorToComparisonsAndChecks(t *testing.T) {
	for name, sides := range twoProfiles() {
		c := comparison(t, sides)
		if diff := cmp.Diff(comparisonText(t, c, Table, Options{}), escape.ReplaceAllString(comparisonText(t, c, Table, Options{Color: true}), "")); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	for name, result := range checks(t) {
		if diff := cmp.Diff(checkText(t, result, Table, Options{}), escape.ReplaceAllString(checkText(t, result, Table, Options{Color: true}), "")); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestWriteComparisonAndWriteCheckReturnErrors(t *testing.T) {
	c, result := comparison(t, twoProfiles()["new"]), checks(t)["violated"]
	for _, format := range []Format{Table, JSON, JUnit, SARIF} {
		if err := WriteCheck(full{}, result, format, Options{}, "", saturday); !errors.Is(err, errFull) {
			t.Errorf("%s: got %v", format, err)
		}
	}
	for _, format := range []Format{Table, JSON} {
		if err := WriteComparison(full{}, c, format, Options{}); !errors.Is(err, errFull) {
			t.Errorf("%s: got %v", format, err)
		}
	}
}

// checks returns the cases of the golden files of checks.
func checks(t *testing.T) map[string]policy.Result {
	t.Helper()
	own := use(capability.Chown, classify.Required, 3, checked("nginx", "chown", "setattr_prepare"))
	ping := use(capability.NetRaw, classify.Required, 1, checked("ping", "socket(AF_INET, SOCK_RAW, ICMP)", "inet_create"))
	mount := use(capability.SysAdmin, classify.Denied, 1, checked("mount", "mount(tmpfs)", "path_mount"))
	var many []profile.Use
	for _, program := range []string{"a", "b", "c", "d", "e"} {
		many = append(many, use(capability.NetRaw, classify.Required, 2, checked(program, "socket", "inet_create")))
	}
	parse := func(text string) policy.Policy {
		p, err := policy.Parse("policy.yaml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	const rules = `version: 1
rules:
  - name: no raw sockets
    deny: [NET_RAW, SYS_ADMIN]
  - name: web
    match: {image: [nginx]}
    allow: [CHOWN]
    allow-granted: [CHOWN, NET_RAW]
    max-unused: 0
    complete: true
    whole-run: true
    proved: true
  - name: idle
    match: {service: [mail]}
    allow: []
`
	two := profile.New(run(1, own, ping, mount), changed(run(2, own), called("db", "postgres")))
	baseline, err := compare.Profiles(profile.New(run(1, own)), two, compare.Options{})
	if err != nil {
		t.Fatal(err)
	}
	partial := changed(run(1, own), func(r *profile.Run) { r.Existed, r.Incomplete = true, []string{"3 checks were lost"} })
	hostileRun := changed(run(1,
		use(capability.Chown, classify.Required, 1, checked(hostile, hostile, hostile), unsure(hostile)),
		use(capability.Kill, classify.Denied, 1, checked(hostile, hostile, hostile), because(hostile)),
	), called(hostile, hostile), func(r *profile.Run) { r.Incomplete = []string{hostile} })
	return map[string]policy.Result{
		"passed":           policy.Check(profile.New(run(1, own)), parse("version: 1\nrules:\n  - {name: a, allow: [CHOWN]}\n"), nil),
		"violated":         policy.Check(two, parse(rules), nil),
		"baseline":         policy.Check(two, policy.Policy{}, &baseline),
		"many-patterns":    policy.Check(profile.New(run(1, many...)), parse(rules), nil),
		"partial":          policy.Check(profile.New(partial), parse("version: 1\neven-if-start-unseen: true\nrules:\n  - {name: a, allow: [CHOWN]}\n"), nil),
		"start-unseen":     policy.Check(profile.New(partial), parse("version: 1\nrules:\n  - {name: a, allow: [CHOWN]}\n"), nil),
		"partial-violates": policy.Check(profile.New(partial), parse("version: 1\nrules:\n  - {name: a, complete: true, whole-run: true}\n"), nil),
		"unmatched":        policy.Check(profile.New(run(1, own)), parse("version: 1\nunmatched: deny\nrules:\n  - {name: a, match: {service: [db]}, allow: [CHOWN]}\n"), nil),
		"hostile":          policy.Check(profile.New(hostileRun), parse("version: 1\nrules:\n  - {name: a, deny: [ALL], complete: true}\n"), nil),
	}
}

func checkText(t *testing.T, result policy.Result, format Format, options Options) string {
	t.Helper()
	var out bytes.Buffer
	if err := WriteCheck(&out, result, format, options, "1.0", saturday); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestChecks(t *testing.T) {
	for name, result := range checks(t) {
		t.Run(name, func(t *testing.T) {
			golden(t, "check", name,
				txtar.File{Name: "table", Data: []byte(checkText(t, result, Table, Options{}))},
				txtar.File{Name: "table --all", Data: []byte(checkText(t, result, Table, Options{All: true}))},
				txtar.File{Name: "json", Data: []byte(checkText(t, result, JSON, Options{}))},
			)
			graphic(t, name, checkText(t, result, Table, Options{All: true}))
		})
	}
}

// SARIF and JUnit contain a finding for each rule that a container violates, and one for each container that passes. If
// capmon did not observe the container completely, they contain another finding, for a person to review.
func TestSARIFAndJUnitContainAllFindings(t *testing.T) {
	type found struct{ rule, subject, kind string }
	for name, want := range map[string][]found{
		"passed":       {{"policy", "web", "pass"}},
		"partial":      {{"policy", "web", "pass"}, {"observation", "web", "review"}},
		"start-unseen": {{"incomplete", "web", "fail"}, {"observation", "web", "review"}},
		"violated": {
			{"used-NET_RAW", "web", "fail"}, {"denied-SYS_ADMIN", "web", "fail"}, {"granted", "web", "fail"},
			{"unused", "web", "fail"}, {"unproved", "web", "fail"}, {"policy", "db", "pass"},
		},
		"baseline": {{"new-NET_RAW", "web", "fail"}, {"new-SYS_ADMIN", "web", "fail"}, {"new-CHOWN", "db", "fail"}},
		"hostile":  {{"used-CHOWN", printable.Text(hostile), "fail"}, {"denied-KILL", printable.Text(hostile), "fail"}, {"incomplete", printable.Text(hostile), "fail"}, {"observation", printable.Text(hostile), "review"}},
	} {
		result := checks(t)[name]
		log, err := sarif.FromString(checkText(t, result, SARIF, Options{}))
		if err != nil {
			t.Fatal(err)
		}
		var got []found
		for _, r := range log.Runs[0].Results {
			got = append(got, found{*r.RuleID, *r.Locations[0].LogicalLocations[0].Name, r.Kind})
		}
		sorted := cmpopts.SortSlices(func(one, other found) bool { return fmt.Sprint(one) < fmt.Sprint(other) })
		if diff := cmp.Diff(want, got, sorted, cmp.AllowUnexported(found{})); diff != "" || log.Validate() != nil {
			t.Errorf("%s: SARIF: %v %s", name, log.Validate(), diff)
		}
		suites, err := junit.Ingest([]byte(checkText(t, result, JUnit, Options{})))
		if err != nil {
			t.Fatal(err)
		}
		got = nil
		kinds := map[junit.Status]string{junit.StatusPassed: "pass", junit.StatusFailed: "fail", junit.StatusSkipped: "review"}
		for _, suite := range suites {
			for _, test := range suite.Tests {
				got = append(got, found{test.Classname, test.Name, kinds[test.Status]})
			}
		}
		if diff := cmp.Diff(want, got, sorted, cmp.AllowUnexported(found{})); diff != "" {
			t.Errorf("%s: JUnit: %s", name, diff)
		}
	}
}

// docs/json.md describes each field of comparisons and checks.
func TestEveryJSONFieldOfComparisonsAndChecksIsDocumented(t *testing.T) {
	docs, err := os.ReadFile("../../docs/json.md")
	if err != nil {
		t.Fatal(err)
	}
	all := goldens(t)
	for _, schema := range []string{"diff", "check"} {
		for name, text := range all[schema] {
			for field := range fieldsOf(instance(t, text)) {
				if !strings.Contains(string(docs), "`"+field+"`") {
					t.Errorf("%s, %s: docs/json.md does not describe %s", schema, name, field)
				}
			}
		}
	}
}
