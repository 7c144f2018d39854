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
		Short: "Show and try the rules of capmon watch --rules",
		Args:  subcommandsOnly,
		RunE: func(*cobra.Command, []string) error {
			return errors.New("say what to do with the rules: capmon rules show, or capmon rules test FILE PROFILE")
		},
	}
	cmd.AddCommand(newRulesShow(), newRulesTest())
	return cmd
}

func newRulesShow() *cobra.Command {
	return &cobra.Command{
		Use:   "show [FILE]",
		Short: "Print the built-in rules, or those of a file in full, as a file of rules",
		Example: `  capmon rules show
  capmon rules show rules.yaml`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, files []string) error {
			text := rules.BuiltinText
			if len(files) > 0 && files[0] != builtinRules {
				file, err := rules.Load(files[0])
				if err != nil {
					return fmt.Errorf("rules %w", err)
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
	var format string
	cmd := &cobra.Command{
		Use:   "test FILE PROFILE...",
		Short: "Tell what rules would make of recorded profiles",
		Long: `Tells which uses in the profiles each rule would alert of, had it been in force, and
which ones an exception allows. If there are alerts, or it is not certain that there
are none, the exit code is 1. The file may be builtin, for the built-in rules.`,
		Example: `  capmon rules test rules.yaml web.json
  capmon rules test builtin web.json -o json`,
		Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if format != "text" && format != "json" {
				return fmt.Errorf("unknown --output %q: choose text or json", format)
			}
			file, notes, err := loadRules(args[0])
			if err != nil {
				return err
			}
			p, err := loadAll(args[1:])
			if err != nil {
				return err
			}
			if len(p.Runs) == 0 {
				return errors.New("there is no container in these profiles")
			}
			for _, note := range notes {
				fmt.Fprintln(cmd.ErrOrStderr(), "capmon:", note)
			}
			trial := rules.Try(file, p)
			if format == "json" {
				err = printable.WriteJSON(cmd.OutOrStdout(), trial)
			} else {
				err = trial.WriteText(cmd.OutOrStdout())
			}
			if err == nil && !trial.Passed {
				return &exitError{exitFound}
			}
			return err
		},
	}
	cmd.Flags().StringVarP(&format, "output", "o", "text", "form of the result: text or json")
	return cmd
}
