package e2e

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/joshdk/go-junit"
	"github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif"
)

const examples = "../../examples/ci"

// project is a copy of the example, with a directory for the tested capmon and for other programs: sudo only executes
// its arguments; gh and curl copy the comment to the file comment.md.
type project struct {
	t    *testing.T
	root string // the repository, which has only the example
	env  []string
}

func newProject(t *testing.T) project {
	t.Helper()
	root := t.TempDir()
	p := project{t, root, append(os.Environ(), "IMAGE=bb", "PATH="+filepath.Join(root, "bin")+":"+os.Getenv("PATH"),
		"COMPOSE_PROJECT_NAME="+strings.ToLower(t.Name()), "GITHUB_STEP_SUMMARY="+filepath.Join(root, "summary.md"))}
	err := errors.Join(
		os.CopyFS(p.path(""), os.DirFS(examples)),
		os.Mkdir(filepath.Join(root, "bin"), 0o755),
		os.Symlink(binary, filepath.Join(root, "bin", "capmon")),
		os.WriteFile(filepath.Join(root, "bin", "sudo"), []byte("#!/bin/sh\nwhile case $1 in -*) ;; *) false ;; esac; do shift; done\nexec \"$@\"\n"), 0o755),
		os.WriteFile(filepath.Join(root, "bin", "gh"), []byte("#!/bin/sh\nwhile test \"$1\" != --body-file; do shift; done\ncp \"$2\" "+root+"/comment.md\n"), 0o755),
		os.WriteFile(filepath.Join(root, "bin", "curl"), []byte("#!/bin/sh\nfor word; do case $word in body@*) cp \"${word#body@}\" "+root+"/comment.md ;; esac; done\n"), 0o755),
	)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if code, out := p.run("docker compose down", p.path("")); code != 0 {
			t.Error(out)
		}
	})
	return p
}

func (p project) path(file string) string { return filepath.Join(p.root, "examples/ci", file) }

// run runs a script as the runners of GitHub and GitLab do.
func (p project) run(script, dir string) (code int, output string) {
	p.t.Helper()
	cmd := exec.Command("bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script)
	cmd.Dir, cmd.Env = dir, p.env
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		p.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// edit replaces a text in a file.
func (p project) edit(file, before, after string) {
	p.t.Helper()
	text := contents(p.t, p.path(file))
	if !strings.Contains(text, before) {
		p.t.Fatalf("%s has no %q", file, before)
	}
	if err := os.WriteFile(p.path(file), []byte(strings.Replace(text, before, after, 1)), 0o644); err != nil {
		p.t.Fatal(err)
	}
}

// needMore is a change that opens a raw socket and grants the capability for it.
func (p project) needMore() {
	p.edit("compose.yaml", "exec httpd", "ping -c1 127.0.0.1 && exec httpd")
	p.edit("compose.yaml", "cap_add: [CHOWN,", "cap_add: [NET_RAW, CHOWN,")
}

// commented verifies the comment on the pull request.
func (p project) commented(texts ...string) {
	p.t.Helper()
	comment := contents(p.t, filepath.Join(p.root, "comment.md"))
	if !strings.HasPrefix(comment, "**Failed: 1 of 2 containers violates a rule**\n") {
		p.t.Errorf("the comment is\n%s", comment)
	}
	for _, text := range texts {
		if !strings.Contains(comment, text) {
			p.t.Errorf("%q is not in the comment\n%s", text, comment)
		}
	}
}

// approve makes the new profile the baseline.
func (p project) approve() {
	p.t.Helper()
	if err := os.Rename(p.path("capabilities.json"), p.path("baseline.json")); err != nil {
		p.t.Fatal(err)
	}
}

// workflowStep is a step of a workflow.
type workflowStep struct {
	ID, Name, Run, If, Uses string
}

type workflow struct {
	Jobs map[string]struct {
		Defaults struct {
			Run struct {
				Shell     string
				Directory string `yaml:"working-directory"`
			}
		}
		Steps []workflowStep
	}
}

func parseYAML(t *testing.T, path string, into any) {
	t.Helper()
	if err := yaml.Unmarshal([]byte(contents(t, path)), into); err != nil {
		t.Fatal(err)
	}
}

// job runs the steps that a runner would run, and returns the exit code of each step by its name.
func (p project) job(w workflow) (codes map[string]int, output string) {
	p.t.Helper()
	codes = make(map[string]int)
	job := w.Jobs["capabilities"]
	failed := false
	for _, step := range job.Steps {
		if step.Run == "" || step.ID == "install" || failed && !strings.Contains(step.If, "!cancelled()") {
			continue
		}
		code, out := p.run(step.Run, filepath.Join(p.root, job.Defaults.Run.Directory))
		codes[step.Name], output = code, output+out
		failed = failed || code != 0
	}
	return codes, output
}

func TestGitHubWorkflowFailsOnNewNeeds(t *testing.T) {
	t.Parallel()
	// A separate build: actionlint needs another version of a library that capmon uses.
	mustExecute(t, "go", "run", "github.com/rhysd/actionlint/cmd/actionlint@v1.7.12", "-shellcheck=shellcheck", examples+"/github.yaml")
	var w workflow
	parseYAML(t, examples+"/github.yaml", &w)
	if shell := w.Jobs["capabilities"].Defaults.Run.Shell; shell != "bash" {
		t.Errorf("the steps are run by %q", shell)
	}

	p := newProject(t)
	if codes, out := p.job(w); codes["Profile the tests"] != 0 || codes["Check against the policy"] != 0 || codes["Compare with what is approved"] != exitUsage {
		t.Fatalf("without a baseline: %v\n%s", codes, out)
	}
	p.approve()
	p.needMore()
	codes, out := p.job(w)
	for name, want := range map[string]int{
		"Profile the tests": exitDone, "Check against the policy": exitFindings, "Compare with what is approved": exitFindings, "Write the findings for code scanning and for the comment": exitDone,
	} {
		if code, ran := codes[name]; !ran || code != want {
			t.Errorf("%s: exit code %d, want %d\n%s", name, code, want, out)
		}
	}
	for _, text := range []string{"**Failed: 1 of 2 containers violates a rule**\n", "-web-1` | `bb:latest` | ", "**New capabilities in 1 of 2 containers**\n", "\n- NET_RAW: NEW (granted: no → yes)\n"} {
		if summary := contents(t, p.root+"/summary.md"); !strings.Contains(summary, text) {
			t.Errorf("%q is not in the summary\n%s", text, summary)
		}
	}
	commenting := w.Jobs["comment"].Steps
	if code, out := p.run("PULL_REQUEST=1 GITHUB_REPOSITORY=a/b; "+commenting[len(commenting)-1].Run, p.path("")); code != 0 {
		t.Errorf("the comment: exit code %d\n%s", code, out)
	}
	p.commented("rule `no capabilities to escape`, `policy.yaml:", "NET_RAW is needed")
	log, err := sarif.FromString(contents(t, p.path("capabilities.sarif")))
	if err != nil || log.Validate() != nil {
		t.Fatal(err, log.Validate())
	}
	var rules []string
	for _, r := range log.Runs[0].Results {
		if r.Kind == "fail" {
			rules = append(rules, *r.RuleID)
		}
	}
	same(t, "rules that are violated", rules, []string{"used-NET_RAW", "new-NET_RAW"})
}

func TestGitLabJobFailsOnNewNeeds(t *testing.T) {
	t.Parallel()
	var jobs map[string]struct {
		Stage     string
		Tags      []string
		Before    []string `yaml:"before_script"`
		Script    []string
		After     []string `yaml:"after_script"`
		Variables map[string]string
		Needs     []string
		Rules     []map[string]string
		Artifacts struct {
			When    string
			Paths   []string
			Reports map[string]string
		}
	}
	if err := yaml.UnmarshalWithOptions([]byte(contents(t, examples+"/gitlab.yaml")), &jobs, yaml.Strict()); err != nil {
		t.Fatal(err)
	}
	job := jobs["capabilities"]
	script := strings.Join(job.Script, "\n")
	p := newProject(t)
	if code, out := p.run(script, p.root); code == 0 || !strings.Contains(out, "capmon: reading the profile: open baseline.json: no such file or directory") {
		t.Fatalf("without a baseline: exit code %d\n%s", code, out)
	}
	p.approve()
	if code, out := p.run(script, p.root); code != 0 || !strings.Contains(out, "no change in what is needed: CHOWN, SETGID, SETUID") || !strings.Contains(out, "passed: 2 containers") {
		t.Fatalf("without a change: exit code %d\n%s", code, out)
	}
	p.needMore()
	code, out := p.run(script, p.root)
	if code != exitFindings || !strings.Contains(out, "NEW: web NET_RAW") || !strings.Contains(out, "failed: 1 of 2 containers violates a rule") {
		t.Errorf("with a new need: exit code %d\n%s", code, out)
	}
	suites, err := junit.IngestFile(filepath.Join(p.root, job.Artifacts.Reports["junit"]))
	if err != nil {
		t.Fatal(err)
	}
	if code, out := p.run("CAPMON_NOTE_TOKEN=x CI_API_V4_URL=x CI_PROJECT_ID=1 CI_OPEN_MERGE_REQUESTS=a/b!1\n"+strings.Join(jobs["capabilities-note"].Script, "\n"), p.root); code != 0 {
		t.Errorf("the note: exit code %d\n%s", code, out)
	}
	p.commented("rule `no capabilities to escape`, `policy.yaml:")
	if code, out := p.run(strings.Join(job.After, "\n"), p.root); code != 0 {
		t.Errorf("afterwards: exit code %d\n%s", code, out)
	}
	var failed []string
	for _, suite := range suites {
		for _, test := range suite.Tests {
			if test.Status == junit.StatusFailed {
				failed = append(failed, test.Classname)
			}
		}
	}
	same(t, "rules that are violated", failed, []string{"used-NET_RAW", "new-NET_RAW"})
	if _, err := os.Stat(filepath.Join(p.root, job.Artifacts.Paths[0])); err != nil {
		t.Error(err)
	}
}

// pinnedAction matches an action that is pinned by the hash of its commit, with its version for readers: an attacker
// who takes over the action cannot move a hash as they can move a tag.
var pinnedAction = regexp.MustCompile(`^ +- uses: [\w.-]+(/[\w.-]+)+@[0-9a-f]{40} # v\d+\.\d+\.\d+$`)

// moving matches versions whose meaning can change.
var moving = regexp.MustCompile(`@(latest|main|master|HEAD)\b|:latest\b|-version: ['"]?(stable|oldstable|latest)|@v\d+(\.\d+)?$`)

func TestExamplesPinVersions(t *testing.T) {
	t.Parallel()
	var actions int
	for _, name := range []string{"compose.yaml", "github.yaml", "gitlab.yaml"} {
		for line := range strings.Lines(contents(t, filepath.Join(examples, name))) {
			line = strings.TrimSuffix(line, "\n")
			if strings.Contains(line, "uses:") {
				actions++
				if !pinnedAction.MatchString(line) {
					t.Errorf("%s: the action is not pinned to a commit: %s", name, line)
				}
			}
			if moving.MatchString(line) {
				t.Errorf("%s: the version may move: %s", name, line)
			}
		}
	}
	if actions == 0 {
		t.Error("no action was found")
	}
}

// The example policy is valid against the schema.
func TestExamplePolicyIsValid(t *testing.T) {
	t.Parallel()
	text, err := yaml.YAMLToJSON([]byte(contents(t, examples+"/policy.yaml")))
	if err != nil {
		t.Fatal(err)
	}
	valid(t, "policy", string(text))
}
