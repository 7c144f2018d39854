package audit

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/capmon/capmon/internal/alternatives"
	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/dockerrun"
	"github.com/capmon/capmon/internal/findings"
	"github.com/capmon/capmon/internal/printable"
	"github.com/capmon/capmon/internal/settings"
	"github.com/capmon/capmon/internal/shell"
)

// Remedy is what to do about a container that does not pass.
type Remedy struct {
	// Certain: what was observed is enough for List by the thresholds, or it is Proved.
	// Otherwise it is to be proved before it is relied on.
	Certain bool `json:"certain"`
	Proved  bool `json:"proved"`
	// List is what to grant; nil if that is not known.
	List *capability.Set `json:"list,omitempty"`
	// Run are the commands that create the container again with List, for a shell, and keep the old
	// one under another name; Untranslated are settings that they and Observe do not bring back and
	// that have to be added before they are run, Notes what else they change.
	Run          []string `json:"run,omitempty"`
	Untranslated []string `json:"untranslated,omitempty"`
	Notes        []string `json:"notes,omitempty"`
	// Back are the commands that lead from the new container of Run or Observe to the old one, and
	// Discard those that remove the old one.
	Back    []string `json:"back,omitempty"`
	Discard []string `json:"discard,omitempty"`
	// Withheld says which values of Run and Prove are left out since they may be secret, and
	// how to fill them in.
	Withheld string `json:"withheld,omitempty"`
	// Service is the command that changes the swarm's service, Compose what belongs into
	// the compose file, and Up the command that brings it into effect.
	Service string   `json:"service,omitempty"`
	Compose []string `json:"compose,omitempty"`
	Up      string   `json:"up,omitempty"`
	// Observe are the commands that find out what is not known yet, Prove the one that
	// tries the list.
	Observe []string `json:"observe,omitempty"`
	Prove   string   `json:"prove,omitempty"`
	// SharesData reports whether Prove names volumes or directories that the container uses.
	SharesData bool `json:"-"`
}

// again tells how to create the container again: with what it is granted now, or with a list.
type again struct {
	asItIs dockerrun.Recreation
	with   func(capability.Set) dockerrun.Recreation
}

// alone reports whether the container is made by docker run, and not by compose or a swarm.
func (e evidence) alone() bool { return e.container.Service == "" && e.container.Compose == nil }

// remedy is what to do.
func (e evidence) remedy(again again) Remedy {
	var r Remedy
	if !e.observed() || len(e.doubts()) > 0 {
		r.Observe = e.observe(again.asItIs)
		if e.alone() {
			r.keep(again.asItIs)
		}
	}
	if !e.observed() {
		if e.alone() {
			r.Notes = again.asItIs.Notes
		}
		return r
	}
	now := again.with(e.granted())
	r.Prove = e.prove(now)
	if e.alone() {
		r.Withheld, r.SharesData = now.Withheld, sharesData(now)
	}
	if e.container.Status == findings.Manual {
		return r
	}
	list := e.summary.List()
	recreation := again.with(list)
	// Of what else --privileged gives, the use was not observed.
	r.List, r.Certain, r.Proved = &list, len(e.doubts()) == 0 && !e.container.Grants.Privileged, e.proved()
	if e.summary.Stops == 0 && !r.Proved {
		r.Notes = append(r.Notes, "its stop was not seen: what it needs only then is not known")
	}
	for _, c := range list.Sorted() {
		if !c.Named() {
			r.Certain = false
			r.Notes = append(r.Notes, fmt.Sprintf("capability %s is newer than this capmon, which has no name for it, and engines take names only", c))
		}
	}
	if r.Proved {
		r.Prove = ""
	}
	switch c := e.container; {
	case c.Service != "":
		r.Service = settings.ServiceUpdate(list, c.Service)
	case c.Compose != nil:
		r.Compose = composeLines(*c.Compose, list, c.Grants.Privileged)
		r.Up = composeUp(*c.Compose)
	default:
		r.Run = recreation.Lines()
		r.keep(recreation)
		r.Notes = append(r.Notes, recreation.Notes...)
	}
	return r
}

// keep notes what becomes of the old container.
func (r *Remedy) keep(recreation dockerrun.Recreation) {
	r.Untranslated = recreation.Untranslated
	r.Back, r.Discard = dockerrun.Lines(recreation.Back), dockerrun.Lines(recreation.Discard)
}

// observe are the commands that see a new container from its start on, for as long as is wanted, and
// how it stops and starts again, and judge it by that.
func (e evidence) observe(asItIs dockerrun.Recreation) []string {
	name, options, named := e.container.Name, "", " "+shell.Quote(e.container.Name)
	start, stop := strings.Join(asItIs.Lines(), " && "), shell.Line([]string{"docker", "restart", name})
	if !e.container.Running {
		start += " && " + shell.Line([]string{"docker", "start", name})
		stop = shell.Line([]string{"docker", "stop", name})
	}
	if c := e.container.Compose; c != nil {
		start = composeUp(*c, "--force-recreate", "--no-deps")
	}
	if service := e.container.Service; service != "" {
		named = "" // its tasks will have other names
		name, options = service, "--all-containers --label=com.docker.swarm.service.name="+shell.Quote(service)+" "
		start = shell.Line([]string{"docker", "service", "update", "--force", service})
		stop = start
	}
	seconds := int(math.Ceil(e.thresholds.Observed.Seconds()))
	script := fmt.Sprintf("%s && sleep %d && %s", start, seconds, stop)
	file := shell.Quote("./" + name + ".json")
	return []string{
		fmt.Sprintf("capmon profile --save=%s %s-- sh -c %s", file, options, shell.Quote(script)),
		fmt.Sprintf("capmon audit --profile=%s%s", file, named),
	}
}

// prove is the command that tries the list. What tells that the container works, only its
// owner knows.
func (e evidence) prove(recreation dockerrun.Recreation) string {
	words := []string{"capmon", "verify", "--test=TEST", "--save=./" + e.container.Name + ".json", "--"}
	if c := e.container.Compose; c != nil {
		return shell.Line(slices.Concat(words, composeCommand(*c), []string{"up", c.Service}))
	}
	if e.container.Service != "" { // a task of it cannot be run apart
		return ""
	}
	for _, create := range recreation.Create {
		if create[1] == "run" || create[1] == "create" {
			rest := create[2:]
			if rest[0] == "--detach" { // later on it is the workload's
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

// Text is the remedy as lines for a shell, in which all but commands is a comment, and so
// are commands that are not to be relied on yet or would lose settings of the container.
func (r Remedy) Text() string {
	var t remedyText
	if len(r.Observe) > 0 {
		t.observe(r)
	}
	if r.Prove != "" && !r.Certain {
		t.comment("to prove what it needs, with a command in place of TEST that succeeds while it works:")
		if r.Withheld != "" {
			t.comment("complete it before, for it leaves out " + r.Withheld)
		}
		if r.SharesData {
			t.comment("verify refuses volumes and directories of an existing container: replace them with copies")
		}
		t.commands(false, r.Prove)
	}
	if r.List != nil {
		t.recreate(r)
	}
	return strings.Join(t, "\n")
}

// remedyText is what Text is made of, line by line.
type remedyText []string

func (t *remedyText) comment(text string) { *t = append(*t, "# "+printable.Text(text)) }

// commands adds some, as comments if they are not to be run as they are.
func (t *remedyText) commands(run bool, commands ...string) {
	for _, command := range commands {
		if !run {
			command = "#   " + command
		}
		*t = append(*t, command)
	}
}

// untranslated says what commands do not bring back, and reports whether that is nothing.
func (t *remedyText) untranslated(r Remedy) (whole bool) {
	if len(r.Untranslated) == 0 {
		return true
	}
	t.comment("complete it before it is run, for it does not bring back: " + strings.Join(r.Untranslated, "; "))
	return false
}

func (t *remedyText) observe(r Remedy) {
	t.comment("to find out what it needs, from the start of a new container on:")
	whole := t.untranslated(r)
	if r.List == nil {
		t.notes(r)
	}
	t.commands(whole, r.Observe...)
	if len(r.Run) == 0 { // else it is said below
		t.old(r)
	}
}

// old says what becomes of the old container.
func (t *remedyText) old(r Remedy) {
	if len(r.Back) == 0 {
		return
	}
	t.comment("the old container is kept; once the new one works:")
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
	list := either(names(*r.List), "no capability")
	switch {
	case r.Proved:
		t.comment("with what it is proved to need: " + list)
	case r.Certain:
		t.comment("with what it was seen to need (capmon verify can prove it): " + list)
	default:
		t.comment("with what it was seen to need, which is not certain to be all: " + list)
	}
	run := t.untranslated(r) && (r.Proved || r.Certain)
	t.notes(r)
	t.commands(run, r.Run...)
	t.old(r)
	if r.Service != "" {
		t.commands(run, r.Service)
	}
	if len(r.Compose) > 0 {
		t.comment("in the compose file:")
		t.commands(false, r.Compose...)
		t.commands(run, r.Up)
	}
}

func either(text, other string) string {
	if text == "" {
		return other
	}
	return text
}

// hints tell what may serve in place of what it is granted and needs, with its present network.
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
