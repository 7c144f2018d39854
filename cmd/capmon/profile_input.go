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

	"github.com/capmon/capmon/internal/containerid"
	"github.com/capmon/capmon/internal/printable"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/store"
)

// profileInput contains the flags that select the database and the runs that a command reads.
type profileInput struct {
	db        string
	since     string
	until     string
	images    bool
	selection store.Selection
	// now is the time that ages of since and until refer to; zero before the first use.
	now time.Time
}

// register adds the flags except --container, which has different meanings.
func (i *profileInput) register(flags *pflag.FlagSet) {
	registerDB(flags, &i.db)
	i.registerSelection(flags)
}

// registerSelection adds the flags that select runs.
func (i *profileInput) registerSelection(flags *pflag.FlagSet) {
	flags.StringArrayVar(&i.selection.Images, "image", nil, "only containers whose image matches this `PATTERN`, or has this ID or digest; may be repeated")
	flags.StringArrayVar(&i.selection.Labels, "label", nil, "only containers with the label `KEY[=VALUE]`; may be repeated")
	flags.StringArrayVar(&i.selection.ComposeServices, "compose-service", nil, "only containers of a Compose service that matches `[PROJECT/]SERVICE`; may be repeated")
	flags.StringVar(&i.since, "since", "", "only runs that ended after this `TIME`: an age such as 12h or 7d, a date (2006-01-02), or a date with a time (2006-01-02T15:04:05Z)")
	flags.StringVar(&i.until, "until", "", "only runs that began before this `TIME`, in the formats of --since")
}

// registerContainers adds --container with patterns.
func (i *profileInput) registerContainers(flags *pflag.FlagSet) {
	flags.StringArrayVar(&i.selection.Containers, "container", nil, "only containers whose name matches this `PATTERN`, or that have this ID; may be repeated")
}

// registerImages adds --images.
func (i *profileInput) registerImages(flags *pflag.FlagSet) {
	flags.BoolVar(&i.images, "images", false, "merge all containers of an image into one, regardless of their names")
}

func registerDB(flags *pflag.FlagSet, db *string) {
	flags.StringVar(db, "db", store.DefaultPath, "`FILE` of the database")
}

// load returns the sum of the selected runs in the files or, without files, in the database.
func (i *profileInput) load(cmd *cobra.Command, files []string) (profile.Profile, error) {
	selection, err := i.parseSelection()
	if err != nil {
		return profile.Profile{}, err
	}
	var p profile.Profile
	if len(files) > 0 {
		if cmd.Flags().Changed("db") {
			return profile.Profile{}, errors.New("files and --db: name files or a database, not both")
		}
		p, err = fromFiles(cmd, files, selection)
	} else {
		p, err = i.fromDatabase(cmd, selection)
	}
	if err == nil && i.images {
		p = profile.ByImage(p)
	}
	return p, err
}

// parseSelection returns the selection with the parsed times. It returns the same times each time.
func (i *profileInput) parseSelection() (store.Selection, error) {
	if i.now.IsZero() {
		i.now = time.Now()
	}
	selection, now := i.selection, i.now
	for _, flag := range []struct {
		name, value string
		time        *time.Time
	}{{"since", i.since, &selection.Since}, {"until", i.until, &selection.Until}} {
		if flag.value == "" {
			continue
		}
		var err error
		if *flag.time, err = parseTime(flag.value, now); err != nil {
			return selection, fmt.Errorf("--%s: %w", flag.name, err)
		}
	}
	if i.since != "" && i.until != "" && selection.Until.Before(selection.Since) {
		return selection, fmt.Errorf("--since %s is after --until %s, so they select nothing", i.since, i.until)
	}
	return selection, nil
}

// fromFiles reads the selected runs from files, and reports runs that may be selected.
func fromFiles(cmd *cobra.Command, files []string, selection store.Selection) (profile.Profile, error) {
	all, err := loadAll(files)
	if err != nil {
		return profile.Profile{}, err
	}
	unknown, err := selection.Unknown(all)
	if err != nil {
		return profile.Profile{}, err
	}
	reportUnknown(cmd.ErrOrStderr(), unknown, selection)
	p, err := selection.Of(all)
	if err == nil && len(p.Runs) == 0 && (len(all.Runs) > 0 || selectsContainers(selection)) {
		err = noneSelected("run in these profiles", selection, containersOf(all))
	}
	return p, err
}

// fromDatabase reads the selected runs from the database, and reports runs that may be selected and runs that were
// pruned.
func (i *profileInput) fromDatabase(cmd *cobra.Command, selection store.Selection) (profile.Profile, error) {
	db, err := openDB(cmd.Context(), i.db, store.Options{ReadOnly: true})
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			err = fmt.Errorf("you named no file, and there is no database %s: name files, name another database with --db, or create it with capmon serve or capmon db import FILE", i.db)
		}
		return profile.Profile{}, err
	}
	defer db.Close()
	var p profile.Profile
	err = showSlow(statusLineOf(optional(cmd, progressNote)), "reading "+printable.Word(i.db), func() (err error) {
		p, err = db.Profile(cmd.Context(), selection)
		return err
	})
	if err != nil {
		return profile.Profile{}, err
	}
	missing, err := db.Missing(cmd.Context(), selection)
	if err != nil {
		return profile.Profile{}, err
	}
	reportPruned(cmd.ErrOrStderr(), i.db, missing.Pruned)
	reportUnknown(cmd.ErrOrStderr(), missing.Unknown, selection)
	if len(p.Runs) == 0 {
		all, err := db.Containers(cmd.Context())
		return profile.Profile{}, errors.Join(err, noneSelected("run in "+i.db, selection, all))
	}
	return p, nil
}

// reportUnknown prints which containers may be missing in the sum, because capmon does not know their names.
func reportUnknown(notes io.Writer, unknown store.Unknown, selection store.Selection) {
	if len(unknown.Containers) == 0 {
		return
	}
	var names []string
	for _, id := range unknown.Containers {
		names = append(names, printable.Word(containerid.Short(id)))
	}
	fmt.Fprintf(notes, "capmon: left out %s: %s, which needed %s\n", reasonUnknown(selection), abbreviate(names), cmp.Or(unknown.Needed.Text(), "nothing"))
}

// reasonUnknown returns why capmon does not know whether some containers are selected.
func reasonUnknown(selection store.Selection) string {
	const why = "because the engine did not describe the containers, so capmon does not know whether they are selected"
	if slices.ContainsFunc(selection.Labels, func(label string) bool { return strings.Contains(label, "=") }) {
		return why + ", or the value of a label is not stored (--keep-label)"
	}
	return why
}

// reportPruned prints which runs are missing in the sum because they were pruned.
func reportPruned(notes io.Writer, db string, pruned []store.Pruned) {
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
			reportRuns(notes, db, fmt.Sprintf("%d other images", len(pruned)-i), rest)
			return
		}
		image := "several images"
		if p.Image != "" {
			image = "image " + printable.Text(p.Image)
		}
		reportRuns(notes, db, image, p)
	}
}

func reportRuns(notes io.Writer, db, of string, p store.Pruned) {
	fmt.Fprintf(notes, "capmon: pruned from %s: %s of %s (latest end %s); uses in these runs only are missing\n",
		db, plural(p.Number, "run"), of, localTime(p.Until))
}

// openDB opens the database with the path that the user chose.
func openDB(ctx context.Context, path string, options store.Options) (*store.Store, error) {
	if path == "" {
		return nil, errors.New("--db is empty: set the path of a database")
	}
	return store.Open(ctx, path, options)
}
