// Package dockerrun writes the docker commands that create a container again with the same settings but other
// capabilities.
package dockerrun

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/capmon/capmon/capability"
	engine "github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/dockerflags"
	"github.com/capmon/capmon/internal/shell"
)

// Recreation has the commands that create a container again.
type Recreation struct {
	// RenameOld are the commands that stop and rename the old container. A container that was run with --rm is removed
	// instead. Create are the commands that create the new container and, if the old one runs, start the new one:
	// docker run, or docker create and further commands if there are several networks. Each command is a list of words.
	RenameOld, Create [][]string
	// Back are the commands that restore the old container. Discard are the commands that remove the old container once
	// the new one works. Both are empty if RenameOld removes the old container.
	Back, Discard [][]string
	// Untranslated are the settings that the commands do not restore, such as HostConfig.KernelMemory, with a reason if
	// there is one.
	Untranslated []string
	// Withheld describes how to add the values that the commands lack because they may be secret, one step in each
	// element. The commands do not work without these values.
	Withheld []string
	// Notes describe other differences between the old and the new container.
	Notes []string
}

// Lines returns the commands that create the container again, as shell commands to be run in this order.
func (r Recreation) Lines() []string { return Lines(slices.Concat(r.RenameOld, r.Create)) }

// Lines returns the commands as shell commands.
func Lines(commands [][]string) []string {
	var lines []string
	for _, words := range commands {
		lines = append(lines, shell.Line(words))
	}
	return lines
}

// WithCapabilities returns how to create a container again with these capabilities and no other privileges. names has
// the names of the engine's containers by ID, because the ID of another container in the settings becomes invalid when
// that container is created again.
//
// Values that may be secret are left out unless withValues is set: the values of environment variables, labels,
// annotations and options of drivers, the health check and the arguments.
func WithCapabilities(engineSettings engine.Settings, grant capability.Set, names map[string]string, withValues bool) Recreation {
	return newBuilder(engineSettings, names, withValues).build(dockerflags.Grant(grant))
}

// Unchanged is like [WithCapabilities], but the new container is granted what the old one is, including --privileged.
func Unchanged(engineSettings engine.Settings, names map[string]string, withValues bool) Recreation {
	b := newBuilder(engineSettings, names, withValues)
	b.keepPrivileged = true
	host := engineSettings.Container.HostConfig
	grants := dockerflags.Of(host.CapDrop, host.CapAdd)
	if host.Privileged {
		grants = slices.Concat([]string{"--privileged"}, grants)
	}
	return b.build(grants)
}

// WithAll is like [WithCapabilities], with all capabilities that the engine can grant.
func WithAll(engineSettings engine.Settings, names map[string]string, withValues bool) Recreation {
	return newBuilder(engineSettings, names, withValues).build([]string{"--cap-add=ALL"})
}

func newBuilder(engineSettings engine.Settings, names map[string]string, withValues bool) *builder {
	return &builder{Settings: engineSettings, names: names, translated: map[string]bool{}, redaction: redaction{off: withValues}}
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
	b.lifecycle()
	b.addUnknownFields()
	b.describeRedaction()
	return b.recreation(grants)
}

// builder collects the options of docker run.
type builder struct {
	engine.Settings
	names   map[string]string
	options []string
	args    []string // arguments of the container
	// connect are the commands for the networks that are not among the options of docker run.
	connect        [][]string
	translated     map[string]bool // handled fields, by their full names
	result         Recreation
	keepPrivileged bool // keep all privileges
	redaction
}

// config and host mark fields as handled.
func (b *builder) config(fields ...string) { b.mark("Config.", fields) }
func (b *builder) host(fields ...string)   { b.mark("HostConfig.", fields) }

func (b *builder) mark(prefix string, fields []string) {
	for _, field := range fields {
		b.translated[prefix+field] = true
	}
}

// add adds an option with its value, unless the value is empty.
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

// untranslated records a setting that the commands do not restore.
func (b *builder) untranslated(setting, reason string) {
	if reason != "" {
		setting += ": " + reason
	}
	b.result.Untranslated = append(b.result.Untranslated, setting)
}

// addUnknownFields records all fields that are set and that no other function has handled, including fields of newer
// engines.
func (b *builder) addUnknownFields() {
	for prefix, fields := range map[string]map[string]json.RawMessage{"Config.": b.Config, "HostConfig.": b.HostConfig} {
		for field, value := range fields {
			if !b.translated[prefix+field] && !zero(value) {
				b.untranslated(prefix+field, "")
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

// newContainerNote applies to each container.
const newContainerNote = "the new container does not have the data that the old one wrote outside its volumes"

// recreation assembles the commands.
func (b *builder) recreation(grants []string) Recreation {
	name := strings.TrimPrefix(b.Container.Name, "/")
	image := b.Container.Config.Image
	switch {
	case b.ImageGone: // the options contain everything that came from the image
		b.untranslated("Image", "the image no longer exists: pull or build "+image+" first")
	case b.ImageMoved:
		image = b.Container.Image
		b.result.Notes = append(b.result.Notes, "the command uses the ID of the image, because the name of the image now refers to another image")
	}
	b.result.Notes = append(b.result.Notes, newContainerNote)
	rest := slices.Concat(b.options, grants, []string{image}, b.args)
	state := b.Container.State
	runs := state != nil && (state.Running || state.Restarting)
	b.renameOld(name, runs)
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

// renameOld stops and renames the old container, and adds the commands that restore or remove it.
func (b *builder) renameOld(name string, runs bool) {
	host := b.Container.HostConfig
	if host.AutoRemove { // a stopped container is removed asynchronously and keeps its name until then
		b.result.RenameOld = [][]string{{"docker", "rm", "--force", name}}
		b.result.Notes = append(b.result.Notes, "the old container was run with --rm, so it is removed and cannot be restored")
		return
	}
	oldName := b.unusedName(name + "-before")
	add := func(list *[][]string, words ...string) { *list = append(*list, append([]string{"docker"}, words...)) }
	if runs {
		add(&b.result.RenameOld, "stop", name)
	}
	add(&b.result.RenameOld, "rename", name, oldName)
	add(&b.result.Back, "rm", "--force", name)
	add(&b.result.Back, "rename", oldName, name)
	if host.RestartPolicy.IsAlways() { // otherwise it starts together with the new one when the engine starts
		add(&b.result.RenameOld, "update", "--restart=no", oldName)
		add(&b.result.Back, "update", "--restart=always", name)
	}
	if runs {
		add(&b.result.Back, "start", name)
	}
	add(&b.result.Discard, "rm", oldName)
}

// unusedName returns the name, with a number if a container of the engine already has it.
func (b *builder) unusedName(name string) string {
	taken := slices.Collect(maps.Values(b.names))
	unused := name
	for n := 2; slices.Contains(taken, unused); n++ {
		unused = fmt.Sprintf("%s-%d", name, n)
	}
	return unused
}
