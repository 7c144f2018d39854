package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/capmon/capmon/internal/testutil"
	"github.com/capmon/capmon/internal/testutil/capmontest"
	"github.com/capmon/capmon/internal/testutil/testlock"
	"github.com/capmon/capmon/internal/testutil/testpins"
	"github.com/capmon/capmon/internal/untrustedfs"
)

// The tests run the built command on a real kernel with a real Docker daemon that has the image bb. make test sets both
// up.
var binary string

func TestMain(m *testing.M) {
	untrustedfs.Main() // record starts helper processes
	testscript.Main(suite{m}, map[string]func(){"record": record})
}

// suite sets up what all tests need. It does not run in the copies of the test binary that run as record.
type suite struct{ *testing.M }

func (s suite) Run() int {
	// The process that runs the tests may ignore SIGHUP, and child processes inherit that.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	directory, err := os.MkdirTemp("", "capmon-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(directory)
	// A guest has no compiler and receives a built binary.
	if binary = os.Getenv("CAPMON_BINARY"); binary == "" {
		binary = filepath.Join(directory, "capmon")
		if err := testutil.Build(binary, "../../cmd/capmon"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	// Scripts use OTHERS to reach the engine without capmon's proxy, since capmon changes DOCKER_HOST for its command.
	os.Setenv("OTHERS", os.Getenv("DOCKER_HOST"))
	return testutil.RunOrSkip(s.M, checkRequirements(), needNothing...)
}

// needNothing has the tests that need neither root nor Docker.
var needNothing = []string{
	"TestAlertsInTheDatabaseAreListed",
	"TestDBCheckFindsDamage",
	"TestDatabaseBackup",
	"TestDocumentedContainersHaveTheLeastCapabilities",
	"TestExamplePolicyIsValid",
	"TestExampleWaiversAreValid",
	"TestExamplesPinVersions",
	"TestHostileNamesInTheDatabaseAreEscaped",
	"TestInvalidSourcesAreReported",
	"TestNoAlertsIsNotAnError",
	"TestPanelsOfCurrentValuesUseInstantQueries",
	"TestPrometheusRulesPassTheirTests",
	"TestPrunedRunsAreReported",
	"TestRulesInTheDocsAreValid",
	"TestRunsAreSelectedByTime",
	"TestServeUnitHasTheLeastCapabilities",
	"TestServeUnitIsValid",
	"TestTimesAndFilesThatMakeNoSenseAreRejected",
	"TestTwoImagesInTheDatabaseAreCompared",
	"TestUnitIsValid",
	"TestUnitsProtectTheirStateDirectory",
	"TestUnknownContainersAreReported",
}

// checkRequirements returns an error unless the tests have what they need.
func checkRequirements() error {
	if err := errors.Join(testutil.Root(), testutil.DockerWithImage()); err != nil {
		return err
	}
	return errors.Join(testpins.RemoveStale(), testlock.NoLosses())
}

// Short names of helpers that nearly every test calls.
var (
	mustExecute = testutil.MustExecute
	eventually  = testutil.Eventually
)

// Exit codes, paths and texts of capmon that the tests expect.
const (
	exitDone, exitFindings, exitUsage = 0, 1, 2

	defaultPins      = "/sys/fs/bpf/capmon"
	runtimeDirectory = "/run/capmon"
	prefix           = "capmon: " // of messages on stderr
)

// signalExitCode returns a shell's exit code for a process that a signal has ended.
func signalExitCode(s syscall.Signal) int { return 128 + int(s) }

// result is the output and the exit code of a command.
type result struct {
	stdout, stderr string
	code           int
}

func execute(t *testing.T, command ...string) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s: %v", strings.Join(command, " "), err)
	}
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// seen has the fields of a JSON report that the tests read.
type seen struct {
	ID, Name, Image string
	Unconfirmed     string
	Kind            string
	Engine, Pod     string
	Sandbox         bool
	PodName, PodUID string
	Namespace       string
	Owner           string
	NetworkMode     string
	Grants          struct{ Engine, Kernel []string }
	Service         string
	Complete        bool
	StartSeen       bool
	Existed         bool
	Since           time.Time
	EngineError     string
	Running         bool
	Checks, Lost    uint64
	Runs, Processes int
	Required, Soft  []string
	Implicit        []string
	Unexamined      []string
	Denied, Unused  []string
	AtStart         []string
	Unwatched       []string
	Granted, Unsure []string
	Narrower        []struct{ InsteadOf, Narrower string }
	Alternatives    []alternative
	Classes         map[string][]string
	Flags           []string
	Cautions        []string
	Setup           uint64 `json:"-"` // the number of checks in the runtime setup
	Skipped         bool   `json:"-"` // the report admits that checks are missing (admitsSkips)
}

type alternative struct {
	InsteadOf, Flags []string
	Text             string
}

// foundPlace matches the owner and mode in a report, which depend on when capmon looked up the file.
var foundPlace = regexp.MustCompile(` \((?:[^()]*, )?(?:owner|not found afterwards)[^()]*\)`)

// timeless returns the parts of a report that must agree between two observations of one container.
func (s seen) timeless() seen {
	s.Alternatives = slices.Clone(s.Alternatives)
	for i := range s.Alternatives {
		s.Alternatives[i].Text = foundPlace.ReplaceAllString(s.Alternatives[i].Text, "")
	}
	var cautions []string
	for _, caution := range s.Cautions {
		cautions = append(cautions, strings.ReplaceAll(caution, s.since(), "SINCE"))
	}
	s.Since, s.Cautions = time.Time{}, cautions
	return s
}

// since returns the start of the observation in the format that cautions use.
func (s seen) since() string { return s.Since.Format("2006-01-02 15:04:05 MST") }

func parseReport(t *testing.T, r result) []seen {
	t.Helper()
	var report struct {
		Containers []struct {
			seen
			Uses []struct {
				Class string
				Count uint64
			}
		}
	}
	if err := json.Unmarshal([]byte(r.stdout), &report); err != nil {
		t.Fatalf("the report is not JSON: %v\nexit code %d\n%s%s", err, r.code, r.stdout, r.stderr)
	}
	var all []seen
	for _, c := range report.Containers {
		for _, use := range c.Uses {
			if use.Class == "setup" {
				c.Setup += use.Count
			}
		}
		admitsSkips(t, &c.seen)
		all = append(all, c.seen)
	}
	return all
}

// only returns the container with the name.
func only(t *testing.T, containers []seen, name string) seen {
	t.Helper()
	i := slices.IndexFunc(containers, func(c seen) bool { return c.Name == name })
	if i < 0 {
		t.Fatalf("%s is not in the report: %+v", name, containers)
	}
	return containers[i]
}

// observation is a capmon process that observes running containers.
type observation struct{ *capmontest.Process }

// watch starts capmon profile and returns once it records every check.
func watch(t *testing.T, args ...string) *observation {
	t.Helper()
	return watchAt(t, os.Getenv("DOCKER_HOST"), args...)
}

// watchAt is like [watch], but with the engine at this host.
func watchAt(t *testing.T, host string, args ...string) *observation {
	t.Helper()
	return watchBy(t, func(cmd *exec.Cmd) error {
		cmd.Env = append(os.Environ(), "DOCKER_HOST="+host)
		return cmd.Start()
	}, append([]string{binary, "profile", "-o", "json"}, args...)...)
}

// imageArchive returns an archive of an image.
func imageArchive(t *testing.T, image string) string {
	t.Helper()
	archive := filepath.Join(t.TempDir(), "image.tar")
	mustExecute(t, "docker", "save", "-o", archive, image)
	return archive
}

// watchBy is like [watch], but with this command and with a function that starts it. It appends the option
// --ready-file.
func watchBy(t *testing.T, start func(*exec.Cmd) error, command ...string) *observation {
	t.Helper()
	return &observation{capmontest.Record(t, start, command...)}
}

// interrupt ends the process as Ctrl-C does and returns its output.
func (o *observation) interrupt() result {
	o.T.Helper()
	return o.end(os.Interrupt)
}

func (o *observation) end(signal os.Signal) result {
	o.T.Helper()
	if err := o.Child.Signal(signal); err != nil {
		o.T.Fatal(err)
	}
	return o.wait()
}

func (o *observation) wait() result {
	o.T.Helper()
	<-o.Ended
	var exit *exec.ExitError
	if o.Err != nil && !errors.As(o.Err, &exit) {
		o.T.Fatal(o.Err)
	}
	return result{o.Stdout.String(), o.Stderr.String(), o.Cmd.ProcessState.ExitCode()}
}
