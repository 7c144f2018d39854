// Package report writes profiles, comparisons, checks, proofs and alerts for people and for programs.
package report

import (
	"fmt"
	"io"
	"strings"

	"github.com/capmon/capmon/internal/printable"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/settings"
)

// Options are the options of all reports. The zero value is valid.
type Options struct {
	// All shows all patterns of use, and also the classes that are not needs.
	All bool
	// AnyStart prints flags also for containers whose start capmon did not see.
	AnyStart bool
	// Details adds the details of each container to the overview of several containers.
	Details bool
	// Command is the command that prints the same report, as words; empty if there is none. The overview adds options
	// for the details to it.
	Command []string
	// Width is the number of columns of the terminal; 0 for no limit.
	Width int
	// Color colors the important words. Set it only for terminals.
	Color bool
	// Evidence describes where the facts in the report come from. In a comparison, it is about the later profile, and
	// Before about the earlier one.
	Evidence, Before profile.Evidence
	// Quiet leaves out of the table what does not change its meaning: the untested alternatives to capabilities, and
	// the sentence that there may be more denials. It leaves out no caution about a list.
	Quiet bool
}

// Format is the name of an output format.
type Format string

// The output formats.
const (
	Table    Format = "table"
	JSON     Format = "json"
	Flags    Format = "flags"
	Markdown Format = "markdown"
)

// Formats returns the formats of [Write]. The first one is the default.
func Formats() []Format { return []Format{Table, JSON, Flags, Markdown} }

// Write writes a profile to out. It writes the cautions to notes if the format is [Flags], which scripts read, and to
// out otherwise.
//
// Without Options.All, Write leaves out the sandboxes of pods that needed nothing, and writes their names to notes.
func Write(out, notes io.Writer, p profile.Profile, format Format, options Options) error {
	if !options.All {
		var sandboxes []profile.Container
		p, sandboxes = p.Judged()
		noteSandboxes(notes, sandboxes)
	}
	switch format {
	case JSON:
		return writeJSON(out, p, options.Evidence)
	case Flags:
		return writeFlags(out, notes, p, options)
	case Markdown:
		return writeMarkdown(out, p, options)
	default:
		return writeTable(out, p, options)
	}
}

// noteSandboxes writes which sandboxes a report does not contain.
func noteSandboxes(notes io.Writer, sandboxes []profile.Container) {
	const few = 5
	if len(sandboxes) == 0 {
		return
	}
	var names []string
	for _, sandbox := range sandboxes {
		names = append(names, printable.Text(sandbox.Title()))
	}
	more := ""
	if len(names) > few+1 {
		names, more = names[:few], fmt.Sprintf(" and %d others", len(names)-few)
	}
	fmt.Fprintf(notes, "capmon: left out the sandboxes of pods, which needed nothing (--all shows them): %s%s\n", strings.Join(names, ", "), more)
}

// writeFlags writes one line for each container. The line begins with the container's name if there are several, so
// that a script cannot confuse their lists. writeFlags returns a [settings.StartUnseenError] and writes nothing if
// capmon did not see the start of one of the containers.
func writeFlags(out, notes io.Writer, p profile.Profile, options Options) error {
	all := summaries(p)
	for _, s := range all {
		for _, caution := range cautions(s) {
			fmt.Fprintf(notes, "capmon: %s: %s\n", title(s), caution)
		}
	}
	if !options.AnyStart {
		if err := settings.RequireStarts(settings.Containers(p)); err != nil {
			return err
		}
	}
	for _, s := range all {
		name := title(s)
		if !s.Started {
			continue
		}
		prefix := ""
		if len(all) > 1 {
			prefix = name + ": "
		}
		if _, err := fmt.Fprintf(out, "%s%s\n", prefix, strings.Join(settings.Flags(s.Container.Kind, s.List()), " ")); err != nil {
			return err
		}
	}
	return nil
}
