// Package report renders profiles.
package report

import (
	"fmt"
	"io"
	"slices"

	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/settings"
)

// Options of the renderings.
type Options struct {
	// All shows the classes that are no needs, too.
	All bool
	// AnyStart prints flags also of containers of which no start was seen.
	AnyStart bool
	// Color marks what matters; only for terminals.
	Color bool
}

// Format names a rendering.
type Format string

// The formats of reports.
const (
	Table Format = "table"
	JSON  Format = "json"
	Flags Format = "flags"
)

// ParseFormat reads the name of a format.
func ParseFormat(s string) (Format, error) {
	formats := []Format{Table, JSON, Flags}
	if !slices.Contains(formats, Format(s)) {
		return "", fmt.Errorf("unknown format %q: choose table, json or flags", s)
	}
	return Format(s), nil
}

// Write renders a profile. What a format cannot carry on out (flags are read by
// scripts) goes to notes.
func Write(out, notes io.Writer, p profile.Profile, format Format, options Options) error {
	switch format {
	case JSON:
		return writeJSON(out, p)
	case Flags:
		return writeFlags(out, notes, p, options)
	default:
		return writeTable(out, p, options)
	}
}

// writeFlags prints a line for each container, with its name in front if there
// are several, so that a script cannot take one's list for another's. It prints none if no start
// of one was seen: settings.StartUnseenError.
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
		if _, err := fmt.Fprintf(out, "%s%s\n", prefix, settings.DockerLine(s.List())); err != nil {
			return err
		}
	}
	return nil
}
