package main

import (
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/capmon/capmon/internal/page"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/report"
	"github.com/capmon/capmon/internal/settings"
)

// reportFlags contains the flags of the commands that print a report.
type reportFlags struct {
	format        choiceFlag
	all, anyStart bool
}

func (r *reportFlags) register(cmd *cobra.Command) {
	registerOutput(cmd.Flags(), &r.format, append(report.Formats(), htmlFormat)...)
	cmd.Flags().BoolVar(&r.anyStart, settings.EvenIfStartUnseen, false, "with -o flags or -o html: also print the lists of containers whose start capmon did not see")
	cmd.Flags().BoolVar(&r.all, "all", false, "show every pattern of use, and the checks that do not count as use, with their class")
}

func (r *reportFlags) write(cmd *cobra.Command, p profile.Profile) error {
	if r.format.value == htmlFormat {
		options := pageOptions()
		options.AnyStart = r.anyStart
		return page.Write(cmd.OutOrStdout(), page.OfProfile(p, options))
	}
	options := report.Options{All: r.all, AnyStart: r.anyStart, Color: colored(cmd)}
	return report.Write(cmd.OutOrStdout(), cmd.ErrOrStderr(), p, report.Format(r.format.value), options)
}

// htmlFormat is the output format that package page writes.
const htmlFormat = "html"

func pageOptions() page.Options { return page.Options{Version: versionText(), Time: time.Now()} }

// colored reports whether to color the output: it goes to a terminal, and NO_COLOR is not set.
func colored(cmd *cobra.Command) bool {
	return cmd.OutOrStdout() == os.Stdout && isTerminal(os.Stdout) && os.Getenv("NO_COLOR") == ""
}

func isTerminal(file *os.File) bool { return term.IsTerminal(int(file.Fd())) }

func newReport() *cobra.Command {
	output, input := &reportFlags{}, &profileInput{}
	cmd := &cobra.Command{
		Use:   "report [FILE...]",
		Short: "Report the capabilities that containers need, from profiles or the database",
		Long: `report adds profiles up and prints the sum: the capabilities that each container needs,
and where it uses them. Without files, report reads the database. --container, --image
and similar options select runs from files and from the database.`,
		Example: `  capmon report web.json
  capmon report -o flags monday.json tuesday.json
  capmon report -o html monday.json tuesday.json >capabilities.html
  sudo capmon report --image nginx --since 7d`,
		RunE: func(cmd *cobra.Command, files []string) error {
			p, err := input.load(cmd, files)
			if err != nil {
				return err
			}
			return output.write(cmd, p)
		},
	}
	output.register(cmd)
	input.register(cmd.Flags())
	input.registerContainers(cmd.Flags())
	input.registerImages(cmd.Flags())
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
