// Package dockerrun tells by which docker commands a container can be created again as it
// is, but for its capabilities.
package dockerrun

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/capmon/capmon/internal/capability"
	engine "github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/recommend"
	"github.com/capmon/capmon/internal/shell"
)

// Recreation is how to create a container again.
type Recreation struct {
	// Remove are the commands that make room for it, Create those that create it and, if it
	// runs, start it: docker run, or for several networks docker create and what follows.
	// Each is a list of words.
	Remove, Create [][]string
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

// Lines are the commands as they are typed, to be run in this order.
func (r Recreation) Lines() []string {
	var lines []string
	for _, words := range slices.Concat(r.Remove, r.Create) {
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
func Of(settings engine.Settings, grant capability.Set, names map[string]string, withValues bool) Recreation {
	b := &builder{Settings: settings, names: names, known: map[string]bool{}, withholding: withholding{off: withValues}}
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
	return b.recreation(grant)
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
const gone = "docker rm takes with it what the container wrote outside its volumes"

// recreation puts the command together.
func (b *builder) recreation(grant capability.Set) Recreation {
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
	rest := slices.Concat(b.options, recommend.DockerFlags(grant), []string{image}, b.args)
	state := b.Container.State
	runs := state != nil && (state.Running || state.Restarting)
	switch {
	case b.Container.HostConfig.AutoRemove: // after a stop it would be under way of being removed, and its name taken
		b.result.Remove = [][]string{{"docker", "rm", "--force", name}}
	case runs:
		b.result.Remove = [][]string{{"docker", "stop", name}, {"docker", "rm", name}}
	default:
		b.result.Remove = [][]string{{"docker", "rm", name}}
	}
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
