package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/capmon/capmon/internal/compare"
	"github.com/capmon/capmon/internal/page"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/report"
)

func newDiff() *cobra.Command {
	var (
		format     choiceFlag
		all        bool
		failOnNew  bool
		containers []string
		options    compare.Options
		input      diffInput
	)
	cmd := &cobra.Command{
		Use:   "diff [BEFORE [AFTER]]",
		Short: "Report which needs and call sites are new, gone or changed between two profiles",
		Long: `diff compares the profiles BEFORE and AFTER, for example of two versions of an image. It
pairs containers by their service of Compose or a swarm or by the owner of their pods,
then by their name. Last, it pairs containers by their image without its tag, if each
profile has one container of it.

If you name fewer than two files, diff reads the missing profiles from the database:
--image selects the runs before, and --with-image the runs after. It then merges all
containers of an image into one, unless --container pairs them.

With --fail-on-new, the exit code is 1 if a container needs a capability that it did
not need before, or tries a new one and is denied.`,
		Example: `  capmon diff main.json branch.json
  capmon diff --fail-on-new main.json branch.json
  capmon diff -o html main.json branch.json >changes.html
  capmon diff --container web-1.0=web-1.1 releases.json releases.json
  sudo capmon diff --image nginx:1.26 --with-image nginx:1.27
  sudo capmon diff main.json --with-image app:branch`,
		Args: arguments(0, 2),
		RunE: func(cmd *cobra.Command, files []string) error {
			for _, name := range containers {
				choice, err := compare.ParseChoice(name)
				if err != nil {
					return fmt.Errorf("--container: %w", err)
				}
				options.Choices = append(options.Choices, choice)
			}
			sides, err := input.load(cmd, files)
			if err != nil {
				return err
			}
			options.Images = options.Images || len(files) < 2 && len(containers) == 0
			comparison, err := compareSides(sides, options)
			if err != nil {
				return err
			}
			output := report.Options{All: all, Color: colored(cmd), Before: sides[0].evidence(), Evidence: sides[1].evidence()}
			if format.value == htmlFormat {
				options := pageOptions()
				options.Before, options.Evidence = output.Before, output.Evidence
				err = page.Write(cmd.OutOrStdout(), page.OfDiff(comparison, options))
			} else {
				err = report.WriteComparison(cmd.OutOrStdout(), comparison, report.Format(format.value), output)
			}
			if err != nil {
				return err
			}
			if failOnNew && len(comparison.New()) > 0 {
				return &exitError{exitFindings}
			}
			return nil
		},
	}
	flags := cmd.Flags()
	input.register(flags)
	registerOutput(flags, &format, append(report.ComparisonFormats(), htmlFormat)...)
	flags.BoolVar(&all, "all", false, "also show what did not change, and the checks that do not count as use")
	flags.BoolVar(&failOnNew, "fail-on-new", false, "exit with 1 if a container needs a new capability, or tries a new one and is denied")
	flags.StringArrayVar(&containers, "container", nil, "compare only the container, service or image with this `NAME`, or pair two names: BEFORE=AFTER; may be repeated")
	flags.BoolVar(&options.Images, "images", false, "merge all containers of an image into one, regardless of its tag")
	return cmd
}

// diffInput contains the flags that select what diff compares.
type diffInput struct {
	profiles   profileInput
	withImages []string
}

func (i *diffInput) register(flags *pflag.FlagSet) {
	i.profiles.register(flags)
	flags.StringArrayVar(&i.withImages, "with-image", nil, "compare with containers in the database whose image matches this `PATTERN`, or has this ID or digest; may be repeated")
}

// diffSide is a profile with a name for messages, and a description of what it contains.
type diffSide struct {
	name    string
	profile profile.Profile
	scope   string
}

func (s diffSide) evidence() profile.Evidence { return newEvidence(s.scope).WithRuns(s.profile.Runs) }

// load reads the profile before and the profile after.
func (i *diffInput) load(cmd *cobra.Command, files []string) (sides [2]diffSide, err error) {
	if err := i.validate(cmd, len(files)); err != nil {
		return sides, err
	}
	for n, images := range [][]string{i.profiles.selection.Images, i.withImages} {
		if n < len(files) {
			sides[n].name, sides[n].scope = files[n], namedFiles(files[n:n+1])
			sides[n].profile, err = profile.Load(files[n])
		} else {
			stored := i.profiles
			stored.selection.Images = images
			sides[n].name = strings.Join(images, ", ")
			sides[n].profile, err = stored.load(cmd, nil)
			sides[n].scope = stored.scope(nil)
		}
		if err != nil {
			return sides, err
		}
	}
	return sides, nil
}

// validate returns an error unless the flags and the number of files name two profiles.
func (i *diffInput) validate(cmd *cobra.Command, files int) error {
	before, after := len(i.profiles.selection.Images) > 0, len(i.withImages) > 0
	switch {
	case files == 2:
		for _, name := range []string{"db", "image", "with-image", "label", "compose-service", "since", "until"} {
			if cmd.Flags().Changed(name) {
				return fmt.Errorf("--%s selects from the database, but two files are complete: leave out --%[1]s or a file", name)
			}
		}
	case files == 1 && before:
		return errors.New("the file and --image both select the profile BEFORE: use --with-image to select the profile AFTER, or leave out the file")
	case files == 1 && !after:
		return errors.New("nothing to compare with: name a second file, or select images in the database with --with-image")
	case files == 0 && (!before || !after):
		return errors.New("nothing to compare: name two files, or select images in the database with --image and --with-image")
	}
	return nil
}

func compareSides(sides [2]diffSide, options compare.Options) (compare.Comparison, error) {
	for _, side := range sides {
		if len(side.profile.Runs) == 0 {
			return compare.Comparison{}, fmt.Errorf("%s contains no container, so there is nothing to compare: did a container run while capmon recorded?", side.name)
		}
	}
	comparison, err := compare.Profiles(sides[0].profile, sides[1].profile, options)
	var ambiguous *compare.AmbiguousError
	if errors.As(err, &ambiguous) {
		return compare.Comparison{}, fmt.Errorf("%w; pair them with --container BEFORE=AFTER, or merge all containers of an image into one with --images", err)
	}
	if err != nil {
		return compare.Comparison{}, fmt.Errorf("comparing %s with %s: %w", sides[0].name, sides[1].name, err)
	}
	return comparison, nil
}
