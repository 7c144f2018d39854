package main

import (
	"net"
	"path/filepath"
	"testing"

	"github.com/spf13/cobra"

	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/store"
)

// capmon starts to record even if the engine does not report which containers run: the call returns.
func TestRecordingStartsWithoutAResponseOfTheEngine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	t.Setenv("DOCKER_HOST", "unix://"+path)
	docker, err := container.ChooseDocker()
	if err != nil {
		t.Fatal(err)
	}
	defer docker.Close()
	warnIfNoneSelected(t.Context(), &cobra.Command{}, docker, container.Filter{}, store.Selection{Containers: []string{"web"}})
}
