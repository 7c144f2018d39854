package main

import (
	"os"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"
)

// overviewFlags contains the flags of the commands that print an overview of containers.
type overviewFlags struct{ details, wide bool }

func (o *overviewFlags) register(flags *pflag.FlagSet) {
	flags.BoolVar(&o.details, "details", false, "after the overview of several containers, print the details of each one")
	flags.BoolVar(&o.wide, "wide", false, "do not shorten the overview to the width of the terminal")
}

// width returns the number of columns for the overview; 0 for no limit.
func (o *overviewFlags) width(cmd *cobra.Command) int {
	if o.wide || cmd.OutOrStdout() != os.Stdout {
		return 0
	}
	width, _, err := term.GetSize(int(os.Stdout.Fd()))
	if err != nil { // not a terminal
		return 0
	}
	return width
}

// thisCommand returns the words of the running command, for advice to run it again with other options.
func thisCommand() []string {
	return append([]string{"capmon"}, slices.Clone(os.Args[1:])...)
}
