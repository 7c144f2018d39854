package main

import (
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/report"
	"github.com/capmon/capmon/internal/settings"
)

// rendering holds the flags of every command that ends in a report.
type rendering struct {
	format        string
	all, anyStart bool
}

func (r *rendering) register(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&r.format, "output", "o", string(report.Table), "form of the report: table, json or flags")
	cmd.Flags().BoolVar(&r.anyStart, settings.EvenIfStartUnseen, false, "with -o flags: also print lists of containers that were already running when capmon began to watch")
	cmd.Flags().BoolVar(&r.all, "all", false, "show every way of use, and the checks that are no use, with their class")
}

func (r *rendering) write(cmd *cobra.Command, p profile.Profile) error {
	format, err := report.ParseFormat(r.format)
	if err != nil {
		return err
	}
	options := report.Options{All: r.all, AnyStart: r.anyStart, Color: colored(cmd)}
	return report.Write(cmd.OutOrStdout(), cmd.ErrOrStderr(), p, format, options)
}

// colored reports whether whoever reads the output sees colors, and wants them.
func colored(cmd *cobra.Command) bool {
	return cmd.OutOrStdout() == os.Stdout && isTerminal(os.Stdout) && os.Getenv("NO_COLOR") == ""
}

func isTerminal(file *os.File) bool { return term.IsTerminal(int(file.Fd())) }

func newReport() *cobra.Command {
	rendering, source := &rendering{}, &source{}
	cmd := &cobra.Command{
		Use:   "report [FILE...]",
		Short: "Show stored profiles; several files add up",
		Long: `Shows stored profiles. Several files add up; without any, all runs in the database do.
Of both, --container, --image and the like select some.`,
		Example: `  capmon report web.json
  capmon report -o flags monday.json tuesday.json
  sudo capmon report --image nginx --since 7d`,
		RunE: func(cmd *cobra.Command, files []string) error {
			if _, err := report.ParseFormat(rendering.format); err != nil {
				return err
			}
			p, err := source.load(cmd, files)
			if err != nil {
				return err
			}
			return rendering.write(cmd, p)
		},
	}
	rendering.register(cmd)
	source.register(cmd.Flags())
	source.registerContainers(cmd.Flags())
	source.registerImages(cmd.Flags())
	return cmd
}

// loadAll reads profiles and adds them up.
func loadAll(files []string) (profile.Profile, error) {
	var profiles []profile.Profile
	for _, file := range files {
		p, err := profile.Load(file)
		if err != nil {
			return profile.Profile{}, err
		}
		profiles = append(profiles, p)
	}
	return profile.Merge(profiles...), nil
}
