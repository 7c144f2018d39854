package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/settings"
)

// standardOutput is what takes the place of a file's name.
const standardOutput = "-"

func newMerge() *cobra.Command {
	var output string
	source := &source{}
	cmd := &cobra.Command{
		Use:   "merge [FILE...]",
		Short: "Add stored profiles up, as a profile",
		Long: `Adds profiles up, as report does with several, and writes the sum as a profile.
The same profiles give the same bytes, in any order and however often they are
named. A file that is written is replaced as a whole: it may be one of those read.
Without files, the runs in the database are written; of both, those that are selected.`,
		Example: `  capmon merge monday.json tuesday.json -o week.json
  capmon merge week.json wednesday.json -o week.json
  sudo capmon merge --image nginx -o nginx.json`,
		RunE: func(cmd *cobra.Command, files []string) error {
			sum, err := source.load(cmd, files)
			if err != nil {
				return err
			}
			if err := settings.RequireStarts(settings.Containers(sum)); err != nil { // flags will refuse it
				fmt.Fprintf(cmd.ErrOrStderr(), "capmon: %v\n", err)
			}
			if output == standardOutput {
				return profile.Encode(cmd.OutOrStdout(), sum)
			}
			return profile.Save(output, sum)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", standardOutput, "file to write the sum to, - for standard output")
	source.register(cmd.Flags())
	source.registerContainers(cmd.Flags())
	return cmd
}
