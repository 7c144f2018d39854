package main

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

// The moments are spread over start, recording and end; each of them has to end
// well, so none is waited for.
func TestCtrlCAtAnyMomentLeavesNothing(t *testing.T) {
	t.Parallel()
	const step, most, enough = 25 * time.Millisecond, 400, 10
	var whileRecording int
	for i := 0; i < most && whileRecording < enough; i++ {
		delay := time.Duration(i) * step
		t.Run(delay.String(), func(t *testing.T) {
			name := fmt.Sprint("interrupted-", i)
			cmd := exec.Command(binary, "profile", "--", "docker", "run", "--rm", "--init", "--name", name, "bb", "sleep", "1000")
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // no terminal: capmon alone gets it
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
			case strings.Contains(stdout.String(), "no containers were seen"), code == -1:
			default:
				t.Errorf("exit code %d\n%s%s", code, stdout.String(), stderr.String())
			}
			for _, id := range programs {
				awaitUnloaded(t, id)
			}
		})
	}
	if whileRecording == 0 {
		t.Error("at none of the moments a container ran")
	}
}

// end interrupts until the process has ended: docker passes a first signal on to
// the container, if there is one already.
func end(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // the caller looks at its state
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

// interruptOnce interrupts a process and waits for its end. A second interrupt would end it before it
// has removed what it made.
func interruptOnce(cmd *exec.Cmd) {
	_ = cmd.Process.Signal(os.Interrupt) // it may have ended
	_ = cmd.Wait()                       // the caller looks at what it left
}

// programsOf lists the BPF programs that a process holds.
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

// The kernel frees programs a moment after their last holder is gone.
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

func TestCtrlCWhileWatchingReportsWhatWasSeen(t *testing.T) {
	t.Parallel()
	startSleeper(t, "until-now")
	observation := watch(t, "until-now")
	programs := programsOf(observation.cmd.Process.Pid)
	if len(programs) == 0 {
		t.Error("no program is loaded while watching")
	}
	mustExecute(t, "docker", "exec", "until-now", "chroot", "/", "true")
	workload{required: caps("SYS_CHROOT")}.check(t, only(t, parseReport(t, observation.interrupt()), "until-now"))
	for _, id := range programs {
		awaitUnloaded(t, id)
	}
}

// SIGKILL cannot be caught; what is held by open files goes with the process.
func TestKilledLeavesNothing(t *testing.T) {
	t.Parallel()
	startSleeper(t, "outliving")
	observation := watch(t, "outliving")
	programs := programsOf(observation.cmd.Process.Pid)
	if err := observation.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	observation.wait()
	for _, id := range programs {
		awaitUnloaded(t, id)
	}
}

// A shell lets what its scripts run in the background ignore SIGINT.
func TestBackgroundJobOfAScriptCanBeInterrupted(t *testing.T) {
	t.Parallel()
	startSleeper(t, "in-background")
	script := `mkfifo $1/ready; "$0" profile in-background -o flags --even-if-start-unseen --ready-file $1/ready & job=$!; cat $1/ready; kill -INT $job; wait $job`
	if out := mustExecute(t, "sh", "-c", script, binary, t.TempDir()); out != "--cap-drop=ALL\n" {
		t.Errorf("got %q", out)
	}
}
