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
	overview      overviewFlags
}

func (r *reportFlags) register(cmd *cobra.Command) {
	registerOutput(cmd.Flags(), &r.format, append(report.Formats(), htmlFormat)...)
	r.overview.register(cmd.Flags())
	cmd.Flags().BoolVar(&r.anyStart, settings.EvenIfStartUnseen, false, "with -o flags or -o html: also print the lists of containers whose start capmon did not see")
	cmd.Flags().BoolVar(&r.all, "all", false, "show every pattern of use, and the checks that do not count as use, with their class")
}

// write prints a report. scope describes what the profile contains, see [newEvidence]. again is the command that prints
// the report again. If there is none, the report has all details.
func (r *reportFlags) write(cmd *cobra.Command, p profile.Profile, scope string, again []string) error {
	evidence := newEvidence(scope).WithRuns(p.Runs)
	if r.format.value == htmlFormat {
		options := pageOptions()
		options.AnyStart, options.Evidence = r.anyStart, evidence
		return page.Write(cmd.OutOrStdout(), page.OfProfile(p, options))
	}
	options := report.Options{
		All: r.all, AnyStart: r.anyStart, Color: colored(cmd), Evidence: evidence,
		Details: r.overview.details || len(again) == 0, Command: again, Width: r.overview.width(cmd), Quiet: quiet(cmd),
	}
	return report.Write(cmd.OutOrStdout(), cmd.ErrOrStderr(), p, report.Format(r.format.value), options)
}

// htmlFormat is the output format that package page writes.
const htmlFormat = "html"

func pageOptions() page.Options { return page.Options{Version: versionText(), Time: time.Now()} }

// colored reports whether to color the output: it goes to a terminal with colors, and NO_COLOR is not set.
func colored(cmd *cobra.Command) bool {
	return cmd.OutOrStdout() == os.Stdout && isTerminal(os.Stdout) && !dumb() && os.Getenv("NO_COLOR") == ""
}

// dumb reports whether the terminal may print escape sequences instead of obeying them.
func dumb() bool { return os.Getenv("TERM") == "dumb" }

func isTerminal(file *os.File) bool { return term.IsTerminal(int(file.Fd())) }

func newReport() *cobra.Command {
	output, input := &reportFlags{}, &profileInput{}
	cmd := &cobra.Command{
		Use:   "report [FILE...]",
		Short: "Report the capabilities that containers need, from profiles or the database",
		Long: `report adds profiles up and prints the sum: the capabilities that each container needs,
and where it uses them. Without files, report reads the database. --container, --image
and similar options select runs from files and from the database.

For several containers, report prints an overview: one line for each container, the
gravest first. A line with (+2) is for three containers of a service or image that an
operator fixes together. --details adds the details of each container. The status is:

  unused  the container has capabilities that it did not use
  unsure  the observation is not sufficient, for example because capmon did not see the
          start: a capability that looks unused (13?) may be needed
  fits    the container used every capability that it has
  proved  verify proved that the container needs every capability that it has`,
		Example: `  capmon report web.json
  capmon report --details web.json
  capmon report -o flags monday.json tuesday.json
  capmon report -o html monday.json tuesday.json >capabilities.html
  sudo capmon report --image nginx --since 7d`,
		RunE: func(cmd *cobra.Command, files []string) error {
			p, err := input.load(cmd, files)
			if err != nil {
				return err
			}
			return output.write(cmd, p, input.scope(files), thisCommand())
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
