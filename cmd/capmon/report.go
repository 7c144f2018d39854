package main

import (
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/report"
)

// rendering holds the flags of every command that ends in a report.
type rendering struct {
	format string
	all    bool
}

func (r *rendering) register(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&r.format, "output", "o", string(report.Table), "form of the report: table, json or flags")
	cmd.Flags().BoolVar(&r.all, "all", false, "show every way of use, and the checks that are no use, with their class")
}

func (r *rendering) write(cmd *cobra.Command, p profile.Profile) error {
	format, err := report.ParseFormat(r.format)
	if err != nil {
		return err
	}
	options := report.Options{All: r.all, Color: cmd.OutOrStdout() == os.Stdout && isTerminal(os.Stdout) && os.Getenv("NO_COLOR") == ""}
	return report.Write(cmd.OutOrStdout(), cmd.ErrOrStderr(), p, format, options)
}

func isTerminal(file *os.File) bool { return term.IsTerminal(int(file.Fd())) }

func newReport() *cobra.Command {
	rendering := &rendering{}
	cmd := &cobra.Command{
		Use:   "report FILE...",
		Short: "Show stored profiles; several files add up",
		Example: `  capmon report web.json
  capmon report -o flags monday.json tuesday.json`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, files []string) error {
			if _, err := report.ParseFormat(rendering.format); err != nil {
				return err
			}
			p, err := loadAll(files)
			if err != nil {
				return err
			}
			return rendering.write(cmd, p)
		},
	}
	rendering.register(cmd)
	return cmd
}

// loadAll adds the profiles of files up.
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
