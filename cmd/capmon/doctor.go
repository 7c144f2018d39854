package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/capmon/capmon/internal/doctor"
)

func newDoctor() *cobra.Command {
	var format choiceFlag
	var options doctor.Options
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Report what this host supports, and how to fix what it does not support",
		Long: `doctor examines the kernel, the rights of this process, the cgroups and the container
engines, and tries every hook for the kernel's capability checks. For problems, it
prints remedies. The exit code is 2 if capmon cannot record on this host.`,
		Example: `  sudo capmon doctor
  sudo capmon doctor -o json`,
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			findings := doctor.Examine(cmd.Context(), options)
			if err := writeFindings(cmd.OutOrStdout(), findings, format.value); err != nil {
				return err
			}
			if !doctor.Works(findings) {
				return &exitError{exitUsage}
			}
			return nil
		},
	}
	registerOutput(cmd.Flags(), &format, "table", "json")
	registerBTF(cmd.Flags(), &options.Monitor)
	return cmd
}

func writeFindings(out io.Writer, findings []doctor.Finding, format string) error {
	if format == "json" {
		encoder := json.NewEncoder(out)
		encoder.SetEscapeHTML(false)
		encoder.SetIndent("", "  ")
		return encoder.Encode(struct {
			Schema   int              `json:"schema"`
			Works    bool             `json:"works"`
			Findings []doctor.Finding `json:"findings"`
		}{1, doctor.Works(findings), findings})
	}
	var text strings.Builder
	for _, finding := range findings {
		fmt.Fprintf(&text, "%-16s  %-7s  %s\n", finding.Subject, finding.Status, finding.Text)
		if finding.Remedy != "" {
			fmt.Fprintf(&text, "%-16s  %-7s  → %s\n", "", "", finding.Remedy)
		}
	}
	_, err := io.WriteString(out, text.String())
	return err
}
