package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

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
		sides      sides
	)
	cmd := &cobra.Command{
		Use:   "diff [BEFORE [AFTER]]",
		Short: "Tell which needs and call sites are new, gone or changed between two profiles",
		Long: `Compares two profiles: of two images, of two versions, from before a change and
after it. Containers are paired by their service, of compose or a swarm, else by their
name, else by their image without its tag, if there is one of it in each.

What is not a file is read from the database: the runs of --image before, those of
--with-image after. Then all containers of an image are taken as one, unless --container
pairs them.

With --fail-on-new the exit code is 1 if a container needs a capability that it did not
need before, or asks for it in earnest and is refused.`,
		Example: `  capmon diff main.json branch.json
  capmon diff --fail-on-new main.json branch.json
  capmon diff --container web-1.0=web-1.1 releases.json releases.json
  sudo capmon diff --image nginx:1.26 --with-image nginx:1.27
  sudo capmon diff main.json --with-image app:branch`,
		Args: cobra.MaximumNArgs(2),
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
			loaded, err := sides.load(cmd, files)
			if err != nil {
				return err
			}
			options.Images = options.Images || len(files) < 2 && len(containers) == 0
			comparison, err := compareSides(loaded, options)
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
	sides.register(flags)
	flags.StringVarP(&format, "output", "o", string(report.Table), "form of the comparison: table or json")
	flags.BoolVar(&all, "all", false, "show what has not changed, and the checks that are no use, too")
	flags.BoolVar(&failOnNew, "fail-on-new", false, "exit with 1 if a capability is needed, or tried and refused, that was not before")
	flags.StringArrayVar(&containers, "container", nil, "only this container, service or image: its name in both, or BEFORE=AFTER; may be repeated")
	flags.BoolVar(&options.Images, "images", false, "take all containers of an image as one, whatever its tag and their names")
	return cmd
}

// sides holds the flags that say what diff compares.
type sides struct {
	source source
	with   []string
}

func (s *sides) register(flags *pflag.FlagSet) {
	s.source.register(flags)
	flags.StringArrayVar(&s.with, "with-image", nil, "compare with containers in the database whose image matches this pattern, or has this ID or digest; may be repeated")
}

// side is a profile, and what it is called.
type side struct {
	name    string
	profile profile.Profile
}

// load reads what was before and what is after.
func (s *sides) load(cmd *cobra.Command, files []string) (both [2]side, err error) {
	if err := s.check(cmd, len(files)); err != nil {
		return both, err
	}
	for i, images := range [][]string{s.source.selection.Images, s.with} {
		if i < len(files) {
			both[i].name = files[i]
			both[i].profile, err = profile.Load(files[i])
		} else {
			stored := s.source
			stored.selection.Images = images
			both[i].name = strings.Join(images, ", ")
			both[i].profile, err = stored.load(cmd, nil)
		}
		if err != nil {
			return both, err
		}
	}
	return both, nil
}

// check finds fault with flags that do not go with a number of files.
func (s *sides) check(cmd *cobra.Command, files int) error {
	of, with := len(s.source.selection.Images) > 0, len(s.with) > 0
	switch {
	case files == 2:
		for _, name := range []string{"db", "image", "with-image", "label", "compose-service", "since", "until"} {
			if cmd.Flags().Changed(name) {
				return fmt.Errorf("--%s is for what is read from the database: name at most one file with it", name)
			}
		}
	case files == 1 && of:
		return errors.New("--image says what was before, and so does the file: leave one of them out")
	case files == 1 && !with:
		return errors.New("nothing says what to compare with: name a second file, or images in the database by --with-image")
	case files == 0 && (!of || !with):
		return errors.New("nothing says what to compare: name two files, or images in the database by --image and --with-image")
	}
	return nil
}

func compareSides(both [2]side, options compare.Options) (compare.Comparison, error) {
	for _, side := range both {
		if len(side.profile.Runs) == 0 {
			return compare.Comparison{}, fmt.Errorf("no container is in %s, so nothing can be told from it: were any started while it was profiled?", side.name)
		}
	}
	comparison, err := compare.Profiles(both[0].profile, both[1].profile, options)
	var ambiguous *compare.AmbiguousError
	if errors.As(err, &ambiguous) {
		return compare.Comparison{}, fmt.Errorf("%w; say so by --container BEFORE=AFTER, or take all containers of an image as one by --images", err)
	}
	if err != nil {
		return compare.Comparison{}, fmt.Errorf("comparing %s with %s: %w", both[0].name, both[1].name, err)
	}
	return comparison, nil
}
