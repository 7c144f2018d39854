package main

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/capmon/capmon/internal/container"
)

// completionTime is how long a completion waits for the engines: the user of the shell waits for the completion.
const completionTime = time.Second

// completeContainers returns the names of the running containers of all engines, for the completion in a shell. It
// leaves out engines that do not answer. The command has the flag --engine.
func completeContainers(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	const none = cobra.ShellCompDirectiveNoFileComp
	engines, ok := cmd.Flags().Lookup("engine").Value.(*engineFlag)
	if !ok {
		return nil, none
	}
	finding, cancel := context.WithTimeout(cmd.Context(), completionTime)
	defer cancel()
	members, err := engines.members(finding, zap.NewNop())
	if err != nil {
		return nil, none
	}
	listing, cancel := context.WithTimeout(cmd.Context(), completionTime)
	defer cancel()
	lists := make([][]string, len(members))
	var asking sync.WaitGroup
	for i, engine := range members {
		asking.Go(func() { lists[i] = runningNames(listing, engine) })
	}
	withoutEngine := namesOf(standaloneContainers())
	asking.Wait()
	names := slices.Concat(append(lists, withoutEngine)...)
	slices.Sort(names)
	return slices.Compact(names), none
}

// runningNames returns the names of an engine's running containers, and closes the engine.
func runningNames(ctx context.Context, engine container.Engine) (names []string) {
	defer engine.Close()
	running, err := engine.List(ctx, false)
	if err != nil {
		return nil
	}
	return namesOf(running)
}

func namesOf(running []container.Info) (names []string) {
	for _, info := range running {
		if info.Name != "" && !info.Sandbox {
			names = append(names, info.Name)
		}
	}
	return names
}
