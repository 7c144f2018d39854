package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/printable"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/store"
)

// source holds the flags that say where a command takes profiles from, and which of their runs.
type source struct {
	db        string
	since     string
	until     string
	images    bool
	selection store.Selection
}

// register adds the flags, but for --container, which means several things.
func (s *source) register(flags *pflag.FlagSet) {
	registerDB(flags, &s.db)
	s.registerSelection(flags)
}

// registerSelection adds those that select.
func (s *source) registerSelection(flags *pflag.FlagSet) {
	flags.StringArrayVar(&s.selection.Images, "image", nil, "only containers whose image matches this pattern, or has this ID or digest; may be repeated")
	flags.StringArrayVar(&s.selection.Labels, "label", nil, "only containers with this label, KEY or KEY=VALUE; may be repeated")
	flags.StringArrayVar(&s.selection.ComposeServices, "compose-service", nil, "only containers of a service of compose that matches SERVICE or PROJECT/SERVICE; may be repeated")
	flags.StringVar(&s.since, "since", "", "only what ended since then: an age such as 12h or 7d, a date or a time (2006-01-02T15:04:05Z)")
	flags.StringVar(&s.until, "until", "", "only what began until then, in the same forms")
}

// registerContainers adds --container for patterns.
func (s *source) registerContainers(flags *pflag.FlagSet) {
	flags.StringArrayVar(&s.selection.Containers, "container", nil, "only containers whose name or ID matches this pattern; may be repeated")
}

// registerImages adds the flag that takes containers of an image as one.
func (s *source) registerImages(flags *pflag.FlagSet) {
	flags.BoolVar(&s.images, "images", false, "take all containers of an image as one, whatever their names")
}

func registerDB(flags *pflag.FlagSet, db *string) {
	flags.StringVar(db, "db", store.DefaultPath, "database to use")
}

// load adds up the files or, if none is named, what is in the database; of both, what is
// selected.
func (s *source) load(cmd *cobra.Command, files []string) (profile.Profile, error) {
	selection, err := s.selected()
	if err != nil {
		return profile.Profile{}, err
	}
	var p profile.Profile
	if len(files) > 0 {
		if cmd.Flags().Changed("db") {
			return profile.Profile{}, errors.New("name profile files or a database (--db), not both")
		}
		p, err = selectedOf(cmd, files, selection)
	} else {
		p, err = s.stored(cmd, selection)
	}
	if err == nil && s.images {
		p = profile.ByImage(p)
	}
	return p, err
}

// selected is the selection with its moments.
func (s *source) selected() (store.Selection, error) {
	selection, now := s.selection, time.Now()
	for _, flag := range []struct {
		name, value string
		moment      *time.Time
	}{{"since", s.since, &selection.Since}, {"until", s.until, &selection.Until}} {
		if flag.value == "" {
			continue
		}
		var err error
		if *flag.moment, err = parseMoment(flag.value, now); err != nil {
			return selection, fmt.Errorf("--%s: %w", flag.name, err)
		}
	}
	if s.since != "" && s.until != "" && selection.Until.Before(selection.Since) {
		return selection, fmt.Errorf("--since %s is after --until %s, so nothing can be meant", s.since, s.until)
	}
	return selection, nil
}

func selectedOf(cmd *cobra.Command, files []string, selection store.Selection) (profile.Profile, error) {
	all, err := loadAll(files)
	if err != nil {
		return profile.Profile{}, err
	}
	unknown, err := selection.Unknown(all)
	if err != nil {
		return profile.Profile{}, err
	}
	noteUnknown(cmd.ErrOrStderr(), unknown, selection)
	p, err := selection.Of(all)
	if err == nil && len(p.Runs) == 0 && (len(all.Runs) > 0 || selectsContainers(selection)) {
		err = noneSelected("run in these profiles", selection, containersOf(all))
	}
	return p, err
}

// stored reads the database, and tells what may be meant besides.
func (s *source) stored(cmd *cobra.Command, selection store.Selection) (profile.Profile, error) {
	db, err := openDB(cmd.Context(), s.db, store.Options{ReadOnly: true})
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			err = fmt.Errorf("no profile file is named, and there is no database %s: name files, or a database by --db; capmon db import FILE makes one", s.db)
		}
		return profile.Profile{}, err
	}
	defer db.Close()
	p, err := db.Profile(cmd.Context(), selection)
	if err != nil {
		return profile.Profile{}, err
	}
	missing, err := db.Missing(cmd.Context(), selection)
	if err != nil {
		return profile.Profile{}, err
	}
	notePruned(cmd.ErrOrStderr(), s.db, missing.Pruned)
	noteUnknown(cmd.ErrOrStderr(), missing.Unknown, selection)
	if len(p.Runs) == 0 {
		all, err := db.Containers(cmd.Context())
		return profile.Profile{}, errors.Join(err, noneSelected("run in "+s.db, selection, all))
	}
	return p, nil
}

// noteUnknown says which containers may be missing in a sum, since nobody knows who they were.
func noteUnknown(notes io.Writer, unknown store.Unknown, selection store.Selection) {
	if len(unknown.Containers) == 0 {
		return
	}
	var names []string
	for _, id := range unknown.Containers {
		names = append(names, printable.Word(container.ShortID(id)))
	}
	fmt.Fprintf(notes, "capmon: left out, %s: %s, which needed %s\n", unknowable(selection, "they are"), some(names), cmp.Or(unknown.Needed.Text(), "nothing"))
}

// unknowable says why nobody knows whether some containers are selected.
func unknowable(selection store.Selection, theyAre string) string {
	if slices.ContainsFunc(selection.Labels, func(label string) bool { return strings.Contains(label, "=") }) {
		return "since the engine could not tell whether " + theyAre + " selected, or the value of a label is not stored (--keep-label)"
	}
	return "since the engine could not tell whether " + theyAre + " selected"
}

// notePruned says that a sum lacks what was removed.
func notePruned(notes io.Writer, db string, pruned []store.Pruned) {
	const few = 5
	for i, p := range pruned {
		if i == few && len(pruned) > few+1 {
			var rest store.Pruned
			for _, more := range pruned[i:] {
				rest.Number += more.Number
				if more.Until.After(rest.Until) {
					rest.Until = more.Until
				}
			}
			noteRuns(notes, db, fmt.Sprintf("%d other images", len(pruned)-i), rest)
			return
		}
		image := "images that are not told apart"
		if p.Image != "" {
			image = "image " + printable.Text(p.Image)
		}
		noteRuns(notes, db, image, p)
	}
}

func noteRuns(notes io.Writer, db, of string, p store.Pruned) {
	fmt.Fprintf(notes, "capmon: pruned from %s: %s of %s, which ended until %s: what was used only then is missing\n",
		db, counted(p.Number, "run"), of, local(p.Until))
}

// described is a selection as it was given.
func described(selection store.Selection) string {
	var flags []string
	for _, by := range selectedBys(selection) {
		for _, pattern := range by.patterns {
			flags = append(flags, fmt.Sprintf("--%s %q", by.flag, pattern))
		}
	}
	if !selection.Since.IsZero() {
		flags = append(flags, "--since "+selection.Since.Format(time.RFC3339))
	}
	if !selection.Until.IsZero() {
		flags = append(flags, "--until "+selection.Until.Format(time.RFC3339))
	}
	if len(flags) == 0 {
		return "none is in it yet"
	}
	return strings.Join(flags, " ") + " leaves none"
}

// openDB opens a database for a command.
func openDB(ctx context.Context, path string, options store.Options) (*store.Store, error) {
	if path == "" {
		return nil, errors.New("--db is empty: name a database")
	}
	return store.Open(ctx, path, options)
}
