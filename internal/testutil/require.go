package testutil

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// instruction is printed after the number of skipped tests.
const instruction = `run "make test" as root`

// RunOrSkip runs the tests of a package in which nearly all tests need root and Docker. If these are missing, for the
// reason in missing, it runs only the tests with the names in others, and prints how many it skipped. It fails instead
// if [NothingMaySkip]. It returns the exit code.
func RunOrSkip(m *testing.M, missing error, others ...string) int {
	if !flag.Parsed() {
		flag.Parse()
	}
	switch {
	case missing == nil, flag.Lookup("test.list").Value.String() != "":
		return m.Run()
	case NothingMaySkip():
		fmt.Fprintf(os.Stderr, "the tests need root and a Docker daemon at DOCKER_HOST: %s: %v\n", instruction, missing)
		return 1
	}
	skipped, err := skipAllBut(others)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Fprintf(os.Stderr, "skipped %d tests that need root and Docker: %s\n", skipped, instruction)
	noteSkipped(skipped)
	return m.Run()
}

// skipAllBut changes the flag -run so that it selects only tests with the names in others, and returns the number of
// tests that it does not select any more.
func skipAllBut(others []string) (skipped int, err error) {
	run := flag.Lookup("test.run").Value.String()
	first, _, _ := strings.Cut(run, "/")
	selected, err := regexp.Compile(first)
	if err != nil {
		return 0, err
	}
	out, err := exec.Command("/proc/self/exe", "-test.list=.").Output()
	if err != nil {
		return 0, fmt.Errorf("listing the tests: %w", err)
	}
	all := strings.Fields(string(out))
	for _, name := range others {
		if !slices.Contains(all, name) {
			return 0, fmt.Errorf("there is no test %s", name)
		}
	}
	var rest []string
	for _, name := range all {
		switch {
		case !selected.MatchString(name):
		case slices.Contains(others, name):
			rest = append(rest, name)
		case strings.HasPrefix(name, "Test"):
			skipped++
		}
	}
	return skipped, flag.Set("test.run", "^("+strings.Join(rest, "|")+")$")
}

// NothingMaySkip reports whether a missing requirement is a failure: make test sets CAPMON_E2E=1, and continuous
// integration sets CI=true.
func NothingMaySkip() bool { return os.Getenv("CAPMON_E2E") == "1" || os.Getenv("CI") == "true" }

// NeedRoot skips the test unless it runs as root. It fails instead if [NothingMaySkip].
func NeedRoot(t testing.TB) {
	t.Helper()
	need(t, Root())
}

// NeedDocker skips the test unless there is a Docker daemon with the image bb. It fails instead if [NothingMaySkip].
func NeedDocker(t testing.TB) {
	t.Helper()
	need(t, dockerOnce())
}

// NeedCommand skips the test unless the command succeeds. scripts/setup.sh installs the programs that tests run. The
// test fails instead if [NothingMaySkip].
func NeedCommand(t testing.TB, command ...string) {
	t.Helper()
	if err := exec.Command(command[0], command[1:]...).Run(); err != nil {
		need(t, fmt.Errorf("%s: %w", strings.Join(command, " "), err))
	}
}

func need(t testing.TB, missing error) {
	t.Helper()
	switch {
	case missing == nil:
	case NothingMaySkip():
		t.Fatalf("%v: %s", missing, instruction)
	default:
		noteSkipped(1)
		t.Skipf("%v: %s", missing, instruction)
	}
}

// Root returns an error unless the process runs as root.
func Root() error {
	if os.Geteuid() != 0 {
		return errors.New("not root")
	}
	return nil
}

// DockerWithImage returns an error unless there is a Docker daemon at DOCKER_HOST with the image bb.
func DockerWithImage() error {
	if out, err := exec.Command("docker", "image", "inspect", "bb").CombinedOutput(); err != nil {
		return fmt.Errorf("docker image inspect bb: %w: %s", err, out)
	}
	return nil
}

var dockerOnce = sync.OnceValue(DockerWithImage)

// noteSkipped adds a line with the number of skipped tests to the file $CAPMON_SKIPPED, for make unit: go test does not
// print the output of packages that pass.
func noteSkipped(n int) {
	path := os.Getenv("CAPMON_SKIPPED")
	if path == "" {
		return
	}
	file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = fmt.Fprintln(file, n)
		err = errors.Join(err, file.Close())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}
