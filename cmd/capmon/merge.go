package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/settings"
)

// standardOutput is the file name that stands for standard output.
const standardOutput = "-"

func newMerge() *cobra.Command {
	var output string
	input := &profileInput{}
	cmd := &cobra.Command{
		Use:   "merge [FILE...]",
		Short: "Add profiles up to one profile",
		Long: `merge adds profiles up and writes the sum as a profile. The order of the profiles does
not matter, and a run that is in several profiles counts once. merge replaces the output
file as a whole, so it may be one of the input files.

Without files, merge reads the database. --container, --image and similar options
select runs from files and from the database.`,
		Example: `  capmon merge monday.json tuesday.json -o week.json
  capmon merge week.json wednesday.json -o week.json
  sudo capmon merge --image nginx -o nginx.json`,
		RunE: func(cmd *cobra.Command, files []string) error {
			sum, err := input.load(cmd, files)
			if err != nil {
				return err
			}
			if err := settings.RequireStarts(settings.Containers(sum)); err != nil { // capmon flags rejects such a profile
				fmt.Fprint(cmd.ErrOrStderr(), prefixed(err.Error()))
			}
			if output == standardOutput {
				return profile.Encode(cmd.OutOrStdout(), sum)
			}
			return profile.Save(output, sum)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", standardOutput, "write the sum to this `FILE`; - for standard output")
	input.register(cmd.Flags())
	input.registerContainers(cmd.Flags())
	return cmd
}
