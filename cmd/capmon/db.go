package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	bytesize "github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/capmon/capmon/internal/alert"
	"github.com/capmon/capmon/internal/printable"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/report"
	"github.com/capmon/capmon/internal/store"
)

func newDB() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "db",
		Short: "Maintain the database: import, alerts, info, check, backup, prune",
		Long: `The database contains the runs of containers, the proofs and the alerts that capmon
serve and capmon db import have saved. capmon report, flags, diff, check, merge and
audit read the database if you name no files.`,
		Args: subcommandsOnly,
		RunE: func(*cobra.Command, []string) error {
			return errors.New("no subcommand: run capmon db import, alerts, info, check, backup or prune")
		},
	}
	registerDB(cmd.PersistentFlags(), &path)
	cmd.AddCommand(newImport(&path), newAlerts(&path), newInfo(&path), newCheckDB(&path), newBackup(&path), newPrune(&path))
	return cmd
}

// openExisting opens a database. It returns an error if the file does not exist.
func openExisting(cmd *cobra.Command, path string, options store.Options) (*store.Store, error) {
	if _, err := os.Stat(path); path != "" && errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("there is no database %s: name another one with --db, or create it with capmon serve or capmon db import FILE", path)
	}
	return openDB(cmd.Context(), path, options)
}

func newImport(path *string) *cobra.Command {
	return &cobra.Command{
		Use:   "import FILE...",
		Short: "Add profiles to the database",
		Long: `import adds the runs and proofs of profiles to the database, and creates the database
if it does not exist. If import cannot read one of the files, it changes nothing. A run
counts once, no matter how often you import it.`,
		Example: `  sudo capmon db import web.json
  capmon db import --db ci.db monday.json tuesday.json`,
		Args: arguments(1, -1),
		RunE: func(cmd *cobra.Command, files []string) error {
			sum, err := loadAll(files)
			if err != nil {
				return err
			}
			db, err := openDB(cmd.Context(), *path, store.Options{})
			if err != nil {
				return err
			}
			change, err := db.Put(cmd.Context(), sum)
			if err := errors.Join(err, db.Close()); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s: %d new, %d updated, %d unchanged, of %s and %s\n",
				*path, change.New, change.Grown, change.Known, plural(uint64(len(sum.Runs)), "run"), plural(uint64(len(sum.Proofs)), "proof"))
			return nil
		},
	}
}

func newAlerts(path *string) *cobra.Command {
	var format choiceFlag
	input := &profileInput{}
	cmd := &cobra.Command{
		Use:   "alerts",
		Short: "List the alerts in the database",
		Long: `alerts lists the alerts that capmon serve has saved in the database, the oldest first.
--container, --image and similar options select alerts. With -o json, alerts prints the
same list as /api/v1/alerts of capmon serve.`,
		Example: `  sudo capmon db alerts --since 1d
  sudo capmon db alerts --image nginx -o json | jq '.[] | select(.severity == "critical")'`,
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			input.db = *path
			alerts, err := input.alerts(cmd)
			if err != nil {
				return err
			}
			if format.value == string(report.JSON) {
				return printable.WriteJSON(cmd.OutOrStdout(), append([]alert.Alert{}, alerts...)) // never null
			}
			return report.WriteAlerts(cmd.OutOrStdout(), alerts)
		},
	}
	registerOutput(cmd.Flags(), &format, report.Table, report.JSON)
	input.registerSelection(cmd.Flags())
	input.registerContainers(cmd.Flags())
	return cmd
}

// alerts reads the selected alerts, and reports alerts that may be missing.
func (i *profileInput) alerts(cmd *cobra.Command) ([]alert.Alert, error) {
	selection, err := i.parseSelection()
	if err != nil {
		return nil, err
	}
	db, err := openExisting(cmd, i.db, store.Options{ReadOnly: true})
	if err != nil {
		return nil, err
	}
	defer db.Close()
	alerts, err := db.Alerts(cmd.Context(), selection)
	if err != nil {
		return nil, err
	}
	missing, err := db.MissingAlerts(cmd.Context(), selection)
	if err != nil {
		return nil, err
	}
	notes := cmd.ErrOrStderr()
	if missing.Pruned > 0 {
		fmt.Fprintf(notes, "capmon: pruned from %s: %s from before %s, which may be missing in this list\n", i.db, plural(missing.Pruned, "alert"), localTime(missing.Until))
	}
	reportUnknownAlerts(notes, missing.Unknown, selection)
	if len(alerts) == 0 {
		if err := i.unknownContainers(cmd, db, selection, missing); err != nil {
			return nil, err
		}
		if flags := selection.Options(); flags != "" {
			fmt.Fprintf(notes, "capmon: no alert in %s is selected: %s selects none\n", i.db, flags)
		} else {
			fmt.Fprintf(notes, "capmon: no alert in %s\n", i.db)
		}
	}
	return alerts, nil
}

// unknownContainers returns an error if a selection of alerts matches no container in the database. It returns nil if
// the container exists without alerts, or if its alerts may have been pruned.
func (i *profileInput) unknownContainers(cmd *cobra.Command, db *store.Store, selection store.Selection, missing store.MissingAlerts) error {
	if !selectsContainers(selection) || missing.Pruned > 0 || len(missing.Unknown) > 0 {
		return nil
	}
	containers, err := db.Containers(cmd.Context())
	if err != nil {
		return err
	}
	alerts, err := db.Alerts(cmd.Context(), store.Selection{})
	if err != nil {
		return err
	}
	for _, one := range alerts {
		c := one.Container()
		containers = append(containers, profile.Container{ID: c.ID, Name: c.Name, Image: c.Image, ImageID: c.ImageID, Labels: c.Labels})
	}
	known, err := selection.AnyOf(containers)
	if err != nil || known {
		return err
	}
	return noneSelected("container in "+i.db, selection, containers)
}

// reportUnknownAlerts prints which alerts may be missing in the list, because capmon does not know the names of their
// containers.
func reportUnknownAlerts(notes io.Writer, unknown []alert.Alert, selection store.Selection) {
	if len(unknown) == 0 {
		return
	}
	var names []string
	for _, a := range unknown {
		names = append(names, printable.Word(a.Container().Title()))
	}
	slices.Sort(names)
	fmt.Fprintf(notes, "capmon: left out %s: %s, of %s\n", reasonUnknown(selection),
		plural(uint64(len(unknown)), "alert"), abbreviate(slices.Compact(names)))
}

func newInfo(path *string) *cobra.Command {
	return &cobra.Command{
		Use:     "info",
		Short:   "Print what the database contains",
		Example: "  sudo capmon db info",
		Args:    arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			db, err := openExisting(cmd, *path, store.Options{ReadOnly: true})
			if err != nil {
				return err
			}
			defer db.Close()
			info, err := db.Info(cmd.Context())
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			fmt.Fprintf(out, "database  %s, schema %d\n", *path, info.Schema)
			fmt.Fprintf(out, "size      %s, and %s of write-ahead log\n", bytesize.BytesSize(float64(info.Size)), bytesize.BytesSize(float64(info.Log)))
			fmt.Fprintf(out, "runs      %d of %s of %s; %d were running when last saved\n",
				info.Runs, plural(info.Containers, "container"), plural(info.Images, "image"), info.Ongoing)
			if info.Runs > 0 {
				fmt.Fprintf(out, "time      %s to %s\n", localTime(info.First), localTime(info.Last))
			}
			fmt.Fprintf(out, "uses      %d patterns of use, in all runs\n", info.Uses)
			fmt.Fprintf(out, "proofs    %d\nalerts    %d\n", info.Proofs, info.Alerts)
			if info.PrunedRuns+info.PrunedProofs+info.PrunedAlerts > 0 {
				fmt.Fprintf(out, "pruned    %s\n", removedText(info.PrunedRuns, info.PrunedProofs, info.PrunedAlerts, info.PrunedUntil))
			}
			return nil
		},
	}
}

func newCheckDB(path *string) *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "Check the database for damage",
		Long: `check reads the whole database. It verifies the file, all references, the checksum of
each run, and that the tables match the stored runs. The exit code is 1 if the database
is damaged.`,
		Example: "  sudo capmon db check",
		Args:    arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			problems, err := checkDB(cmd, *path)
			if err != nil {
				return err
			}
			for _, problem := range problems {
				fmt.Fprintln(cmd.OutOrStdout(), printable.Text(problem))
			}
			if len(problems) > 0 {
				return &exitError{exitFindings}
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s: no damage found\n", *path)
			return nil
		},
	}
}

// checkDB returns the problems of the database, including corruption that prevents opening it.
func checkDB(cmd *cobra.Command, path string) ([]string, error) {
	db, err := openExisting(cmd, path, store.Options{ReadOnly: true})
	if errors.Is(err, store.ErrCorrupt) {
		return []string{err.Error()}, nil
	}
	if err != nil {
		return nil, err
	}
	defer db.Close()
	return db.Check(cmd.Context())
}

func newBackup(path *string) *cobra.Command {
	return &cobra.Command{
		Use:   "backup FILE",
		Short: "Write a consistent copy of the database, even while others write to it",
		Long: `backup writes a consistent copy of the database to a file, which must not exist yet.
Only the owner can read the file. To read the copy, use --db.`,
		Example: "  sudo capmon db backup /backup/capmon.db",
		Args:    arguments(1, 1),
		RunE: func(cmd *cobra.Command, files []string) error {
			db, err := openExisting(cmd, *path, store.Options{ReadOnly: true})
			if err != nil {
				return err
			}
			defer db.Close()
			err = db.Backup(cmd.Context(), files[0])
			if errors.Is(err, os.ErrExist) {
				return fmt.Errorf("%s already exists: name a new file; backup does not overwrite files", files[0])
			}
			return err
		},
	}
}

func newPrune(path *string) *cobra.Command {
	var olderThan, maxSize string
	var retention store.Retention
	cmd := &cobra.Command{
		Use:   "prune [--older-than AGE] [--max-size SIZE]",
		Short: "Remove the oldest runs, proofs and alerts from the database",
		Long: `prune removes runs, proofs and alerts that ended longer ago than an age, or the oldest
ones until the file is no larger than a size. It keeps runs in progress. The database
stores how many prune has removed, and commands that read the database report it.`,
		Example: `  sudo capmon db prune --older-than 90d --max-size 1GiB
  sudo capmon db prune --older-than 30d --dry-run`,
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := parseRetention(&retention, olderThan, maxSize); err != nil {
				return err
			}
			db, err := openExisting(cmd, *path, store.Options{})
			if err != nil {
				return err
			}
			defer db.Close()
			removal, err := db.Prune(cmd.Context(), retention)
			if err != nil {
				return err
			}
			verb, has := "removed", "now has"
			if retention.DryRun {
				verb, has = "would remove", "would then have"
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s %s; the database %s %s\n", verb, removedText(removal.Runs, removal.Proofs, removal.Alerts, removal.Until), has, bytesize.BytesSize(float64(removal.Size)))
			if retention.MaxSize > 0 && removal.Size > retention.MaxSize {
				fmt.Fprintln(cmd.ErrOrStderr(), "capmon: the database remains larger than --max-size: prune does not remove runs in progress, and the empty tables have a size")
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&olderThan, "older-than", "", "remove runs, proofs and alerts that ended longer ago than this `AGE`, such as 90d or 36h")
	cmd.Flags().StringVar(&maxSize, "max-size", "", "remove the oldest runs, proofs and alerts until the database is no larger than this `SIZE`, such as 1GiB or 500MiB")
	cmd.Flags().BoolVar(&retention.DryRun, "dry-run", false, "only print what prune would remove")
	return cmd
}

func parseRetention(retention *store.Retention, olderThan, maxSize string) (err error) {
	if olderThan == "" && maxSize == "" {
		return errors.New("nothing to remove: set --older-than AGE, --max-size SIZE or both")
	}
	if olderThan != "" {
		if retention.MaxAge, err = parseAge(olderThan); err != nil {
			return fmt.Errorf("--older-than: %w", err)
		}
	}
	if maxSize != "" {
		if retention.MaxSize, err = bytesize.RAMInBytes(maxSize); err != nil || retention.MaxSize <= 0 {
			return fmt.Errorf("--max-size: invalid size %q: use a form such as 1GiB or 500MiB", maxSize)
		}
	}
	return nil
}

// removedText describes how much was removed. until is the latest end of a removed run.
func removedText(runs, proofs, alerts uint64, until time.Time) string {
	parts := []string{plural(runs, "run"), plural(proofs, "proof"), plural(alerts, "alert")}
	if !until.IsZero() {
		parts[0] += " (latest end " + localTime(until) + ")"
	}
	return strings.Join(parts, ", ")
}

// localTime formats a time for users, in the local time zone.
func localTime(t time.Time) string { return t.Local().Format(time.DateTime + " MST") }
