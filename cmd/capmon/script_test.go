package main

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// Transcripts of commands and what they print, beside this file.
func TestScripts(t *testing.T) {
	t.Parallel()
	startSleeper(t, "script-web")
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("DOCKER_HOST", os.Getenv("DOCKER_HOST"))
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("CAPMON", binary)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"refused":            refused,
			"refused-as-nobody":  refusedAsNobody,
			"refused-as-too-old": refusedAsTooOld,
			"chatter":            chatter,
		},
	})
}

// refused runs capmon, which has to find fault with its input: exit code 2,
// nothing on stdout, one line on stderr.
func refused(ts *testscript.TestScript, _ bool, args []string) {
	refuse(ts, append([]string{"capmon"}, args...))
}

// refusedAsNobody does so without any rights.
func refusedAsNobody(ts *testscript.TestScript, _ bool, args []string) {
	refuse(ts, append([]string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", binary}, args...))
}

// refusedAsTooOld does so where the kernel says that it is 2.6 (UNAME26,
// override_release in kernel/sys.c).
func refusedAsTooOld(ts *testscript.TestScript, _ bool, args []string) {
	refuse(ts, append([]string{"setarch", "--uname-2.6", binary}, args...))
}

func refuse(ts *testscript.TestScript, command []string) {
	err := ts.Exec(command[0], command[1:]...)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != exitUsage {
		ts.Fatalf("%s: %v, wanted exit code %d", strings.Join(command, " "), err, exitUsage)
	}
	if out := ts.ReadFile("stdout"); out != "" {
		ts.Fatalf("printed on stdout: %s", out)
	}
	text := ts.ReadFile("stderr")
	if strings.Count(text, "\n") != 1 || !strings.HasPrefix(text, "capmon: ") {
		ts.Fatalf("stderr is not one line of capmon's: %q", text)
	}
}

// chatter listens on a socket like an engine and answers like none.
func chatter(ts *testscript.TestScript, _ bool, args []string) {
	listener, err := net.Listen("unix", filepath.Join(ts.Getenv("WORK"), args[0]))
	ts.Check(err)
	ts.Defer(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte("220 smtp.example.com ESMTP\r\n"))
			_ = conn.Close()
		}
	}()
}
