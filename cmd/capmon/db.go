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
		Short: "Look after the database of profiles: import, alerts, info, check, backup, prune",
		Long: `The database has the runs of all containers that were put into it. Without profile files,
capmon report, flags, diff, check, merge and audit read it.`,
		Args: subcommandsOnly,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	registerDB(cmd.PersistentFlags(), &path)
	cmd.AddCommand(newImport(&path), newAlerts(&path), newInfo(&path), newCheckDB(&path), newBackup(&path), newPrune(&path))
	return cmd
}

// openExisting opens a database that has to be there.
func openExisting(cmd *cobra.Command, path string, options store.Options) (*store.Store, error) {
	if _, err := os.Stat(path); path != "" && errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("there is no database %s: name another by --db; capmon db import FILE makes one", path)
	}
	return openDB(cmd.Context(), path, options)
}

func newImport(path *string) *cobra.Command {
	return &cobra.Command{
		Use:   "import FILE...",
		Short: "Put profiles into the database, which is made if there is none",
		Long: `Puts the runs and proofs of profiles into the database, all of them or, if one cannot be
read, none. What is there already counts once, however often it is imported.`,
		Example: `  sudo capmon db import web.json
  capmon db import --db ci.db monday.json tuesday.json`,
		Args: cobra.MinimumNArgs(1),
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
			fmt.Fprintf(cmd.OutOrStdout(), "%s: %d new, %d fuller than before, %d there already, of %s and %s\n",
				*path, change.New, change.Grown, change.Known, counted(uint64(len(sum.Runs)), "run"), counted(uint64(len(sum.Proofs)), "proof"))
			return nil
		},
	}
}

func newAlerts(path *string) *cobra.Command {
	var format string
	source := &source{}
	cmd := &cobra.Command{
		Use:   "alerts",
		Short: "List the alerts in the database, the oldest first",
		Long: `Lists the alerts that capmon serve has put into the database, the oldest first: of all
containers, or of those that --container, --image and the like select. As JSON they are a
list, as at /api/v1/alerts.`,
		Example: `  sudo capmon db alerts --since 1d
  sudo capmon db alerts --image nginx -o json | jq '.[] | select(.severity == "critical")'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if format != string(report.Table) && format != string(report.JSON) {
				return fmt.Errorf("unknown --output %q: choose table or json", format)
			}
			source.db = *path
			alerts, err := source.alerts(cmd)
			if err != nil {
				return err
			}
			if format == string(report.JSON) {
				return printable.WriteJSON(cmd.OutOrStdout(), append([]alert.Alert{}, alerts...)) // never null
			}
			return report.WriteAlerts(cmd.OutOrStdout(), alerts)
		},
	}
	cmd.Flags().StringVarP(&format, "output", "o", string(report.Table), "form of the list: table or json")
	source.registerSelection(cmd.Flags())
	source.registerContainers(cmd.Flags())
	return cmd
}

// alerts reads those that are selected, and tells what may be meant besides.
func (s *source) alerts(cmd *cobra.Command) ([]alert.Alert, error) {
	selection, err := s.selected()
	if err != nil {
		return nil, err
	}
	db, err := openExisting(cmd, s.db, store.Options{ReadOnly: true})
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
		fmt.Fprintf(notes, "capmon: pruned from %s: %s until %s, which may be missing here\n", s.db, counted(missing.Pruned, "alert"), local(missing.Until))
	}
	noteUnknownAlerts(notes, missing.Unknown, selection)
	if len(alerts) == 0 {
		if err := s.unknownContainers(cmd, db, selection, missing); err != nil {
			return nil, err
		}
		fmt.Fprintf(notes, "capmon: no alert in %s is selected: %s\n", s.db, described(selection))
	}
	return alerts, nil
}

// unknownContainers is the error that a selection of alerts means no container that the database
// knows. A container that has no alerts may be selected, and one that may have had some.
func (s *source) unknownContainers(cmd *cobra.Command, db *store.Store, selection store.Selection, missing store.MissingAlerts) error {
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
	return noneSelected("container in "+s.db, selection, containers)
}

// noteUnknownAlerts says that alerts may be missing, since nobody knows whose they are.
func noteUnknownAlerts(notes io.Writer, unknown []alert.Alert, selection store.Selection) {
	if len(unknown) == 0 {
		return
	}
	var names []string
	for _, a := range unknown {
		names = append(names, printable.Word(a.Container().Title()))
	}
	slices.Sort(names)
	fmt.Fprintf(notes, "capmon: left out, %s: %s, of %s\n", unknowable(selection, "their containers are"),
		counted(uint64(len(unknown)), "alert"), some(slices.Compact(names)))
}

func newInfo(path *string) *cobra.Command {
	return &cobra.Command{
		Use:     "info",
		Short:   "Tell what is in the database",
		Example: "  sudo capmon db info",
		Args:    cobra.NoArgs,
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
			fmt.Fprintf(out, "size      %s, and %s of log\n", bytesize.BytesSize(float64(info.Size)), bytesize.BytesSize(float64(info.Log)))
			fmt.Fprintf(out, "runs      %d of %s of %s, %d of them running when seen last\n",
				info.Runs, counted(info.Containers, "container"), counted(info.Images, "image"), info.Ongoing)
			if info.Runs > 0 {
				fmt.Fprintf(out, "time      %s to %s\n", local(info.First), local(info.Last))
			}
			fmt.Fprintf(out, "uses      %d kinds, in all runs\n", info.Uses)
			fmt.Fprintf(out, "proofs    %d\nalerts    %d\n", info.Proofs, info.Alerts)
			if info.PrunedRuns+info.PrunedProofs+info.PrunedAlerts > 0 {
				fmt.Fprintf(out, "pruned    %s\n", removed(info.PrunedRuns, info.PrunedProofs, info.PrunedAlerts, info.PrunedUntil))
			}
			return nil
		},
	}
}

func newCheckDB(path *string) *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "Look for what is wrong with the database; exit code 1 if anything is",
		Long: `Reads the whole database: whether the file is whole, every reference leads somewhere, every
run is as it was written, and the tables say the same as the runs' own documents.`,
		Example: "  sudo capmon db check",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			problems, err := checkDB(cmd, *path)
			if err != nil {
				return err
			}
			for _, problem := range problems {
				fmt.Fprintln(cmd.OutOrStdout(), printable.Text(problem))
			}
			if len(problems) > 0 {
				return &exitError{exitFound}
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s: nothing is wrong with it\n", *path)
			return nil
		},
	}
}

// checkDB lists problems, one of which may be that it cannot even be opened.
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
		Short: "Write a copy of the database as of one moment, while others may write to it",
		Long: `Writes a copy of the database as of one moment to a file, which must not exist and which only
its owner may read. The copy is a database like it: --db reads it.`,
		Example: "  sudo capmon db backup /backup/capmon.db",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, files []string) error {
			db, err := openExisting(cmd, *path, store.Options{ReadOnly: true})
			if err != nil {
				return err
			}
			defer db.Close()
			err = db.Backup(cmd.Context(), files[0])
			if errors.Is(err, os.ErrExist) {
				return fmt.Errorf("%s is there already: name a new file, a backup replaces none", files[0])
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
		Long: `Removes what ended longer ago than an age, or what ended first until the file is no larger
than a size. The database remembers how much it was, and whoever reads it is told.
What is running stays.`,
		Example: `  sudo capmon db prune --older-than 90d --max-size 1GiB
  sudo capmon db prune --older-than 30d --dry-run`,
		Args: cobra.NoArgs,
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
			verb := "removed"
			if retention.DryRun {
				verb = "would remove"
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s %s; %s are left\n", verb, removed(removal.Runs, removal.Proofs, removal.Alerts, removal.Until), bytesize.BytesSize(float64(removal.Size)))
			if retention.MaxSize > 0 && removal.Size > retention.MaxSize {
				fmt.Fprintln(cmd.ErrOrStderr(), "capmon: the database is larger than --max-size, but what is left may not be removed: it is running, or only the tables themselves")
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&olderThan, "older-than", "", "remove what ended longer ago: 90d, 36h")
	cmd.Flags().StringVar(&maxSize, "max-size", "", "remove what ended first until the file is no larger: 1GiB, 500MiB")
	cmd.Flags().BoolVar(&retention.DryRun, "dry-run", false, "only tell what would be removed")
	return cmd
}

func parseRetention(retention *store.Retention, olderThan, maxSize string) (err error) {
	if olderThan == "" && maxSize == "" {
		return errors.New("nothing says what to remove: give --older-than AGE, --max-size SIZE or both")
	}
	if olderThan != "" {
		if retention.MaxAge, err = parseAge(olderThan); err != nil {
			return fmt.Errorf("--older-than: %w", err)
		}
	}
	if maxSize != "" {
		if retention.MaxSize, err = bytesize.RAMInBytes(maxSize); err != nil || retention.MaxSize <= 0 {
			return fmt.Errorf("--max-size: %q is no size: write it as 1GiB or 500MiB", maxSize)
		}
	}
	return nil
}

// removed tells how much was.
func removed(runs, proofs, alerts uint64, until time.Time) string {
	parts := []string{counted(runs, "run"), counted(proofs, "proof"), counted(alerts, "alert")}
	if !until.IsZero() {
		parts[0] += " that ended until " + local(until)
	}
	return strings.Join(parts, ", ")
}

// local is a moment as its reader's clock shows it.
func local(t time.Time) string { return t.Local().Format(time.DateTime + " MST") }
