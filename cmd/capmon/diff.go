package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/capmon/capmon/internal/compare"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/report"
)

func newDiff() *cobra.Command {
	var (
		format     string
		all        bool
		failOnNew  bool
		containers []string
		options    compare.Options
	)
	cmd := &cobra.Command{
		Use:   "diff BEFORE AFTER",
		Short: "Tell which needs and call sites are new, gone or changed between two profiles",
		Long: `Compares two profiles: of two images, of two versions, from before a change and
after it. Containers are paired by their service, of compose or a swarm, else by their
name, else by their image without its tag, if there is one of it in each.

With --fail-on-new the exit code is 1 if a container needs a capability that it did not
need before, or asks for it in earnest and is refused.`,
		Example: `  capmon diff main.json branch.json
  capmon diff --fail-on-new main.json branch.json
  capmon diff --container web-1.0=web-1.1 releases.json releases.json`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, files []string) error {
			format, err := report.ParseChangeFormat(format)
			if err != nil {
				return err
			}
			for _, name := range containers {
				choice, err := compare.ParseChoice(name)
				if err != nil {
					return fmt.Errorf("--container: %w", err)
				}
				options.Choices = append(options.Choices, choice)
			}
			comparison, err := compareFiles(files[0], files[1], options)
			if err != nil {
				return err
			}
			if err := report.WriteComparison(cmd.OutOrStdout(), comparison, format, report.Options{All: all, Color: colored(cmd)}); err != nil {
				return err
			}
			if failOnNew && len(comparison.New()) > 0 {
				return &exitError{exitFound}
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&format, "output", "o", string(report.Table), "form of the comparison: table or json")
	flags.BoolVar(&all, "all", false, "show what has not changed, and the checks that are no use, too")
	flags.BoolVar(&failOnNew, "fail-on-new", false, "exit with 1 if a capability is needed, or tried and refused, that was not before")
	flags.StringArrayVar(&containers, "container", nil, "only this container, service or image: its name in both, or BEFORE=AFTER; may be repeated")
	flags.BoolVar(&options.Images, "images", false, "take all containers of an image as one, whatever its tag and their names")
	return cmd
}

func compareFiles(before, after string, options compare.Options) (compare.Comparison, error) {
	then, err := profile.Load(before)
	if err != nil {
		return compare.Comparison{}, err
	}
	now, err := profile.Load(after)
	if err != nil {
		return compare.Comparison{}, err
	}
	for i, p := range []profile.Profile{then, now} {
		if len(p.Runs) == 0 {
			return compare.Comparison{}, fmt.Errorf("no container is in %s, so nothing can be told from it: were any started while it was profiled?", []string{before, after}[i])
		}
	}
	comparison, err := compare.Profiles(then, now, options)
	var ambiguous *compare.AmbiguousError
	if errors.As(err, &ambiguous) {
		return compare.Comparison{}, fmt.Errorf("%w; say so by --container BEFORE=AFTER, or take all containers of an image as one by --images", err)
	}
	if err != nil {
		return compare.Comparison{}, fmt.Errorf("comparing %s with %s: %w", before, after, err)
	}
	return comparison, nil
}
