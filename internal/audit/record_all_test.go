package audit

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/google/go-cmp/cmp"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/profile"
)

// named returns a container with a name and labels that is granted Docker's default.
func named(name string, labels map[string]string) Subject {
	subject := web(func(_ *container.HostConfig, c *container.Config) { c.Labels = labels })
	subject.Info.ID, subject.Info.Name = strings.Repeat("c", 52)+fmt.Sprintf("%-12.12s", name), name
	subject.Settings.Container.Name = "/" + name
	return subject
}

func inProject(project, service string) Subject {
	const prefix = "com.docker.compose."
	return named(project+"-"+service+"-1", map[string]string{
		prefix + "project": project, prefix + "service": service, prefix + "config-hash": "c0ffee",
		prefix + "project.working_dir": "/srv/" + project, prefix + "project.config_files": "/srv/" + project + "/compose.yaml",
	})
}

func task(service string, number int) Subject {
	return named(fmt.Sprintf("%s.%d", service, number), map[string]string{
		"com.docker.swarm.service.name": service, "com.docker.swarm.task.id": fmt.Sprint(number),
	})
}

// serving is a database in the usual place.
var serving = Recorder{Database: "/var/lib/capmon/capmon.db", DefaultDatabase: true, Exists: true}

func TestOneRecordingForAllContainers(t *testing.T) {
	host := []Subject{
		inProject("shop", "web"), inProject("shop", "db"), inProject("blog", "web"), task("api", 1), task("api", 2),
		named("one", nil), named("two", nil), named("three it's", nil),
	}
	var singles, projects []Subject
	for i := range 9 {
		singles = append(singles, named(fmt.Sprintf("s%d", i), nil))
		projects = append(projects, inProject(fmt.Sprintf("p%d", i), "web"))
	}
	running := serving
	running.Running = true
	elsewhere := Recorder{Database: "/srv/my db", Exists: true}
	brief := with(ran(time.Second, used(capability.Chown)), nil)
	for _, test := range []struct {
		name     string
		subjects []Subject
		options  Options
		want     string
	}{
		{"one container", host[:1], Options{Profile: &profile.Profile{}}, ""},
		{"no unknown needs", []Subject{granted(), granted()}, Options{}, ""},
		{"nothing was recorded", host, Options{Profile: &profile.Profile{}}, `
8 of these 8 containers have needs that capmon may not know.
To find out, record all containers at once:
  1. Start the recording. To run it as a systemd service, see docs/serve.md.
       sudo capmon serve
  2. In your next maintenance window, replace these containers with new ones, so that capmon sees their start.
     A restart is not enough.
       docker compose --project-name=blog --project-directory=/srv/blog --file=/srv/blog/compose.yaml up --detach --force-recreate
       docker compose --project-name=shop --project-directory=/srv/shop --file=/srv/shop/compose.yaml up --detach --force-recreate
       docker service update --force api
       capmon audit --static one   # prints the commands for this container
       # and in the same way for "three it's", two
  3. Let them work for at least 10m0s (--min-observed), and audit again:
       sudo capmon audit
`},
		{"the database exists", host[5:7], Options{Profile: &profile.Profile{}, Recorder: serving}, `
2 of these 2 containers have needs that capmon may not know.
To find out, record all containers at once:
  1. Start capmon serve, unless it is running. It adds to the database /var/lib/capmon/capmon.db.
       sudo capmon serve
  2. In your next maintenance window, replace these containers with new ones, so that capmon sees their start.
     A restart is not enough.
       sudo capmon audit one   # prints the commands for this container
       # and in the same way for two
  3. Let them work for at least 10m0s (--min-observed), and audit again:
       sudo capmon audit
`},
		{"serve runs", append([]Subject{granted("CHOWN")}, projects[:2]...), Options{Profile: &profile.Profile{}, Recorder: running}, `
3 of these 3 containers have needs that capmon may not know.
To find out, record all containers at once:
  1. capmon serve is already recording all containers in the database /var/lib/capmon/capmon.db.
  2. In your next maintenance window, replace these containers with new ones, so that capmon sees their start.
     A restart is not enough.
       docker compose --project-name=p0 --project-directory=/srv/p0 --file=/srv/p0/compose.yaml up --detach --force-recreate
       docker compose --project-name=p1 --project-directory=/srv/p1 --file=/srv/p1/compose.yaml up --detach --force-recreate
       sudo capmon audit web   # prints the commands for this container
  3. Let them work for at least 10m0s (--min-observed), and audit again:
       sudo capmon audit
`},
		{"another database, more runs", singles[:2], Options{Profile: &profile.Profile{}, Recorder: elsewhere, Thresholds: Thresholds{Observed: time.Minute, Runs: 3}}, `
2 of these 2 containers have needs that capmon may not know.
To find out, record all containers at once:
  1. Start capmon serve, unless it is running. It adds to the database "/srv/my db".
       sudo capmon serve '--db=/srv/my db'
  2. In your next maintenance window, replace these containers with new ones, so that capmon sees their start.
     A restart is not enough.
       sudo capmon audit s0 '--db=/srv/my db'   # prints the commands for this container
       # and in the same way for s1
  3. Let them work for at least 1m0s (--min-observed) and 3 runs (--min-runs), and audit again:
       sudo capmon audit '--db=/srv/my db'
`},
		{"many containers and projects", append(singles, projects...), Options{Profile: &profile.Profile{}, Recorder: running}, `
18 of these 18 containers have needs that capmon may not know.
To find out, record all containers at once:
  1. capmon serve is already recording all containers in the database /var/lib/capmon/capmon.db.
  2. In your next maintenance window, replace these containers with new ones, so that capmon sees their start.
     A restart is not enough.
       docker compose --project-name=p0 --project-directory=/srv/p0 --file=/srv/p0/compose.yaml up --detach --force-recreate
       docker compose --project-name=p1 --project-directory=/srv/p1 --file=/srv/p1/compose.yaml up --detach --force-recreate
       docker compose --project-name=p2 --project-directory=/srv/p2 --file=/srv/p2/compose.yaml up --detach --force-recreate
       docker compose --project-name=p3 --project-directory=/srv/p3 --file=/srv/p3/compose.yaml up --detach --force-recreate
       docker compose --project-name=p4 --project-directory=/srv/p4 --file=/srv/p4/compose.yaml up --detach --force-recreate
       # and so on for 4 other Compose projects
       sudo capmon audit s0   # prints the commands for this container
       # and in the same way for s1, s2, s3, s4, s5 and 3 others
  3. Let them work for at least 10m0s (--min-observed), and audit again:
       sudo capmon audit
`},
		{"observed too briefly", []Subject{web(nil), web(nil), granted("CHOWN")}, Options{Profile: brief, Recorder: running}, `
2 of these 3 containers have needs that capmon may not know.
To find out, record all containers at once:
  1. capmon serve is already recording all containers in the database /var/lib/capmon/capmon.db.
  2. Let them work for at least 10m0s (--min-observed), and audit again:
       sudo capmon audit
`},
		{"some observed too briefly", []Subject{web(nil), granted("CHOWN", "KILL"), named("other", nil)}, Options{Profile: brief, Recorder: running}, `
3 of these 3 containers have needs that capmon may not know.
To find out, record all containers at once:
  1. capmon serve is already recording all containers in the database /var/lib/capmon/capmon.db.
  2. In your next maintenance window, replace 1 of these containers with new ones, so that capmon sees their start.
     A restart is not enough.
       sudo capmon audit other   # prints the commands for this container
  3. Let them work for at least 10m0s (--min-observed), and audit again:
       sudo capmon audit
`},
		{"static", singles[:2], Options{Recorder: running}, `
2 of these 2 containers have needs that capmon may not know.
The database /var/lib/capmon/capmon.db contains what capmon serve has recorded. Audit with it, without --static:
       sudo capmon audit
`},
	} {
		test.options.Time, test.options.Last = noon, capability.CheckpointRestore
		if test.options.Thresholds.Runs == 0 {
			test.options.Thresholds = thresholds
		}
		audit := Of(test.subjects, test.options)
		if diff := cmp.Diff(strings.TrimPrefix(test.want, "\n"), audit.RecordAll()); diff != "" {
			t.Errorf("%s: %s", test.name, diff)
		}
		for _, format := range []Format{Table} {
			if printed := strings.Contains(write(t, audit, format), RecordAllTitle); printed != (test.want != "") {
				t.Errorf("%s: %s has the steps: %v", test.name, format, printed)
			}
		}
	}
}

// If the needs of several containers are unknown, their remedies refer to a recording of all containers. A single
// container has the commands.
func TestRemediesReferToTheRecordingOfAllContainers(t *testing.T) {
	options := Options{Profile: with(ran(time.Second, used(capability.Chown)), nil), Last: capability.CheckpointRestore, Thresholds: thresholds, Time: noon, Recorder: serving}
	for name, test := range map[string]struct {
		subject Subject
		want    string
	}{
		"never observed": {
			named("other", nil),
			"# to find out what it needs, record all containers with capmon serve, and replace this one with a new one\n# to print the commands for this container alone: sudo capmon audit other",
		},
		"observed too briefly": {
			web(nil),
			"# 1. to find out what it needs, record it longer with capmon serve\n# to print the commands for this container alone: sudo capmon audit web\n# 2. to prove ",
		},
	} {
		alone := Of([]Subject{test.subject}, options)
		if text := alone.RemedyText(alone.Containers[0]); text != alone.Containers[0].Remedy.Text() || !strings.Contains(text, "\ncapmon profile --save=") {
			t.Errorf("%s, alone:\n%s", name, text)
		}
		audit := Of([]Subject{test.subject, named("z", nil)}, options)
		c := audit.Containers[0]
		if text := audit.RemedyText(c); !strings.HasPrefix(text, test.want) || strings.Contains(text, "capmon profile") || len(c.Remedy.Observe) != 2 {
			t.Errorf("%s:\n%s", name, text)
		}
		for _, format := range []Format{Table, CSV, SARIF, JUnit, OSCAL} {
			if strings.Contains(write(t, audit, format), "sleep 600") {
				t.Errorf("%s: %s has the commands that observe each container", name, format)
			}
		}
		if !strings.Contains(write(t, audit, JSON), "sleep 600") {
			t.Errorf("%s: JSON lacks the commands that observe each container", name)
		}
	}
}
