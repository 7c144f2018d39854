package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/container"
	"github.com/capmon/capmon/internal/kernel"
	"github.com/capmon/capmon/internal/observe"
	"github.com/capmon/capmon/internal/report"
	"github.com/capmon/capmon/monitor"
)

// least are the capabilities that capmon tells its users to grant it. Packaging and docs must agree.
var least = capability.Of(capability.BPF, capability.Perfmon, capability.Syslog, capability.SysPtrace, capability.DACReadSearch)

const nobody = 65534

// restricted returns a function that starts commands with only these capabilities. For root it limits the bounding set,
// as in a container. For another user it sets ambient capabilities, as for a service, and the group that may access the
// engine. Programs that the commands execute cannot have more.
func restricted(set capability.Set, uid uint32) func(*exec.Cmd) error {
	return func(cmd *exec.Cmd) error {
		started := make(chan error)
		go func() {
			runtime.LockOSThread() // never unlocked: the thread ends with this function
			started <- errors.Join(reduceThread(set), become(cmd, set, uid), cmd.Start())
		}()
		return <-started
	}
}

func reduceThread(set capability.Set) error {
	last, err := kernel.LastCapability()
	if err != nil {
		return err
	}
	for _, c := range capability.Known(last).Minus(set).Sorted() {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(c), 0, 0, 0); err != nil {
			return err
		}
	}
	return unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
}

func become(cmd *exec.Cmd, set capability.Set, uid uint32) error {
	if uid == 0 {
		return nil
	}
	socket, err := os.Stat(strings.TrimPrefix(os.Getenv("DOCKER_HOST"), "unix://"))
	if err != nil {
		return err
	}
	engine := socket.Sys().(*syscall.Stat_t).Gid
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid, Groups: []uint32{engine}}}
	for _, c := range set.Sorted() {
		cmd.SysProcAttr.AmbientCaps = append(cmd.SysProcAttr.AmbientCaps, uintptr(c))
	}
	return os.Chmod(filepath.Dir(binary), 0o755)
}

// record is `capmon profile --hook HOOK -o json --ready-file FILE` without the preliminary check of capmon's own
// capabilities.
func record() {
	if err := recordTo(os.Stdout, os.Args[1], os.Args[len(os.Args)-1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(exitUsage)
	}
}

func recordTo(out io.Writer, hook, readyFile string) error {
	options := monitor.Options{Outcomes: true}
	var err error
	if options.Hook, err = monitor.ParseHook(hook); err != nil {
		return err
	}
	interrupted, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ctx := context.Background()
	docker, err := container.NewDocker(ctx)
	if err != nil {
		return err
	}
	defer docker.Close()
	observer, err := observe.Start(ctx, observe.Options{Monitor: options, Engine: docker, Log: zap.NewNop()})
	if err != nil {
		return err
	}
	defer observer.Close()
	if err := os.WriteFile(readyFile, nil, 0o644); err != nil {
		return err
	}
	<-interrupted.Done()
	if err := observer.Stop(ctx); err != nil {
		return err
	}
	recorded, err := observer.Profile()
	if err != nil {
		return err
	}
	return report.Write(out, os.Stderr, recorded, report.JSON, report.Options{})
}

// exercised starts a container with something to see for every capability that capmon has. The directory is accessible
// only to its owner. Root without capabilities is not the owner.
func exercised(t *testing.T, name string) {
	t.Helper()
	startSleeper(t, name)
	mustExecute(t, "docker", "exec", name, "sh", "-c",
		"mkdir -m 700 /closed && cp /bin/busybox /closed/busybox && chown -R 1000:1000 /closed")
}

// exercise runs commands in the container during the observations. The program in the closed directory has ended before
// capmon can inspect the process.
func exercise(t *testing.T, name string, observations ...*observation) {
	t.Helper()
	signal := func(signal os.Signal) {
		for _, o := range observations {
			if err := o.Child.Signal(signal); err != nil {
				t.Fatal(err)
			}
		}
	}
	signal(syscall.SIGSTOP)
	mustExecute(t, "docker", "exec", "--user=1000", name, "/closed/busybox", "true")
	signal(syscall.SIGCONT)
	mustExecute(t, "docker", "exec", name, "sh", "-c", "touch /tmp/f && chown 5 /tmp/f && ping -c1 127.0.0.1")
}

// alike compares the reports of a capmon with few capabilities and of one with all.
func alike(t *testing.T, name string, few, all result) {
	t.Helper()
	got, wanted := only(t, parseReport(t, few), name), only(t, parseReport(t, all), name)
	if !reflect.DeepEqual(agreed(got, wanted), agreed(wanted, got)) {
		t.Errorf("with few capabilities:\n%+v\nwith all:\n%+v", got, wanted)
	}
	same(t, "required", got.Required, caps("CHOWN", "NET_RAW"))
	same(t, "unexamined", got.Unexamined, nil)
	if !got.Existed {
		t.Error("the report does not say that it ran before")
	}
}

func TestEachHookWithTheLeastCapabilities(t *testing.T) {
	t.Parallel()
	allowPerf(t)
	users := map[string]uint32{"root": 0, "nobody": nobody}
	if testing.Short() {
		delete(users, "nobody")
	}
	for _, hook := range hooks(t) {
		for user, uid := range users {
			t.Run(string(hook)+"/"+user, func(t *testing.T) {
				name := "least-" + string(hook) + "-" + user
				exercised(t, name)
				command := []string{binary, "profile", "-o", "json", "--hook", string(hook), name}
				few, all := watchBy(t, restricted(least, uid), command...), watchBy(t, (*exec.Cmd).Start, command...)
				exercise(t, name, few, all)
				alike(t, name, few.interrupt(), all.interrupt())
			})
		}
	}
}

// The command has no more capabilities than capmon. Its containers have the capabilities that the engine grants.
func TestCommandIsProfiledWithTheLeastCapabilities(t *testing.T) {
	t.Parallel()
	for name, uid := range map[string]uint32{"commanded-by-root": 0, "commanded-by-nobody": nobody} {
		var stdout, stderr bytes.Buffer
		cmd := exec.Command(binary, append([]string{"profile", "-o", "json", "--"}, mixed.dockerRun(name)...)...)
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		if err := restricted(least, uid)(cmd); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		mixed.check(t, only(t, parseReport(t, result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}), name))
	}
}

// allowPerf lifts a restriction that Debian's kernels add: by default they deny perf events, and therefore kprobes, to
// processes without CAP_SYS_ADMIN.
func allowPerf(t *testing.T) {
	t.Helper()
	if inGuest() {
		setSysctl(t, "kernel/perf_event_paranoid", "2")
	}
}

// capmon's statements about the capabilities of programs must hold for capmon itself.
func TestEveryHookNeedsEachOfItsCapabilities(t *testing.T) {
	t.Parallel()
	allowPerf(t)
	needed := least
	if testing.Short() {
		needed = needed.Without(capability.SysPtrace).Without(capability.DACReadSearch) // which no hook needs
	}
	for _, hook := range hooks(t) {
		for _, c := range needed.Sorted() {
			t.Run(fmt.Sprint(hook, "/", c), func(t *testing.T) {
				name := fmt.Sprint("without-", c, "-", hook)
				start := restricted(least.Without(c), 0)
				switch c {
				case capability.SysPtrace:
					exercised(t, name)
					few := watchBy(t, start, "record", string(hook))
					if slices.ContainsFunc(parseReport(t, few.interrupt()), func(s seen) bool { return s.Name == name }) {
						t.Error("the report has a container that made no check")
					}
				case capability.DACReadSearch:
					exercised(t, name)
					few := watchBy(t, start, "record", string(hook))
					exercise(t, name, few)
					same(t, "unexamined", only(t, parseReport(t, few.interrupt()), name).Unexamined, []string{"/closed/busybox"})
				default:
					failsFor(t, start, "record", string(hook))
				}
			})
		}
	}
}

// failsFor runs a command that must find that it cannot work, and returns its messages.
func failsFor(t *testing.T, start func(*exec.Cmd) error, command ...string) string {
	t.Helper()
	var stderr strings.Builder
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdout, cmd.Stderr = io.Discard, &stderr
	if err := start(cmd); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != exitUsage {
		t.Errorf("%s: exit code %d\n%s", strings.Join(command, " "), code, stderr.String())
	}
	return stderr.String()
}
