package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// subcommandsOnly is for commands with subcommands: any other argument is a mistyped one.
func subcommandsOnly(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return unknownCommand(cmd, args[0])
}

// unknownCommand names the subcommands that may be meant.
func unknownCommand(cmd *cobra.Command, name string) error {
	var names []string
	for _, command := range cmd.Commands() {
		if command.IsAvailableCommand() {
			names = append(names, command.Name())
		}
	}
	return fmt.Errorf("unknown command %q for %q%s; see %s --help", name, cmd.CommandPath(), didYouMean(name, names), cmd.CommandPath())
}

// explainFlag says what to do about a flag that cannot be read.
func explainFlag(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	suggestion := ""
	if errors.As(err, &unknown) && unknown.GetSpecifiedShortnames() == "" {
		var names []string
		cmd.Flags().VisitAll(func(flag *pflag.Flag) {
			if !flag.Hidden {
				names = append(names, "--"+flag.Name)
			}
		})
		suggestion = didYouMean("--"+unknown.GetSpecifiedName(), names)
	}
	return fmt.Errorf("%w%s; see %s --help", err, suggestion, cmd.CommandPath())
}

// didYouMean asks whether names that are much like a mistyped one are meant; "" if there is none.
func didYouMean(mistyped string, names []string) string {
	letters := len(strings.TrimLeft(mistyped, "-"))
	distance := func(name string) int { return levenshtein.ComputeDistance(mistyped, name) }
	alike := slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		begun := letters > 1 && strings.HasPrefix(name, mistyped)
		return !begun && distance(name) > (letters+2)/3
	})
	if len(alike) == 0 {
		return ""
	}
	slices.SortStableFunc(alike, func(one, other string) int { return cmp.Compare(distance(one), distance(other)) })
	return ": did you mean " + strings.Join(alike[:min(len(alike), 3)], " or ") + "?"
}

// newHelp is cobra's help, but a command that it does not know is an error.
func newHelp() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND...]",
		Short: "Help about any command",
		RunE: func(cmd *cobra.Command, names []string) error {
			of := cmd.Root()
			for _, name := range names {
				i := slices.IndexFunc(of.Commands(), func(c *cobra.Command) bool { return c.Name() == name })
				if i < 0 {
					return unknownCommand(of, name)
				}
				of = of.Commands()[i]
			}
			of.InitDefaultHelpFlag()
			of.InitDefaultVersionFlag()
			return of.Help()
		},
	}
}
