// Package dockerrun tells by which docker commands a container can be created again as it
// is, but for its capabilities.
package dockerrun

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/capmon/capmon/internal/capability"
	engine "github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/settings"
	"github.com/capmon/capmon/internal/shell"
)

// Recreation is how to create a container again.
type Recreation struct {
	// SetAside are the commands that stop the container there is and give it another name, Create
	// those that create the new one and, if it runs, start it: docker run, or for several networks
	// docker create and what follows. Each is a list of words.
	SetAside, Create [][]string
	// Back are the commands that undo this, and Discard those that remove the old container once
	// the new one works. One that was run with --rm is removed at once, and there is no way back.
	Back, Discard [][]string
	// Untranslated are the settings that these commands do not bring back, such as
	// HostConfig.KernelMemory, with the reason where there is more to say.
	Untranslated []string
	// Withheld says which values are left out of the commands, since they may be secret, and
	// how to fill them in; "" if none is. It is among Untranslated as well: with values left
	// out, the commands are not to be run as they are.
	Withheld string
	// Notes are what else will be other than before.
	Notes []string
}

// Lines are the commands that create it again, as they are typed, to be run in this order.
func (r Recreation) Lines() []string { return Lines(slices.Concat(r.SetAside, r.Create)) }

// Lines are commands as they are typed.
func Lines(commands [][]string) []string {
	var lines []string
	for _, words := range commands {
		lines = append(lines, shell.Line(words))
	}
	return lines
}

// Of tells how to create a container again with these capabilities and no privileges
// besides. names holds the names of the engine's containers by ID: an ID that another
// container's settings hold would not outlive its own recreation.
//
// Values that may be secret are left out, unless withValues is set: those of environment
// variables, labels, annotations, options of drivers, the health check and the arguments.
func Of(engineSettings engine.Settings, grant capability.Set, names map[string]string, withValues bool) Recreation {
	return newBuilder(engineSettings, names, withValues).build(settings.DockerFlags(grant))
}

// AsItIs is like Of, but the new container is granted what the old one is: --privileged too.
func AsItIs(engineSettings engine.Settings, names map[string]string, withValues bool) Recreation {
	b := newBuilder(engineSettings, names, withValues)
	b.asItIs = true
	host := engineSettings.Container.HostConfig
	grants := settings.GrantFlags(host.CapDrop, host.CapAdd)
	if host.Privileged {
		grants = slices.Concat([]string{"--privileged"}, grants)
	}
	return b.build(grants)
}

func newBuilder(engineSettings engine.Settings, names map[string]string, withValues bool) *builder {
	return &builder{Settings: engineSettings, names: names, known: map[string]bool{}, withholding: withholding{off: withValues}}
}

func (b *builder) build(grants []string) Recreation {
	b.identity()
	b.process()
	b.health()
	b.storage()
	b.network()
	b.namespaces()
	b.security()
	b.limits()
	b.running()
	b.leftOver()
	b.withheld()
	return b.recreation(grants)
}

// builder collects the options of docker run.
type builder struct {
	engine.Settings
	names   map[string]string
	options []string
	args    []string // of the container
	// connect are the networks that docker run is not told.
	connect [][]string
	known   map[string]bool // fields that were looked at, by their full names
	result  Recreation
	asItIs  bool // with all its privileges
	withholding
}

// config and host mark fields as looked at.
func (b *builder) config(fields ...string) { b.mark("Config.", fields) }
func (b *builder) host(fields ...string)   { b.mark("HostConfig.", fields) }

func (b *builder) mark(prefix string, fields []string) {
	for _, field := range fields {
		b.known[prefix+field] = true
	}
}

// add adds an option with its value, unless that is empty.
func (b *builder) add(option, value string) {
	if value != "" {
		b.options = append(b.options, option+"="+b.withoutPassword(option, value))
	}
}

func (b *builder) addAll(option string, values []string) {
	for _, value := range values {
		b.add(option, value)
	}
}

func (b *builder) addMap(option string, values map[string]string) {
	for _, key := range slices.Sorted(maps.Keys(values)) {
		b.add(option, key+"="+b.value(option, key, values[key]))
	}
}

func (b *builder) addSwitch(option string, set bool) {
	if set {
		b.options = append(b.options, option)
	}
}

// cannot notes a setting that is not translated.
func (b *builder) cannot(setting, reason string) {
	if reason != "" {
		setting += ": " + reason
	}
	b.result.Untranslated = append(b.result.Untranslated, setting)
}

// leftOver notes all that is set and was not looked at, whatever the engine may have come
// to know since this was written.
func (b *builder) leftOver() {
	for prefix, fields := range map[string]map[string]json.RawMessage{"Config.": b.Config, "HostConfig.": b.HostConfig} {
		for field, value := range fields {
			if !b.known[prefix+field] && !zero(value) {
				b.cannot(prefix+field, "")
			}
		}
	}
	slices.Sort(b.result.Untranslated)
}

func zero(value json.RawMessage) bool {
	switch string(bytes.Join(bytes.Fields(value), nil)) {
	case "null", "false", "0", `""`, "[]", "{}", "[0,0]":
		return true
	}
	return false
}

// gone is noted of each, since it is no setting.
const gone = "the new container lacks what the old one wrote outside its volumes"

// recreation puts the command together.
func (b *builder) recreation(grants []string) Recreation {
	name := strings.TrimPrefix(b.Container.Name, "/")
	image := b.Container.Config.Image
	switch {
	case b.ImageGone: // all that came from it is spelled out
		b.cannot("Image", "it is gone: pull or build "+image+" before")
	case b.ImageMoved:
		image = b.Container.Image
		b.result.Notes = append(b.result.Notes, "the image is named by its ID, since its name has come to mean another one")
	}
	b.result.Notes = append(b.result.Notes, gone)
	rest := slices.Concat(b.options, grants, []string{image}, b.args)
	state := b.Container.State
	runs := state != nil && (state.Running || state.Restarting)
	b.setAside(name, runs)
	if runs && len(b.connect) == 0 {
		b.result.Create = [][]string{slices.Concat([]string{"docker", "run", "--detach"}, rest)}
		return b.result
	}
	b.result.Create = slices.Concat([][]string{slices.Concat([]string{"docker", "create"}, rest)}, b.connect)
	if runs {
		b.result.Create = append(b.result.Create, []string{"docker", "start", name})
	}
	return b.result
}

// setAside makes room for the new container, and tells the way back.
func (b *builder) setAside(name string, runs bool) {
	host := b.Container.HostConfig
	if host.AutoRemove { // after a stop it would be under way of being removed, and its name taken
		b.result.SetAside = [][]string{{"docker", "rm", "--force", name}}
		b.result.Notes = append(b.result.Notes, "it was run with --rm, so the old container is removed, and there is no way back to it")
		return
	}
	aside := b.spareName(name + "-before")
	add := func(list *[][]string, words ...string) { *list = append(*list, append([]string{"docker"}, words...)) }
	if runs {
		add(&b.result.SetAside, "stop", name)
	}
	add(&b.result.SetAside, "rename", name, aside)
	add(&b.result.Back, "rm", "--force", name)
	add(&b.result.Back, "rename", aside, name)
	if host.RestartPolicy.IsAlways() { // or it would start beside the new one when the engine does
		add(&b.result.SetAside, "update", "--restart=no", aside)
		add(&b.result.Back, "update", "--restart=always", name)
	}
	if runs {
		add(&b.result.Back, "start", name)
	}
	add(&b.result.Discard, "rm", aside)
}

// spareName is a name that no container of the engine has: this one, or one with a number.
func (b *builder) spareName(name string) string {
	taken := slices.Collect(maps.Values(b.names))
	spare := name
	for n := 2; slices.Contains(taken, spare); n++ {
		spare = fmt.Sprintf("%s-%d", name, n)
	}
	return spare
}
