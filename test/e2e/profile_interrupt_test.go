package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
)

// The interrupts are spread over start, recording and end. capmon must end well each time, so the test waits for no
// particular event.
func TestCtrlCAtAnyTimeLeavesNothing(t *testing.T) {
	t.Parallel()
	const step, most, enough = 25 * time.Millisecond, 400, 10
	var whileRecording int
	for i := 0; i < most && whileRecording < enough; i++ {
		delay := time.Duration(i) * step
		t.Run(delay.String(), func(t *testing.T) {
			name := fmt.Sprint("interrupted-", i)
			cmd := exec.Command(binary, "profile", "--", "docker", "run", "--rm", "--init", "--name", name, "bb", "sleep", "1000")
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // no terminal: only capmon receives the signal
			var stdout, stderr bytes.Buffer
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(delay)
			programs := programsOf(cmd.Process.Pid)
			end(t, cmd)
			switch code := cmd.ProcessState.ExitCode(); {
			case strings.Contains(stderr.String(), "interrupted before it was done"):
			case strings.Contains(stdout.String(), name+"  bb:latest"):
				whileRecording++
			case strings.Contains(stdout.String(), "capmon saw no containers"), code == -1:
			default:
				t.Errorf("exit code %d\n%s%s", code, stdout.String(), stderr.String())
			}
			for _, id := range programs {
				awaitUnloaded(t, id)
			}
		})
	}
	if whileRecording == 0 {
		t.Error("no interrupt came while a container ran")
	}
}

// end sends interrupts until the process has ended: docker forwards a first signal to the container, if it exists
// already.
func end(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // the caller inspects its state
	}()
	for {
		_ = cmd.Process.Signal(os.Interrupt)
		select {
		case <-ended:
			return
		case <-time.After(2 * time.Second):
		}
	}
}

// interruptOnce interrupts a process and waits for its end. A second interrupt would end the process before it has
// removed what it made.
func interruptOnce(cmd *exec.Cmd) {
	_ = cmd.Process.Signal(os.Interrupt) // it may have ended
	_ = cmd.Wait()                       // the caller inspects what it left
}

// programsOf returns the BPF programs that a process holds.
func programsOf(pid int) []ebpf.ProgramID {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", pid))
	var ids []ebpf.ProgramID
	for _, file := range files {
		text, _ := os.ReadFile(file) // it may be closed by now
		for line := range strings.Lines(string(text)) {
			var id uint32
			if n, _ := fmt.Sscanf(line, "prog_id: %d", &id); n == 1 {
				ids = append(ids, ebpf.ProgramID(id))
			}
		}
	}
	return ids
}

// The kernel frees programs shortly after their last reference is gone.
func awaitUnloaded(t *testing.T, id ebpf.ProgramID) {
	t.Helper()
	eventually(t, fmt.Sprintf("program %d is unloaded", id), func() bool {
		program, err := ebpf.NewProgramFromID(id)
		if err != nil {
			return true
		}
		_ = program.Close()
		return false
	})
}

func TestCtrlCPrintsTheReport(t *testing.T) {
	t.Parallel()
	startSleeper(t, "until-now")
	observation := watch(t, "until-now")
	programs := programsOf(observation.Cmd.Process.Pid)
	if len(programs) == 0 {
		t.Error("no program is loaded while watching")
	}
	mustExecute(t, "docker", "exec", "until-now", "chroot", "/", "true")
	workload{required: caps("SYS_CHROOT")}.check(t, only(t, parseReport(t, observation.interrupt()), "until-now"))
	for _, id := range programs {
		awaitUnloaded(t, id)
	}
}

// capmon cannot catch SIGKILL. The kernel releases what open files hold when the process ends.
func TestSIGKILLLeavesNothing(t *testing.T) {
	t.Parallel()
	startSleeper(t, "outliving")
	observation := watch(t, "outliving")
	programs := programsOf(observation.Cmd.Process.Pid)
	if err := observation.Cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	observation.wait()
	for _, id := range programs {
		awaitUnloaded(t, id)
	}
}

// A shell makes background jobs of its scripts ignore SIGINT.
func TestBackgroundJobOfAScriptCanBeInterrupted(t *testing.T) {
	t.Parallel()
	startSleeper(t, "in-background")
	script := `mkfifo $1/ready; "$0" profile in-background -o flags --even-if-start-unseen --ready-file $1/ready & job=$!; cat $1/ready; kill -INT $job; wait $job`
	if out := mustExecute(t, "sh", "-c", script, binary, t.TempDir()); out != "--cap-drop=ALL\n" {
		t.Errorf("got %q", out)
	}
}
