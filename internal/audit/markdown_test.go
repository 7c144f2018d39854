package audit

import (
	"flag"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/findings"
	"github.com/capmon/capmon/internal/markdown"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/testutil"
)

var update = flag.Bool("update", false, "write the golden files in testdata instead of comparing with them")

// renamed gives a container its own name and ID.
func renamed(subject Subject, name string) Subject {
	subject.Info.Name, subject.Info.ID = name, strings.Repeat(fmt.Sprintf("%x", name[0]), 32)
	subject.Settings.Container.Name = "/" + name
	return subject
}

// fleet returns an audit with a container of each status.
func fleet() Audit {
	web := web(nil)
	privileged := renamed(granted("CHOWN"), "runner")
	privileged.Info.Privileged = true
	privileged.Settings.Container.HostConfig.Privileged = true
	long := ran(time.Hour, used(capability.Chown))
	passing := long
	passing.ID, passing.Container.Name = "o/2", "tight"
	p := profile.New(long, passing)
	return Of([]Subject{renamed(granted("CHOWN"), "tight"), renamed(granted("KILL"), "unseen"), web, privileged},
		Options{Profile: &p, Last: capability.CheckpointRestore, Thresholds: thresholds, Time: noon})
}

func TestMarkdown(t *testing.T) {
	static := Of([]Subject{web(nil), renamed(granted(), "nothing")}, Options{Last: capability.CheckpointRestore, Thresholds: thresholds, Time: noon})
	for name, audit := range map[string]Audit{"fleet": fleet(), "static": static, "empty": {}, "hostile": hostileAudit()} {
		testutil.Golden(t, filepath.Join("testdata", "markdown", name+".md"), []byte(write(t, audit, Markdown)), *update)
	}
}

func TestMarkdownResult(t *testing.T) {
	result := func(strict bool, statuses ...findings.Status) string {
		audit := Audit{Strict: strict}
		for _, status := range statuses {
			audit.Containers = append(audit.Containers, &ContainerResult{Status: status, Related: []Related{{Rule: "CIS-5.5", Status: findings.Fail}}})
		}
		return audit.result()
	}
	for want, got := range map[string]string{
		"There is no container to audit":                                                                result(false),
		"Passed: no container fails CIS Docker Benchmark 5.4":                                           result(false, findings.Pass),
		"Failed: 1 of 1 container fails CIS Docker Benchmark 5.4 or a related rule":                     result(true, findings.Pass),
		"Failed: 1 of 2 containers fails CIS Docker Benchmark 5.4":                                      result(false, findings.Pass, findings.Fail),
		"Failed: 2 of 3 containers fail CIS Docker Benchmark 5.4":                                       result(false, findings.Manual, findings.Fail, findings.Fail),
		"No container fails CIS Docker Benchmark 5.4, but a person must decide about 2 of 3 containers": result(false, findings.Pass, findings.Manual, findings.Manual),
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// The list of a container never appears without the reasons why it may be incomplete, which are before the commands.
func TestMarkdownHasAllDoubts(t *testing.T) {
	short := with(ran(time.Second, used(capability.Chown)), func(r *profile.Run) { r.Incomplete, r.Existed = []string{"3 checks were lost"}, true })
	for name, subject := range map[string]Subject{
		"fails": web(nil), "passes": granted("CHOWN"), "manual": granted("CHOWN", "KILL"),
		"privileged": web(func(h *container.HostConfig, _ *container.Config) { h.Privileged = true }),
	} {
		audit := Of([]Subject{subject}, Options{Profile: short, Last: capability.CheckpointRestore, Thresholds: thresholds, Time: noon})
		c := audit.Containers[0]
		if len(c.Observation.Doubts) < 3 {
			t.Errorf("%s: %q", name, c.Observation.Doubts)
		}
		if row := audit.Overview().Rows[0]; !row.CertainlyUnused().Empty() {
			t.Errorf("%s: %+v is certain", name, row)
		}
		for _, form := range []string{write(t, audit, Markdown), c.markdown(false, true).Short} {
			before, _, _ := strings.Cut(form, "```sh\n")
			for _, doubt := range append(c.Observation.Doubts, c.Reasons...) {
				if !strings.Contains(before, "\n- "+markdown.Text(doubt)+"\n") {
					t.Errorf("%s lacks %s:\n%s", name, doubt, form)
				}
			}
		}
	}
}

func TestMarkdownIsLimited(t *testing.T) {
	audit := Audit{}
	for i := range 300 {
		list := capability.DockerDefault()
		audit.Containers = append(audit.Containers, &ContainerResult{
			Name: fmt.Sprint(strings.Repeat("|`", 500), i), Status: findings.Fail, Grants: Grants{Set: &list}, Reasons: []string{strings.Repeat("@x ", 10000)},
			Remedy: Remedy{List: &list, Run: []string{strings.Repeat("docker ", 10000)}},
		})
	}
	got := write(t, audit, Markdown)
	if len(got) > markdown.Limit || strings.Count(got, "<details") != strings.Count(got, "</details>") || !strings.Contains(got, "<details") {
		t.Errorf("%d bytes", len(got))
	}
	if !strings.HasSuffix(got, " of 300 containers, because a comment has at most 65,536 characters.** To see one container, run `capmon audit NAME`. To see everything, use `-o json`.\n") {
		t.Error(got[len(got)-400:])
	}
}
