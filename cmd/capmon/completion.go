package main

import (
	"github.com/spf13/cobra"

	"github.com/capmon/capmon/internal/container"
)

// completeContainers returns the names of the running containers for the completion in a shell.
func completeContainers(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	docker, err := container.NewDocker(cmd.Context())
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer docker.Close()
	running, err := docker.List(cmd.Context(), false)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, info := range running {
		names = append(names, info.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
