package report

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/capmon/capmon/internal/markdown"
	"github.com/capmon/capmon/internal/policy"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/report/reporttest"
	"github.com/capmon/capmon/internal/testutil"
)

// goldenMarkdown compares Markdown with testdata/markdown/COMMAND-NAME.md. go test -update writes this file.
func goldenMarkdown(t *testing.T, command, name, got string) {
	t.Helper()
	file := command + "-" + strings.ReplaceAll(name, " ", "-") + ".md"
	testutil.Golden(t, filepath.Join("testdata", "markdown", file), []byte(got), *update)
}

func TestMarkdown(t *testing.T) {
	profiles := reporttest.Profiles()
	for _, name := range []string{"empty", "needs-and-unused", "several-runs", "several-patterns", "existed", "incomplete", "denied", "files", "proved", "never-started", "spared", "nothing-granted", "hostile"} {
		got, _ := rendered(t, profiles[name], Markdown, Options{})
		goldenMarkdown(t, "report", name, got)
	}
	all, _ := rendered(t, profiles["needs-and-unused"], Markdown, Options{All: true})
	goldenMarkdown(t, "report", "needs-and-unused-all", all)
	for _, name := range []string{"new", "same", "denied", "changed", "unsure", "containers", "proved", "nothing", "hostile"} {
		goldenMarkdown(t, "diff", name, comparisonText(t, comparison(t, reporttest.Comparisons()[name]), Markdown, Options{}))
	}
	for _, name := range []string{"passed", "violated", "baseline", "start-unseen", "unmatched", "hostile"} {
		goldenMarkdown(t, "check", name, checkText(t, reporttest.Checks(t)[name], Markdown, Options{}))
	}
	for _, name := range []string{"minimal", "nothing needed", "soft", "not proved", "hostile"} {
		goldenMarkdown(t, "verify", name, proofText(t, reporttest.Proofs()[name], Markdown))
	}
}

// The list of a container never appears without all of its cautions, which are before the command.
func TestMarkdownHasAllCautions(t *testing.T) {
	for name, p := range reporttest.Profiles() {
		text, _ := rendered(t, p, Markdown, Options{})
		blocks := strings.Split(text, "<details")[1:]
		summaries := summaries(p)
		if len(blocks) != len(summaries) {
			t.Errorf("%s: %d blocks for %d containers", name, len(blocks), len(summaries))
		}
		for _, s := range summaries {
			of := markdown.Summary(title(s), s.Container.Image, "")
			complete := false
			for _, block := range blocks {
				if !strings.Contains(block, "<summary>"+of) {
					continue
				}
				before, _, _ := strings.Cut(block, "```sh\n")
				found := 0
				for _, caution := range cautions(s) {
					if strings.Contains(before, "\n- "+markdown.Text(caution)+"\n") {
						found++
					}
				}
				complete = complete || found == len(cautions(s))
			}
			if !complete {
				t.Errorf("%s: %s lacks a caution before the command:\n%s", name, title(s), text)
			}
		}
	}
}

// A comment on GitHub has at most 65536 characters, even if containers choose long names.
func TestMarkdownIsLimited(t *testing.T) {
	base := reporttest.Profiles()["hostile"].Runs[0]
	var runs []profile.Run
	for i := range 300 {
		run := base
		run.ID = fmt.Sprint("observation/", i)
		run.Container.ID = fmt.Sprintf("%064x", i)
		run.Container.Name = strings.Repeat("`|\n", 1000) + fmt.Sprint(i)
		run.Incomplete = []string{strings.Repeat("@x ", 10000)}
		runs = append(runs, run)
	}
	p := profile.New(runs...)
	report, _ := rendered(t, p, Markdown, Options{})
	result := policy.Check(p, policy.Policy{Unmatched: policy.Fail}, nil)
	for i := range 1000 {
		result.Missing, result.Idle = append(result.Missing, fmt.Sprint("missing-", i)), append(result.Idle, fmt.Sprint("idle-", i))
	}
	for command, text := range map[string]string{
		"report": report,
		"check":  checkText(t, result, Markdown, Options{}),
		"diff":   comparisonText(t, comparison(t, [2]profile.Profile{profile.New(), p}), Markdown, Options{}),
	} {
		if len(text) > markdown.Limit || strings.Count(text, "<details") != strings.Count(text, "</details>") || !strings.Contains(text, "<details") {
			t.Errorf("%s: %d bytes", command, len(text))
		}
		if !strings.Contains(text, " of 300 containers, because a comment has at most 65,536 characters.** To see one container, run `capmon "+command+" --container NAME`.") {
			t.Errorf("%s does not say what it leaves out: %s", command, text[max(0, len(text)-400):])
		}
	}
}

func TestMarkdownWritersReturnErrors(t *testing.T) {
	for command, err := range map[string]error{
		"report": Write(full{}, full{}, reporttest.Profiles()["needs-and-unused"], Markdown, Options{}),
		"diff":   WriteComparison(full{}, comparison(t, reporttest.Comparisons()["new"]), Markdown, Options{}),
		"check":  WriteCheck(full{}, reporttest.Checks(t)["violated"], Markdown, Options{}, "", reporttest.Saturday),
		"verify": WriteProof(full{}, reporttest.Proof(), Markdown, Options{}),
	} {
		if !errors.Is(err, errFull) {
			t.Errorf("%s: got %v", command, err)
		}
	}
}
