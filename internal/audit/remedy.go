package audit

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/capmon/capmon/internal/capability"
	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/dockerrun"
	"github.com/capmon/capmon/internal/finding"
	"github.com/capmon/capmon/internal/printable"
	"github.com/capmon/capmon/internal/recommend"
	"github.com/capmon/capmon/internal/shell"
	"github.com/capmon/capmon/internal/substitute"
)

// Remedy is what to do about a container that does not pass.
type Remedy struct {
	// Certain: what was observed is enough for List by the thresholds, or it is Proved.
	// Otherwise it is to be proved before it is relied on.
	Certain bool `json:"certain"`
	Proved  bool `json:"proved"`
	// List is what to grant; nil if that is not known.
	List *capability.Set `json:"list,omitempty"`
	// Run are the commands that create the container again with List, for a shell;
	// Untranslated are settings that they do not bring back and that have to be added
	// before they are run, Notes what else they change.
	Run          []string `json:"run,omitempty"`
	Untranslated []string `json:"untranslated,omitempty"`
	Notes        []string `json:"notes,omitempty"`
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
}

// remedy is what to do; again tells how to create the container with a list.
func (e evidence) remedy(again func(capability.Set) dockerrun.Recreation) Remedy {
	var r Remedy
	if !e.observed() || len(e.doubts()) > 0 {
		r.Observe = e.observe()
	}
	if !e.observed() {
		return r
	}
	now := again(e.granted())
	r.Prove = e.prove(now)
	if e.container.Service == "" && e.container.Compose == nil {
		r.Withheld = now.Withheld
	}
	if e.container.Status == finding.Manual {
		return r
	}
	list := e.summary.List()
	recreation := again(list)
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
		r.Service = recommend.ServiceUpdate(list, c.Service)
	case c.Compose != nil:
		r.Compose = composeLines(*c.Compose, list, c.Grants.Privileged)
		r.Up = composeUp(*c.Compose)
	default:
		r.Run, r.Untranslated = recreation.Lines(), recreation.Untranslated
		r.Notes = append(r.Notes, recreation.Notes...)
	}
	return r
}

// observe are the commands that see the container from its start on, for as long as is
// wanted, and how it stops, and judge it by that.
func (e evidence) observe() []string {
	name, options, named := e.container.Name, "", " "+shell.Quote(e.container.Name)
	start, stop := []string{"docker", "start", name}, []string{"docker", "stop", name}
	if e.container.Running {
		start = []string{"docker", "restart", name}
		stop = start
	}
	if service := e.container.Service; service != "" {
		named = "" // its tasks will have other names
		name, options = service, "--all-containers --label=com.docker.swarm.service.name="+shell.Quote(service)+" "
		start = []string{"docker", "service", "update", "--force", service}
		stop = start
	}
	seconds := int(math.Ceil(e.thresholds.Observed.Seconds()))
	script := fmt.Sprintf("%s && sleep %d && %s", shell.Line(start), seconds, shell.Line(stop))
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

// Text is the remedy as lines for a shell, in which all but commands is a comment, and so
// are commands that are not to be relied on yet or would lose settings of the container.
func (r Remedy) Text() string {
	var lines []string
	comment := func(text string) { lines = append(lines, "# "+printable.Text(text)) }
	if len(r.Observe) > 0 {
		comment("to find out what it needs, from its start on:")
		lines = append(lines, r.Observe...)
	}
	if r.Prove != "" && !r.Certain {
		comment("to prove what it needs, with a command in place of TEST that succeeds while it works:")
		if r.Withheld != "" {
			comment("complete it before, for it leaves out " + r.Withheld)
		}
		lines = append(lines, "#   "+r.Prove)
	}
	if r.List == nil {
		return strings.Join(lines, "\n")
	}
	prefix, list := "", either(names(*r.List), "no capability")
	switch {
	case r.Proved:
		comment("with what it is proved to need: " + list)
	case r.Certain:
		comment("with what it was seen to need (capmon verify can prove it): " + list)
	default:
		prefix = "#   "
		comment("with what it was seen to need, which is not certain to be all: " + list)
	}
	if len(r.Untranslated) > 0 {
		prefix = "#   "
		comment("complete it before it is run, for it does not bring back: " + strings.Join(r.Untranslated, "; "))
	}
	for _, note := range r.Notes {
		comment(note)
	}
	for _, command := range r.Run {
		lines = append(lines, prefix+command)
	}
	if r.Service != "" {
		lines = append(lines, prefix+r.Service)
	}
	if len(r.Compose) > 0 {
		comment("in the compose file:")
		for _, line := range r.Compose {
			lines = append(lines, "#   "+line)
		}
		lines = append(lines, prefix+r.Up)
	}
	return strings.Join(lines, "\n")
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
	for _, found := range substitute.Of(summary) {
		hints = append(hints, found.String())
	}
	return hints
}
