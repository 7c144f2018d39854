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

	"github.com/capmon/capmon/internal/printable"
)

// subcommandsOnly validates the arguments of a command with subcommands: any argument is a mistyped subcommand.
func subcommandsOnly(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return unknownCommand(cmd, args[0])
}

// arguments returns a function that validates the number of arguments of a command. If most is negative, there is no
// maximum.
func arguments(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return fmt.Errorf("too few arguments: the usage is %s; see %s --help", cmd.UseLine(), cmd.CommandPath())
		case most >= 0 && len(args) > most:
			return fmt.Errorf("unexpected argument %q: the usage is %s; see %s --help", args[most], cmd.UseLine(), cmd.CommandPath())
		}
		return nil
	}
}

// unknownCommand returns an error that names similar subcommands.
func unknownCommand(cmd *cobra.Command, name string) error {
	var names []string
	for _, command := range cmd.Commands() {
		if command.IsAvailableCommand() {
			names = append(names, command.Name())
		}
	}
	return fmt.Errorf("unknown command %q for %q%s", name, cmd.CommandPath(), advice(cmd, name, names))
}

// explainFlag adds similar flags, or the form of the value, and the help command to an error about a flag.
func explainFlag(cmd *cobra.Command, err error) error {
	var names []string
	mistyped := ""
	var unknown *pflag.NotExistError
	if errors.As(err, &unknown) && unknown.GetSpecifiedShortnames() == "" {
		mistyped = "--" + unknown.GetSpecifiedName()
		cmd.Flags().VisitAll(func(flag *pflag.Flag) {
			if !flag.Hidden {
				names = append(names, "--"+flag.Name)
			}
		})
	}
	return fmt.Errorf("%w%s", explainValue(err), advice(cmd, mistyped, names))
}

// explainValue describes the form of a flag's value if err is about a value that the flag parser cannot read. Otherwise
// it returns err.
func explainValue(err error) error {
	var invalid *pflag.InvalidValueError
	if !errors.As(err, &invalid) {
		return err
	}
	cause, form := invalid.Unwrap().Error(), ""
	switch kind := invalid.GetFlag().Value.Type(); {
	case kind == "duration" && strings.HasPrefix(cause, "time: "):
		form = "use a form such as 30s or 10m"
	case kind == "bool":
		form = "use true or false"
	case kind == "int":
		form = "use a whole number"
	case kind == "uint32":
		form = "use a whole number that is not negative"
	default:
		return err
	}
	return errors.New(strings.TrimSuffix(invalid.Error(), cause) + form)
}

// advice returns the end of an error about a mistyped name: the names that are similar, and the help command.
func advice(cmd *cobra.Command, mistyped string, names []string) string {
	letters := len(strings.TrimLeft(mistyped, "-"))
	distance := func(name string) int { return levenshtein.ComputeDistance(mistyped, name) }
	similar := slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		begun := letters > 1 && strings.HasPrefix(name, mistyped)
		return !begun && distance(name) > (letters+2)/3
	})
	if len(similar) == 0 {
		return fmt.Sprintf("; see %s --help", cmd.CommandPath())
	}
	slices.SortStableFunc(similar, func(one, other string) int { return cmp.Compare(distance(one), distance(other)) })
	return fmt.Sprintf(": did you mean %s? See %s --help", printable.Choice(similar[:min(len(similar), 3)]), cmd.CommandPath())
}

// newHelp returns a help command like cobra's, for which an unknown command is an error.
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
