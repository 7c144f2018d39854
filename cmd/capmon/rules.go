package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/capmon/capmon/internal/printable"
	"github.com/capmon/capmon/internal/rules"
)

func newRules() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rules",
		Short: "Print or test the rules for alerts",
		Args:  subcommandsOnly,
		RunE: func(*cobra.Command, []string) error {
			return errors.New("no subcommand: run capmon rules show or capmon rules test FILE PROFILE")
		},
	}
	cmd.AddCommand(newRulesShow(), newRulesTest())
	return cmd
}

func newRulesShow() *cobra.Command {
	return &cobra.Command{
		Use:   "show [FILE]",
		Short: "Print the built-in rules, or the rules of a file with what they take from built-in rules",
		Example: `  capmon rules show
  capmon rules show rules.yaml`,
		Args: arguments(0, 1),
		RunE: func(cmd *cobra.Command, files []string) error {
			text := rules.BuiltinText
			if len(files) > 0 && files[0] != builtinRules {
				file, err := rules.Load(files[0])
				if err != nil {
					return inFile("rules", err)
				}
				if text, err = file.Text(); err != nil {
					return fmt.Errorf("writing the rules of %s: %w", files[0], err)
				}
			}
			_, err := io.WriteString(cmd.OutOrStdout(), text)
			return err
		},
	}
}

func newRulesTest() *cobra.Command {
	var format choiceFlag
	cmd := &cobra.Command{
		Use:   "test FILE PROFILE...",
		Short: "Test on profiles which alerts rules would raise",
		Long: `rules test prints, for each rule, the uses in the profiles that would cause an alert, and
the uses that an exception allows. The exit code is 1 if there would be alerts, or if
the profiles do not show whether there would be. To test the built-in rules, write
builtin instead of FILE.`,
		Example: `  capmon rules test rules.yaml web.json
  capmon rules test builtin web.json -o json`,
		Args: arguments(2, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			file, notices, err := loadRules(args[0])
			if err != nil {
				return err
			}
			p, err := loadAll(args[1:])
			if err != nil {
				return err
			}
			if len(p.Runs) == 0 {
				return errors.New("these profiles contain no container")
			}
			for _, notice := range notices {
				fmt.Fprintln(cmd.ErrOrStderr(), "capmon:", notice)
			}
			trial := rules.Test(file, p)
			if format.value == "json" {
				err = printable.WriteJSON(cmd.OutOrStdout(), trial)
			} else {
				err = trial.WriteText(cmd.OutOrStdout())
			}
			if err == nil && !trial.Passed {
				return &exitError{exitFindings}
			}
			return err
		},
	}
	registerOutput(cmd.Flags(), &format, "text", "json")
	return cmd
}
