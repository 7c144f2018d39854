package e2e

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/capmon/capmon/internal/testutil"
)

// The files in testdata/script have commands and their expected output.
func TestScripts(t *testing.T) {
	t.Parallel()
	startSleeper(t, "script-web")
	directory := t.TempDir()
	var flags []string
	if hasRaceDetector() {
		flags = []string{"-race"}
	}
	if err := testutil.Build(filepath.Join(directory, "capmon"), "../../cmd/capmon", flags...); err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("DOCKER_HOST", os.Getenv("DOCKER_HOST"))
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("CAPMON", binary)
			env.Setenv("PATH", directory+":"+env.Getenv("PATH"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"rejected":            rejected,
			"rejected-as-nobody":  rejectedAsNobody,
			"rejected-as-too-old": rejectedAsTooOld,
			"chatter":             chatter,
		},
	})
}

// hasRaceDetector reports whether this test has the race detector. The capmon of the scripts then also has it.
func hasRaceDetector() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// rejected runs capmon and verifies that it rejects its input: exit code 2, nothing on stdout, one line on stderr.
func rejected(ts *testscript.TestScript, _ bool, args []string) {
	reject(ts, append([]string{"capmon"}, args...))
}

// rejectedAsNobody is like rejected, but runs capmon without capabilities.
func rejectedAsNobody(ts *testscript.TestScript, _ bool, args []string) {
	reject(ts, append([]string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", binary}, args...))
}

// rejectedAsTooOld is like rejected, but with a kernel that reports version 2.6 (UNAME26, override_release in
// kernel/sys.c).
func rejectedAsTooOld(ts *testscript.TestScript, _ bool, args []string) {
	reject(ts, append([]string{"setarch", "--uname-2.6", binary}, args...))
}

func reject(ts *testscript.TestScript, command []string) {
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
		ts.Fatalf("stderr is not a single line from capmon: %q", text)
	}
}

// chatter listens on a socket like an engine, but does not respond like one.
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
