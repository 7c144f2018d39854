package audit

import (
	"fmt"
	"slices"
	"strings"

	"github.com/capmon/capmon/internal/printable"
	"github.com/capmon/capmon/internal/shell"
)

// recordAllFrom is the number of containers with unknown needs from which a single recording of all containers is less
// work than one observation after the other.
const recordAllFrom = 2

// RecordAllTitle is the heading of [Audit.RecordAll].
const RecordAllTitle = "Record all containers"

// Recorder describes capmon serve on this host.
type Recorder struct {
	// Database is the path of its database. DefaultDatabase: commands use it without an option.
	Database        string
	DefaultDatabase bool
	// Exists is true if the database may exist. Running is true if a serve uses it.
	Exists, Running bool
}

// unknownNeeds returns the containers whose needs capmon does not know completely.
func (a Audit) unknownNeeds() []*ContainerResult {
	return slices.DeleteFunc(slices.Clone(a.Containers), func(c *ContainerResult) bool { return len(c.Remedy.Observe) == 0 })
}

// RemedyText returns the remedy of a container as text for a shell. If the needs of several containers are unknown, it
// refers to a recording of all containers instead of listing the commands that observe this one.
func (a Audit) RemedyText(c *ContainerResult) string {
	if len(c.Remedy.Observe) == 0 || len(a.unknownNeeds()) < recordAllFrom {
		return c.Remedy.Text()
	}
	how := "record all containers with capmon serve, and replace this one with a new one"
	if !c.Remedy.NewStart {
		how = "record it longer with capmon serve"
	}
	return c.Remedy.text("to find out what it needs, "+how, "to print the commands for this container alone: "+a.auditOf(c.Name))
}

// RecordAll describes how to find out what the containers need with a single recording, as text for people. It returns
// "" if the needs of too few containers are unknown: the remedies then contain commands for each.
func (a Audit) RecordAll() string {
	unknown := a.unknownNeeds()
	if len(unknown) < recordAllFrom {
		return ""
	}
	var t stepsText
	t.line("%d of these %d containers have needs that capmon may not know.", len(unknown), len(a.Containers))
	if a.Static && a.Recorder.Exists {
		t.line("The database %s contains what capmon serve has recorded. Audit with it, without --static:", printable.Word(a.Recorder.Database))
		t.command(a.command("audit"))
		return t.String()
	}
	t.line("To find out, record all containers at once:")
	t.serve(a)
	t.replace(a, unknown)
	enough := fmt.Sprintf("at least %s (--min-observed)", a.Thresholds.Observed)
	if a.Thresholds.Runs > 1 {
		enough += fmt.Sprintf(" and %d runs (--min-runs)", a.Thresholds.Runs)
	}
	t.step("Let them work for %s, and audit again:", enough)
	t.command(a.command("audit"))
	return t.String()
}

// command returns a command that needs root, with the option for the database if it is necessary.
func (a Audit) command(words ...string) string {
	words = slices.Concat([]string{"sudo", "capmon"}, words)
	if !a.Recorder.DefaultDatabase && a.Recorder.Database != "" {
		words = append(words, "--db="+a.Recorder.Database)
	}
	return shell.Line(words)
}

// auditOf returns a command that prints how to observe one container.
func (a Audit) auditOf(name string) string {
	if a.Static || !a.Recorder.Exists { // there is no database to audit with
		return shell.Line([]string{"capmon", "audit", "--static", name})
	}
	return a.command("audit", name)
}

// stepsText collects the lines of numbered steps.
type stepsText struct {
	strings.Builder
	steps int
}

func (t *stepsText) line(format string, args ...any) { fmt.Fprintf(t, format+"\n", args...) }

func (t *stepsText) step(format string, args ...any) {
	t.steps++
	t.line("  %d. %s", t.steps, fmt.Sprintf(format, args...))
}

func (t *stepsText) command(line string) { t.line("       %s", line) }

// serve adds the step that starts the recording.
func (t *stepsText) serve(a Audit) {
	switch {
	case a.Recorder.Running:
		t.step("capmon serve is already recording all containers in the database %s.", printable.Word(a.Recorder.Database))
		return
	case a.Recorder.Exists:
		t.step("Start capmon serve, unless it is running. It adds to the database %s.", printable.Word(a.Recorder.Database))
	default:
		t.step("Start the recording. To run it as a systemd service, see docs/serve.md.")
	}
	t.command(a.command("serve"))
}

// replace adds the step that starts new containers, if some of the needs show only at the start of a new container.
func (t *stepsText) replace(a Audit, unknown []*ContainerResult) {
	var projects, services, others []string
	starts := 0
	for _, c := range unknown {
		switch {
		case !c.Remedy.NewStart:
			continue
		case c.Service != "":
			services = appendNew(services, shell.Line([]string{"docker", "service", "update", "--force", c.Service}))
		case c.Compose != nil:
			projects = appendNew(projects, shell.Line(append(composeCommand(*c.Compose), "up", "--detach", "--force-recreate")))
		default:
			others = append(others, c.Name)
		}
		starts++
	}
	if starts == 0 {
		return
	}
	which := "these containers"
	if starts < len(unknown) {
		which = fmt.Sprintf("%d of these containers", starts)
	}
	t.step("In your next maintenance window, replace %s with new ones, so that capmon sees their start.", which)
	t.line("     A restart is not enough.")
	t.few(projects, "Compose project")
	t.few(services, "service")
	if len(others) > 0 {
		t.command(a.auditOf(others[0]) + "   # prints the commands for this container")
		t.others(others[1:])
	}
}

// shown is the number of commands or names that a step lists.
const shown = 5

// few adds the first commands, and the number of the others.
func (t *stepsText) few(commands []string, what string) {
	if len(commands) > shown+1 {
		left := len(commands) - shown
		commands = append(slices.Clone(commands[:shown]), fmt.Sprintf("# and so on for %d other %ss", left, what))
	}
	for _, command := range commands {
		t.command(command)
	}
}

// others adds the names of the containers for which a step contains no command.
func (t *stepsText) others(names []string) {
	if len(names) == 0 {
		return
	}
	var words []string
	for _, name := range names[:min(len(names), shown)] {
		words = append(words, printable.Word(name))
	}
	text := strings.Join(words, ", ")
	if left := len(names) - len(words); left > 0 {
		text += fmt.Sprintf(" and %d others", left)
	}
	t.command("# and in the same way for " + text)
}

func appendNew(list []string, text string) []string {
	if slices.Contains(list, text) {
		return list
	}
	return append(list, text)
}
