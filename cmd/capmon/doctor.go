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
	var format string
	var options doctor.Options
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Tell what this host supports, and what to do about what it does not",
		Long: `Examines the kernel, this process's rights, the cgroups and the Docker engine, and
tries every way to listen to the kernel's capability check. Ends with exit code 2
if profiling cannot work here.`,
		Example: `  sudo capmon doctor
  sudo capmon doctor -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if format != "table" && format != "json" {
				return fmt.Errorf("unknown format %q: choose table or json", format)
			}
			findings := doctor.Examine(cmd.Context(), options)
			if err := writeFindings(cmd.OutOrStdout(), findings, format); err != nil {
				return err
			}
			if !doctor.Works(findings) {
				return &exitError{exitUsage}
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&format, "output", "o", "table", "form of the findings: table or json")
	registerBTF(cmd, &options.Monitor)
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
