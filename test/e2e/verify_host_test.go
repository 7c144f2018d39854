package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// pipeLimit returns fs.pipe-user-pages-soft: how many pages of pipe buffers a user may have without a capability.
func pipeLimit(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile("/proc/sys/fs/pipe-user-pages-soft")
	if err != nil {
		t.Fatal(err)
	}
	limit, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || limit == 0 {
		t.Fatalf("the test needs a limit in fs.pipe-user-pages-soft, such as scripts/test-settings.sh sets: %q, %v", text, err)
	}
	return limit
}

// holdPipes makes processes of a user on the host use all pipe buffers that the user may have without a capability,
// until the test calls the returned function.
func holdPipes(t *testing.T, user int) func() {
	t.Helper()
	limit := pipeLimit(t)
	failed, release, done := make(chan error), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread has other credentials and ends with the goroutine
		var pipes []int
		defer func() {
			for _, fd := range pipes {
				unix.Close(fd)
			}
		}()
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(user), 0, 0); errno != 0 {
			failed <- errno
			return
		}
		for pages := 0; pages <= limit; {
			var ends [2]int
			if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
				failed <- err
				return
			}
			pipes = append(pipes, ends[:]...)
			size, err := unix.FcntlInt(uintptr(ends[0]), unix.F_SETPIPE_SZ, 1<<20)
			if err != nil {
				failed <- fmt.Errorf("F_SETPIPE_SZ: %w", err)
				return
			}
			pages += size / os.Getpagesize()
		}
		failed <- nil
		<-release
	}()
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
	return func() { close(release); <-done }
}

// A run needs more pipes than its user may have while other processes of that user hold them. Its outcome says nothing
// about the list.
func TestVerifyRepeatsTrialsThatTheHostDecided(t *testing.T) {
	t.Parallel()
	const user = 4242
	// Each run reports that it has started, and waits.
	script := "echo >/state/started; cat /state/release; true | true"
	for _, test := range []struct {
		name string
		held func(run int) bool
		code int
	}{
		{"once", func(run int) bool { return run == 2 }, exitDone},
		{"from then on", func(run int) bool { return run >= 2 }, exitFindings},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			for _, name := range []string{"started", "release"} {
				path := filepath.Join(dir, name)
				if err := syscall.Mkfifo(path, 0o600); err != nil {
					t.Fatal(err)
				}
				if err := os.Chown(path, user, 0); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			v := startCapmon(t, "verify", "--second-start=false", "--", "docker", "run", "--rm", fmt.Sprint("--user=", user), "-v", dir+":/state", "bb", "sh", "-c", script)
			started := make(chan struct{})
			go func() {
				for {
					if _, err := os.ReadFile(filepath.Join(dir, "started")); err != nil {
						return
					}
					started <- struct{}{}
				}
			}()
			release := func() {}
			for run := 1; ; run++ {
				select {
				case <-started:
				case <-v.ended:
					release()
					r := v.wait()
					unsure := strings.Contains(r.stdout, "depends on what else user 4242 does on the host")
					if r.code != test.code || unsure != (test.code == exitFindings) || !strings.Contains(r.stderr, "verify repeats the trial") {
						t.Errorf("%+v", r)
					}
					return
				}
				release()
				release = func() {}
				if test.held(run) {
					release = holdPipes(t, user)
				}
				if err := os.WriteFile(filepath.Join(dir, "release"), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}
