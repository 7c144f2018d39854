package main

import (
	"github.com/spf13/cobra"
	"go.uber.org/zap"
)

// completeContainers returns the names of the running containers for the completion in a shell. The command has the
// flag --engine.
func completeContainers(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	const none = cobra.ShellCompDirectiveNoFileComp
	engines, ok := cmd.Flags().Lookup("engine").Value.(*engineFlag)
	if !ok {
		return nil, none
	}
	running := standaloneContainers()
	if engine, err := engines.connect(cmd.Context(), true, zap.NewNop()); err == nil {
		defer engine.Close()
		if ofEngines, err := engine.List(cmd.Context(), false); err == nil {
			running = append(ofEngines, running...)
		}
	}
	var names []string
	for _, info := range running {
		if info.Name != "" && !info.Sandbox {
			names = append(names, info.Name)
		}
	}
	return names, none
}
