package audit

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/alternatives"
	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/dockerrun"
	"github.com/capmon/capmon/internal/findings"
	"github.com/capmon/capmon/internal/printable"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/settings"
	"github.com/capmon/capmon/internal/shell"
)

// Remedy describes how to fix a container that does not pass.
type Remedy struct {
	// Certain is true if the observation meets the thresholds for List, or List is proved. Otherwise, prove List before
	// you rely on it. Proved is true if List is proved.
	Certain bool `json:"certain"`
	Proved  bool `json:"proved"`
	// List is what to grant; nil if it is unknown. Waived is the part of it that only waivers justify.
	List   *capability.Set `json:"list,omitempty"`
	Waived capability.Set  `json:"waived,omitempty"`
	// Run contains shell commands that create the container again with List and keep the old container under another
	// name. Untranslated lists settings that Run and Observe do not restore: add them before you run the commands.
	// Notes lists what else the commands change.
	Run          []string `json:"run,omitempty"`
	Untranslated []string `json:"untranslated,omitempty"`
	Notes        []string `json:"notes,omitempty"`
	// Back contains commands that replace the new container of Run or Observe with the old one. Discard contains
	// commands that remove the old one.
	Back    []string `json:"back,omitempty"`
	Discard []string `json:"discard,omitempty"`
	// Withheld describes how to fill in the values that Run, Observe and Prove lack because they may be secret, one
	// step in each element. If the values are missing from Run or Observe, Untranslated contains an element for them.
	// WithValues is the command that prints the same audit of the container with the values.
	Withheld   []string `json:"withheld,omitempty"`
	WithValues string   `json:"withValues,omitempty"`
	// Service is the command that changes the swarm service. Compose contains the lines for the Compose file, and Up is
	// the command that applies them.
	Service string   `json:"service,omitempty"`
	Compose []string `json:"compose,omitempty"`
	Up      string   `json:"up,omitempty"`
	// Observe contains the commands that observe the unknown needs. Prove is the command that proves the list, and
	// AuditProof is the command that audits the container with this proof.
	Observe    []string `json:"observe,omitempty"`
	Prove      string   `json:"prove,omitempty"`
	AuditProof string   `json:"auditProof,omitempty"`
	// NewStart reports whether only the start of a new container can show what is unknown. Otherwise, a longer
	// observation is enough.
	NewStart bool `json:"-"`
	// SharesData reports whether Prove names volumes or directories that the container uses.
	SharesData bool `json:"-"`
	// unprivileged reports whether Prove runs a privileged container without --privileged.
	unprivileged bool
	// composeFile describes which file the lines of Compose belong into.
	composeFile string
}

// recreations contains the commands that create the container again: as it is, without --privileged but with its
// present capabilities, or with a list.
type recreations struct {
	unchanged, trial dockerrun.Recreation

	with func(capability.Set) dockerrun.Recreation
}

// standalone reports whether docker run created the container, and not Compose or a swarm.
func (e evidence) standalone() bool { return e.container.Service == "" && e.container.Compose == nil }

// remedy returns how to fix a container of Docker.
func (e evidence) remedy(recreations recreations) Remedy {
	var r Remedy
	if !e.observed() || len(e.observable()) > 0 {
		r.Observe, r.NewStart = e.observe(recreations.unchanged), len(e.gaps()) > 0
		if e.standalone() {
			r.keepOld(recreations.unchanged)
		}
	}
	if !e.observed() {
		if e.standalone() {
			r.Notes = recreations.unchanged.Notes
		}
		return r
	}
	if r.Prove = e.prove(recreations.trial); r.Prove != "" {
		r.AuditProof = auditProfile(e.container.Name, e.container.Name)
		r.unprivileged = e.container.Grants.Privileged && e.standalone()
	}
	if e.standalone() {
		r.Withheld, r.SharesData = recreations.trial.Withheld, sharesData(recreations.trial)
	}
	if e.container.Status == findings.Manual {
		return r
	}
	list := e.summary.List()
	r.Waived = e.container.waived().Minus(list)
	list = list.Union(r.Waived)
	recreation := recreations.with(list)
	// capmon does not observe whether the container uses what else --privileged grants.
	r.List, r.Certain, r.Proved = &list, len(e.doubts()) == 0 && !e.container.Grants.Privileged, e.proved()
	r.addCautions(e.summary, list)
	if r.Proved {
		r.Prove, r.AuditProof = "", ""
	}
	switch c := e.container; {
	case c.Service != "":
		r.Service = settings.ServiceUpdate(list, c.Service)
	case c.Compose != nil:
		r.Compose = composeLines(*c.Compose, list, c.Grants.Privileged)
		r.Up, r.composeFile = composeUp(*c.Compose), c.Compose.where()
	default:
		r.Run = recreation.Lines()
		r.keepOld(recreation)
		r.Notes = append(r.Notes, recreation.Notes...)
	}
	return r
}

// addCautions adds what the reader must know about a list. Certain and Proved are set.
func (r *Remedy) addCautions(s *profile.Summary, list capability.Set) {
	if s.Stops == 0 && !r.Proved {
		r.Notes = append(r.Notes, "capmon did not see it stop, for which it may need more")
	}
	for _, c := range list.Sorted() {
		if !c.Named() {
			r.Certain = false
			r.Notes = append(r.Notes, fmt.Sprintf("capability %s is newer than this version of capmon, which has no name for it: the settings cannot contain it", c))
		}
	}
	if risky := list.Intersect(capability.Risky()); !risky.Empty() {
		r.Notes = append(r.Notes, "risky even so, as it can affect the host: "+names(risky)+"; find out whether the container can do without")
	}
}

// secretValues is the element of Untranslated for the values that Withheld describes.
const secretValues = "values that may be secret"

// keepOld sets the fields about the old container, and those about what the commands do not restore.
func (r *Remedy) keepOld(recreation dockerrun.Recreation) {
	r.Untranslated, r.Withheld = slices.Clone(recreation.Untranslated), recreation.Withheld
	if len(r.Withheld) > 0 {
		r.Untranslated = append(r.Untranslated, secretValues)
	}
	r.Back, r.Discard = dockerrun.Lines(recreation.Back), dockerrun.Lines(recreation.Discard)
}

// observe returns the commands that observe a new container from its start for the time that the thresholds require,
// including a stop and a restart, and then audit it.
func (e evidence) observe(unchanged dockerrun.Recreation) []string {
	name, options, named := e.container.Name, "", []string{e.container.Name}
	start, stop := strings.Join(unchanged.Lines(), " && "), shell.Line([]string{"docker", "restart", name})
	if !e.container.Running {
		start += " && " + shell.Line([]string{"docker", "start", name})
		stop = shell.Line([]string{"docker", "stop", name})
	}
	if c := e.container.Compose; c != nil {
		start = composeUp(*c, "--force-recreate", "--no-deps")
	}
	if service := e.container.Service; service != "" {
		named = nil // the new tasks have other names
		name, options = service, "--all-containers --label=com.docker.swarm.service.name="+shell.Quote(service)+" "
		start = shell.Line([]string{"docker", "service", "update", "--force", service})
		stop = start
	}
	seconds := int(math.Ceil(e.thresholds.Observed.Seconds()))
	script := fmt.Sprintf("%s && sleep %d && %s", start, seconds, stop)
	return []string{
		fmt.Sprintf("capmon profile --save=%s %s-- sh -c %s", shell.Quote(profileFile(name)), options, shell.Quote(script)),
		auditProfile(name, named...),
	}
}

// profileFile returns the file for a profile of a container or service. The names of pods have slashes.
func profileFile(name string) string { return "./" + strings.ReplaceAll(name, "/", "-") + ".json" }

// auditProfile returns the command that audits containers with the profile of a container or service.
func auditProfile(name string, audited ...string) string {
	return command([]string{"--profile=" + profileFile(name)}, audited...)
}

// prove returns the command that proves the list; "" for a swarm service. It contains the placeholder TEST, because
// only the owner of the container knows how to test it.
func (e evidence) prove(recreation dockerrun.Recreation) string {
	words := []string{"capmon", "verify", "--test=TEST", "--save=" + profileFile(e.container.Name), "--"}
	if c := e.container.Compose; c != nil {
		return shell.Line(slices.Concat(words, composeCommand(*c), []string{"up", c.Service}))
	}
	if e.container.Service != "" { // verify cannot run a task outside its service
		return ""
	}
	for _, create := range recreation.Create {
		if create[1] == "run" || create[1] == "create" {
			rest := create[2:]
			if rest[0] == "--detach" { // a later --detach is an argument of the workload
				rest = rest[1:]
			}
			return shell.Line(slices.Concat(words, []string{"docker", "run"}, rest))
		}
	}
	return ""
}

// sharesData reports whether a recreated container would use volumes or directories of the old container.
func sharesData(recreation dockerrun.Recreation) bool {
	return slices.ContainsFunc(slices.Concat(recreation.Create...), func(word string) bool {
		return strings.HasPrefix(word, "--volume") || strings.HasPrefix(word, "--mount")
	})
}

// Text returns the remedy as lines for a shell. Explanations are comments. Commands are comments as well if they are
// not certain yet or would lose settings of the container.
func (r Remedy) Text() string { return r.text() }

// recreates reports whether the text has the commands that create the container again. They have other names once the
// container was replaced for an observation, and the audit after it prints them.
func (r Remedy) recreates() bool { return r.List != nil && len(r.Observe) == 0 }

// text implements [Remedy.Text]. If there are comments, they replace the commands that observe.
func (r Remedy) text(comments ...string) string {
	var t remedyText
	switch {
	case len(r.Observe) == 0:
	case len(comments) > 0:
		t.step(comments[0])
		for _, comment := range comments[1:] {
			t.comment(comment)
		}
	default:
		t.observe(r)
	}
	const test = "replace TEST with a command on this host that succeeds if the container works:"
	if r.Prove != "" && !r.Certain {
		t.step("to prove what the container needs, " + test)
		t.prove(r)
	}
	if r.recreates() {
		t.recreate(r)
	}
	if r.Prove != "" && r.Certain {
		t.comment("before that, to prove what the container needs, " + test)
		t.prove(r)
	}
	return t.String()
}

func (t *remedyText) prove(r Remedy) {
	t.withheld("this command", r)
	if r.unprivileged {
		t.comment("it runs the container without --privileged, but with all capabilities")
	}
	if r.SharesData {
		t.comment("verify rejects volumes and directories that an existing container uses: replace them with copies")
	}
	t.commands(false, r.Prove)
	t.comment("verify starts other containers, and leaves this one as it is; then audit with its proof:")
	t.commands(false, r.AuditProof)
}

// remedyText collects the lines of [Remedy.Text].
type remedyText struct {
	lines    []string
	steps    []int // the positions of their headings in lines
	filledIn bool  // a comment says how to fill in the values that may be secret
}

func (t *remedyText) comment(text string) { t.lines = append(t.lines, "# "+printable.Text(text)) }

// step adds the heading of a step.
func (t *remedyText) step(title string) {
	t.steps = append(t.steps, len(t.lines))
	t.comment(title)
}

// String returns the lines. It numbers the steps if there are several.
func (t *remedyText) String() string {
	lines := slices.Clone(t.lines)
	for i, at := range t.steps {
		if len(t.steps) > 1 {
			lines[at] = fmt.Sprintf("# %d. %s", i+1, strings.TrimPrefix(lines[at], "# "))
		}
	}
	return strings.Join(lines, "\n")
}

// commands adds commands, as comments if run is false.
func (t *remedyText) commands(run bool, commands ...string) {
	for _, command := range commands {
		if !run {
			command = "#   " + command
		}
		t.lines = append(t.lines, command)
	}
}

// untranslated adds a comment with the settings that the commands do not restore. It reports whether they restore all
// settings.
func (t *remedyText) untranslated(r Remedy) (complete bool) {
	if len(r.Untranslated) == 0 {
		return true
	}
	settings := slices.DeleteFunc(slices.Clone(r.Untranslated), func(s string) bool { return s == secretValues })
	if len(settings) > 0 {
		t.list("before you run these commands, add the settings that they do not restore:", settings)
	}
	if len(settings) < len(r.Untranslated) {
		t.withheld("these commands", r)
	}
	return false
}

// withheld adds a comment about the values that the commands lack because they may be secret, if there are any.
func (t *remedyText) withheld(commands string, r Remedy) {
	switch {
	case len(r.Withheld) == 0:
	case t.filledIn:
		t.comment("before you run " + commands + ", fill in the values as above")
	default:
		t.list("before you run "+commands+", fill in the values that may be secret:", r.Withheld)
		t.comment("or print the commands with the values, and keep them secret:")
		t.commands(false, r.WithValues)
		t.filledIn = true
	}
}

// list adds a comment with a line for each item.
func (t *remedyText) list(title string, items []string) {
	t.comment(title)
	for _, item := range items {
		t.comment("  " + item)
	}
}

func (t *remedyText) observe(r Remedy) {
	t.step("to find out what the container needs, replace it with a new one, and observe the new one from its start:")
	complete := t.untranslated(r)
	t.notes(r)
	t.commands(complete, r.Observe...)
	t.oldContainer(r)
}

// oldContainer adds the commands that remove the old container or go back to it.
func (t *remedyText) oldContainer(r Remedy) {
	if len(r.Back) == 0 {
		return
	}
	t.comment("the old container is kept; to remove it once the new one works:")
	t.commands(false, r.Discard...)
	t.comment("or to go back to the old one:")
	t.commands(false, r.Back...)
}

func (t *remedyText) notes(r Remedy) {
	for _, note := range r.Notes {
		t.comment(note)
	}
}

func (t *remedyText) recreate(r Remedy) {
	list := cmp.Or(names(r.List.Minus(r.Waived)), "no capability")
	switch {
	case r.Proved:
		t.step("to create the container again with the capabilities that it is proved to need: " + list)
	case r.Certain:
		t.step("to create the container again with the capabilities that capmon saw in use: " + list)
	default:
		t.step("to create the container again with the capabilities that capmon saw in use, which may not be all that it needs: " + list)
	}
	if !r.Waived.Empty() {
		t.comment("and with those that waivers cover: " + names(r.Waived))
	}
	run := t.untranslated(r) && (r.Proved || r.Certain)
	t.notes(r)
	t.commands(run, r.Run...)
	t.oldContainer(r)
	if r.Service != "" {
		t.commands(run, r.Service)
	}
	if len(r.Compose) > 0 {
		t.comment("in " + r.composeFile + ", replace cap_add, cap_drop and privileged of the service with:")
		t.commands(false, r.Compose...)
		t.comment("then replace the containers of the service, which lose the data that they wrote outside volumes:")
		t.commands(false, r.Up)
	}
}

// hints returns what may replace the capabilities that the container needs, with its present network mode.
func (e evidence) hints(s container.Settings) []string {
	if !e.observed() {
		return nil
	}
	summary := *e.summary
	summary.Container.NetworkMode = string(s.Container.HostConfig.NetworkMode)
	var hints []string
	for _, found := range alternatives.Of(summary) {
		hints = append(hints, found.String())
	}
	return hints
}
