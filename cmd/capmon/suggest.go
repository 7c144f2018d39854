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

// subcommandsOnly validates the arguments of a command with subcommands: any argument is a mistyped subcommand.
func subcommandsOnly(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return unknownCommand(cmd, args[0])
}

// unknownCommand returns an error that names similar subcommands.
func unknownCommand(cmd *cobra.Command, name string) error {
	var names []string
	for _, command := range cmd.Commands() {
		if command.IsAvailableCommand() {
			names = append(names, command.Name())
		}
	}
	return fmt.Errorf("unknown command %q for %q%s; see %s --help", name, cmd.CommandPath(), didYouMean(name, names), cmd.CommandPath())
}

// explainFlag adds similar flags and the help command to an error about a flag.
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

// didYouMean returns a question with the names that are similar to a mistyped one; "" if there are none.
func didYouMean(mistyped string, names []string) string {
	letters := len(strings.TrimLeft(mistyped, "-"))
	distance := func(name string) int { return levenshtein.ComputeDistance(mistyped, name) }
	similar := slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		begun := letters > 1 && strings.HasPrefix(name, mistyped)
		return !begun && distance(name) > (letters+2)/3
	})
	if len(similar) == 0 {
		return ""
	}
	slices.SortStableFunc(similar, func(one, other string) int { return cmp.Compare(distance(one), distance(other)) })
	return ": did you mean " + strings.Join(similar[:min(len(similar), 3)], " or ") + "?"
}

// newHelp returns cobra's help command, but an unknown command is an error.
func newHelp() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND...]",
		Short: "Print the help of any command",
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
