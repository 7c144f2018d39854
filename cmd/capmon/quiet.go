package main

import (
	"io"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// optionalNote is a kind of note that --quiet leaves out. This file has all of them. A note may be optional only if the
// output means the same without it. Never optional are errors, cautions about a list (start not seen, incomplete, lost,
// unsure, unwatched), and reports of what may be missing in a selection.
type optionalNote string

// The optional notes. docs/README.md lists them in the same words. They are on stderr, except suggestionNote and
// moreDenialsNote, which tables on stdout contain as well.
const (
	progressNote    optionalNote = "the progress of `profile`, `audit --for` and `verify`"
	endNote         optionalNote = "what `profile`, `watch` and `serve` do, and how to end them"
	othersNote      optionalNote = "how many containers `profile` left out because others started them or the options do not select them"
	suggestionNote  optionalNote = "untested alternatives to a capability"
	moreDenialsNote optionalNote = "that there may be more denials than a table lists"
	nothingLostNote optionalNote = "the number of uses at the end of `watch`, if nothing was lost"
	nextStepNote    optionalNote = "how to apply the settings that `flags --for systemd --patch` wrote"
	unchangedNote   optionalNote = "that a file of `flags --patch` already has the settings"
)

func optionalNotes() []optionalNote {
	return []optionalNote{progressNote, endNote, othersNote, suggestionNote, moreDenialsNote, nothingLostNote, nextStepNote, unchangedNote}
}

const quietFlag = "quiet"

func registerQuiet(flags *pflag.FlagSet) {
	flags.BoolP(quietFlag, "q", false, "leave out progress, hints and other notes that do not change the meaning of the output; print errors and cautions as usual")
}

// quiet reports whether to leave out the optional notes.
func quiet(cmd *cobra.Command) bool {
	flag := cmd.Flags().Lookup(quietFlag)
	return flag != nil && flag.Value.String() == "true"
}

// optional returns the writer for optional notes of this kind: stderr or, with --quiet, none.
func optional(cmd *cobra.Command, _ optionalNote) io.Writer {
	if quiet(cmd) {
		return io.Discard
	}
	return cmd.ErrOrStderr()
}
