package capmontest

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/internal/testutil"
)

// Performer is a container that runs the commands it receives, without the engine's help.
type Performer struct {
	t         *testing.T
	directory string
}

// NewPerformer returns a performer for a container that the caller starts, with the option [Performer.Volume] and the
// command [PerformerCommand].
func NewPerformer(t *testing.T) Performer {
	t.Helper()
	p := Performer{t, t.TempDir()}
	for _, file := range []string{p.Orders(), p.answers()} {
		if err := errors.Join(unix.Mkfifo(file, 0), os.Chmod(file, 0o666)); err != nil { // for any user
			t.Fatal(err)
		}
	}
	return p
}

// StartPerformer starts a performer with the engine at host and removes it when the test ends.
func StartPerformer(t *testing.T, host, name string, options ...string) Performer {
	t.Helper()
	p := NewPerformer(t)
	command := slices.Concat([]string{"docker", "-H", host, "run", "-d", "--name", name, p.Volume()}, options, []string{"bb"}, PerformerCommand)
	testutil.MustExecute(t, command...)
	t.Cleanup(func() { _ = exec.Command("docker", "-H", host, "rm", "-f", name).Run() })
	return p
}

// PerformerCommand is the program of a performer, in one line. A process that opens a named pipe may retry the open, as
// Go does after a signal. In between, there is nothing to read, or no reader.
var PerformerCommand = []string{"sh", "-c", `trap "" PIPE; while [ -p /shared/orders ]; do read -r order </shared/orders || continue; ` +
	`eval "$order"; until echo done >/shared/answers; do [ -p /shared/answers ] || exit; done; done`}

// Volume returns an option of docker run.
func (p Performer) Volume() string { return "--volume=" + p.directory + ":/shared" }

// Orders returns the path of the named pipe for commands. The performer ends after the command exit.
func (p Performer) Orders() string { return filepath.Join(p.directory, "orders") }

func (p Performer) answers() string { return filepath.Join(p.directory, "answers") }

// Do returns when the container has run the command.
func (p Performer) Do(order string) {
	p.t.Helper()
	if err := os.WriteFile(p.Orders(), []byte(order+"\n"), 0); err != nil {
		p.t.Fatal(err)
	}
	if _, err := os.ReadFile(p.answers()); err != nil {
		p.t.Fatal(err)
	}
}
