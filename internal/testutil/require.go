package testutil

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// instruction is printed after the number of skipped tests.
const instruction = `run "make test" as root`

// RunOrSkip runs the tests of a package in which nearly all tests need root and Docker. If these are missing, for the
// reason in missing, it runs only the tests whose names match the regular expression others, and prints how many it
// skipped. It fails instead if [NothingMaySkip]. It returns the exit code.
func RunOrSkip(m *testing.M, missing error, others string) int {
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
	skipped, err := countTests(others)
	if err == nil {
		err = errors.Join(flag.Set("test.skip", ""), flag.Set("test.run", others))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Fprintf(os.Stderr, "skipped %d tests that need root and Docker: %s (%v)\n", skipped, instruction, missing)
	noteSkipped(skipped)
	return m.Run()
}

// countTests returns the number of tests of this package that the arguments select and that do not match others.
func countTests(others string) (n int, err error) {
	selected := flag.Lookup("test.run").Value.String()
	out, err := exec.Command("/proc/self/exe", "-test.list="+selected).Output()
	if err != nil {
		return 0, fmt.Errorf("listing the tests: %w", err)
	}
	not, err := regexp.Compile(others)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(out)) {
		if strings.HasPrefix(line, "Test") && !not.MatchString(strings.TrimSpace(line)) {
			n++
		}
	}
	return n, nil
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
	need(t, DockerWithImage())
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
		return fmt.Errorf("docker image inspect bb: %w\n%s", err, out)
	}
	return nil
}

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
