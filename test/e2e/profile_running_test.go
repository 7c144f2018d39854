package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

func TestProfileSelectsRunningContainers(t *testing.T) {
	t.Parallel()
	startSleeper(t, "running-one")
	startSleeper(t, "running-two")
	id := strings.TrimSpace(mustExecute(t, "docker", "inspect", "-f", "{{.Id}}", "running-two"))
	for _, test := range []struct {
		name string
		args []string
		want []string
	}{
		{"by name", []string{"running-one"}, []string{"running-one"}},
		{"by the beginning of an ID", []string{id[:10]}, []string{"running-two"}},
		{"several", []string{"running-one", id}, []string{"running-one", "running-two"}},
		{"all that match a pattern", []string{"--container", "running-*"}, []string{"running-one", "running-two"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var names []string
			for _, c := range parseReport(t, watch(t, test.args...).interrupt()) {
				names = append(names, c.Name)
			}
			slices.Sort(names)
			if !slices.Equal(names, test.want) {
				t.Errorf("got %v, wanted %v", names, test.want)
			}
		})
	}
}

func TestProfileSeesContainersThatStartLater(t *testing.T) {
	t.Parallel()
	observation := watch(t, "--container", "started-later")
	mustExecute(t, "docker", "run", "--rm", "--name", "started-later", "bb", "chroot", "/", "true")
	got := only(t, parseReport(t, observation.interrupt()), "started-later")
	workload{required: caps("SYS_CHROOT")}.check(t, got)
	if got.Existed || got.Running {
		t.Errorf("wanted a container that ran neither before nor after: %+v", got)
	}
}

// If a selection matches nothing, a name in it is most likely misspelled.
func TestEmptySelectionsAreErrors(t *testing.T) {
	t.Parallel()
	startSleeper(t, "unselected")
	saved := filepath.Join(t.TempDir(), "saved.json")
	profile := []string{binary, "profile", "--save", saved, "-o", "flags", "--container", "unselekted"}
	run := []string{"--", "docker", "run", "--rm", "--name", "unselected-once", "bb"}
	const none, runs = `no recorded container is selected: --container "unselekted" selects none; the containers are unselected`,
		`no running container is selected: --container "unselekted" selects none; the containers are unselected`
	for _, test := range []struct {
		args []string
		code int
		want []string
	}{
		{[]string{"--for=100ms"}, exitUsage, []string{none, runs}},
		{append(run, "true"), exitUsage, []string{none + "-once\n"}},
		{append(run, sh("exit 7")...), 7, []string{none + "-once\n"}}, // the exit code of the command has priority
		{[]string{"--", "true"}, exitUsage, []string{"started while the command ran"}},
	} {
		r := execute(t, slices.Concat(profile, test.args)...)
		if r.code != test.code || r.stdout != "" || slices.ContainsFunc(test.want, func(text string) bool { return !strings.Contains(r.stderr, text) }) {
			t.Errorf("%q: wanted %d, %q, got %+v", test.args, test.code, test.want, r)
		}
		if _, err := os.Stat(saved); err == nil {
			t.Errorf("%q: a profile was saved", test.args)
		}
	}
	// A container that the selection matches may start later.
	live, observation := watchLive(t, "--container", "unselekted"), watch(t, "--container", "unselekted")
	startSleeper(t, "unselekted")
	for _, r := range []result{live.interrupt(), observation.interrupt()} {
		if r.code != 0 || !strings.Contains(r.stderr, runs) {
			t.Errorf("it started later: %+v", r)
		}
	}
}

func TestProfileEndsAfterItsDuration(t *testing.T) {
	t.Parallel()
	startSleeper(t, "timed")
	r := execute(t, binary, "profile", "timed", "--for", "100ms", "-o", "flags", "--even-if-start-unseen")
	if r.code != 0 || r.stdout != "--cap-drop=ALL\n" {
		t.Errorf("%+v", r)
	}
}

func TestProgressOnATerminal(t *testing.T) {
	t.Parallel()
	startSleeper(t, "progressing")
	cmd, screen := terminal(t, binary, "profile", "progressing")
	if err := pty.Setsize(screen, &pty.Winsize{Rows: 24, Cols: 150}); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(screen)
	awaitText(t, lines, "capmon: recording; press Ctrl-C for the report\r\n")
	awaitText(t, lines, "\r\x1b[Krecorded ")
	awaitText(t, lines, "s: 1 container, ")
	awaitText(t, lines, "; used so far: 0 of 14 granted")
	mustExecute(t, "docker", "exec", "progressing", "chroot", "/", "true")
	awaitText(t, lines, "; used so far: 1 of 14 granted; newest: SYS_CHROOT by chroot")
	if _, err := screen.WriteString("\x03"); err != nil {
		t.Fatal(err)
	}
	rest := remaining(lines)
	if err := cmd.Wait(); err != nil || !strings.Contains(rest, "\n\x1b[1mprogressing\x1b[0m  bb:latest") || !strings.Contains(rest, "CIS 5.4: capmon did not see the use of 13 of 14 granted capabilities") {
		t.Errorf("%v\n%s", err, rest)
	}
}

func TestProgressHasTheTimeLeft(t *testing.T) {
	t.Parallel()
	startSleeper(t, "progressing-for")
	for command, found := range map[string]string{
		"profile --for 2s progressing-for": "\r\x1b[K1s left of 2s: 1 container, ",
		"audit --for 2s progressing-for":   "\r\x1b[K1s left of 2s: 1 container, ",
	} {
		cmd, screen := terminal(t, append([]string{binary}, strings.Fields(command)...)...)
		output := remaining(screen)
		_ = cmd.Wait()
		if !strings.Contains(output, found) || !strings.Contains(output, "\r\x1b[K") {
			t.Errorf("%s: exit code %d\n%q", command, cmd.ProcessState.ExitCode(), output)
		}
	}
}

// A terminal that does not obey escape sequences, and programs that read JSON, receive no status line.
func TestProgressWithoutAStatusLine(t *testing.T) {
	t.Parallel()
	startSleeper(t, "progressing-plain")
	for _, command := range [][]string{
		{"env", "TERM=dumb", binary, "profile", "--for", "2s", "progressing-plain"},
		{binary, "profile", "--log-format", "json", "--for", "2s", "progressing-plain"},
	} {
		cmd, screen := terminal(t, command...)
		output := remaining(screen)
		if err := cmd.Wait(); err != nil || strings.Contains(output, "\x1b") && !slices.Contains(command, "json") || strings.Contains(output, "left of") {
			t.Errorf("%q: %v\n%q", command, err, output)
		}
	}
}

// The status line never fills the last column, because some terminals would wrap it.
func TestProgressFitsANarrowTerminal(t *testing.T) {
	t.Parallel()
	startSleeper(t, "progressing-narrow")
	cmd := exec.Command(binary, "profile", "--for", "2s", "progressing-narrow")
	cmd.Env = append(os.Environ(), "TERM=xterm")
	screen, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: 30})
	if err != nil {
		t.Fatal(err)
	}
	defer screen.Close()
	output := remaining(screen)
	if err := cmd.Wait(); err != nil || !strings.Contains(output, "\r\x1b[K1s left of 2s: 1 container …\r\x1b[K") {
		t.Errorf("%v\n%q", err, output)
	}
}

// awaitText waits for a text in a line that may not have ended yet.
func awaitText(t *testing.T, r *bufio.Reader, wanted string) {
	t.Helper()
	var text strings.Builder
	for !strings.Contains(text.String(), wanted) {
		b, err := r.ReadByte()
		if err != nil {
			t.Fatalf("%q was not printed: %v\n%s", wanted, err, text.String())
		}
		text.WriteByte(b)
	}
}

// Without an engine, only the kernel's information remains: the ID and the grants.
func TestWithoutAnEngineContainersAreKnownByID(t *testing.T) {
	startSleeper(t, "nameless", "--cap-drop=ALL", "--cap-add=CHOWN", "--cap-add=NET_RAW")
	id := strings.TrimSpace(mustExecute(t, "docker", "inspect", "-f", "{{.Id}}", "nameless"))
	engine := os.Getenv("DOCKER_HOST")
	t.Setenv("DOCKER_HOST", "unix://"+filepath.Join(t.TempDir(), "none.sock"))
	observation := watch(t, "--container", id[:12])
	t.Setenv("DOCKER_HOST", engine)
	mustExecute(t, "docker", "exec", "nameless", "sh", "-c", "touch /tmp/f && chown 5 /tmp/f")

	r := observation.interrupt()
	got := parseReport(t, r)
	if len(got) != 1 || got[0].ID != id || got[0].Name != "" || !slices.Equal(got[0].Granted, caps("CHOWN", "NET_RAW")) ||
		!slices.Equal(got[0].Required, caps("CHOWN")) || !slices.Equal(got[0].Unused, caps("NET_RAW")) {
		t.Errorf("%+v", got)
	}
	if !strings.Contains(r.stderr, "cannot reach Docker") {
		t.Errorf("stderr does not report that the engine is away: %s", r.stderr)
	}
}

// If engine and kernel disagree about the grants, the report says so.
func TestGrantsOfEngineAndKernelAgree(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		options []string
		want    string // a capability set, or the name of one
	}{
		"defaults":            {nil, "AUDIT_WRITE,CHOWN,DAC_OVERRIDE,FOWNER,FSETID,KILL,MKNOD,NET_BIND_SERVICE,NET_RAW,SETFCAP,SETGID,SETPCAP,SETUID,SYS_CHROOT"},
		"dropped":             {[]string{"--cap-drop=all", "--cap-add=cap_net_raw"}, "NET_RAW"},
		"added":               {[]string{"--cap-drop=ALL", "--cap-add=SYS_TIME", "--cap-add=Chown"}, "CHOWN,SYS_TIME"},
		"dropped by name":     {[]string{"--cap-drop=CAP_NET_RAW", "--cap-drop=mknod"}, "AUDIT_WRITE,CHOWN,DAC_OVERRIDE,FOWNER,FSETID,KILL,NET_BIND_SERVICE,SETFCAP,SETGID,SETPCAP,SETUID,SYS_CHROOT"},
		"added and dropped":   {[]string{"--cap-add=NET_ADMIN", "--cap-drop=NET_ADMIN", "--cap-drop=ALL"}, "NET_ADMIN"},
		"as another user":     {[]string{"--cap-drop=ALL", "--cap-add=CHOWN", "--user=1000"}, "CHOWN"},
		"no more privileges":  {[]string{"--cap-drop=ALL", "--cap-add=KILL", "--security-opt=no-new-privileges"}, "KILL"},
		"no capabilities":     {[]string{"--cap-drop=ALL"}, ""},
		"from its own script": {[]string{"--cap-drop=ALL", "--cap-add=SYS_CHROOT", "--init"}, "SYS_CHROOT"},
	} {
		t.Run(name, func(t *testing.T) {
			args := slices.Concat([]string{binary, "profile", "-o", "json", "--", "docker", "run", "--rm"}, test.options, []string{"bb", "true"})
			got := parseReport(t, execute(t, args...))
			if len(got) != 1 || strings.Join(got[0].Granted, ",") != test.want {
				t.Errorf("got %+v, wanted %s", got, test.want)
			}
			if strings.Contains(strings.Join(got[0].Cautions, "\n"), "differ") {
				t.Errorf("engine and kernel disagree: %v", got[0].Cautions)
			}
		})
	}
}

func TestSavedProfilesAddUp(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var files []string
	for i, command := range []string{"chroot / true", "probe rawsock"} {
		file := filepath.Join(dir, fmt.Sprint(i, ".json"))
		files = append(files, file)
		mustExecute(t, binary, "profile", "--save", file, "--", "docker", "run", "--rm", "--name", "adding", "bb", "sh", "-c", command)
	}
	var stored struct {
		Format string
		Schema int
	}
	data, err := os.ReadFile(files[0])
	if err != nil || json.Unmarshal(data, &stored) != nil || stored.Format != "capmon profile" || stored.Schema != 2 {
		t.Errorf("%v, %+v", err, stored)
	}
	args := slices.Concat([]string{binary, "report", "-o", "json"}, files, files[:1]) // a second copy adds nothing
	got := only(t, parseReport(t, execute(t, args...)), "adding")
	workload{required: caps("NET_RAW", "SYS_CHROOT")}.check(t, got)
	if got.Runs != 2 {
		t.Errorf("%d runs, wanted 2", got.Runs)
	}
}

// Every form of the report says that checks were lost.
func TestIncompleteRecordingsAreReported(t *testing.T) {
	t.Parallel()
	run := []string{"--", "docker", "run", "--rm", "--name", "lossy", "bb", "sh", "-c", "ping -c1 127.0.0.1; chroot / true"}
	for format, wanted := range map[string]func(r result) string{
		"table": func(r result) string { return r.stdout },
		"json":  func(r result) string { return r.stdout },
		"flags": func(r result) string { return r.stderr },
	} {
		r := execute(t, slices.Concat([]string{binary, "profile", "-o", format, "--max-checks", "3"}, run)...)
		if !strings.Contains(wanted(r), "could not be recorded") {
			t.Errorf("%s: the report does not say that it is incomplete: %+v", format, r)
		}
	}
	file := filepath.Join(t.TempDir(), "lossy.json")
	r := execute(t, slices.Concat([]string{binary, "profile", "-o", "json", "--save", file, "--max-checks", "3"}, run)...)
	for _, r := range []result{r, execute(t, binary, "report", "-o", "json", file)} {
		got := only(t, parseReport(t, r), "lossy")
		if got.Complete || got.Lost == 0 || got.Checks < got.Lost {
			t.Errorf("got %+v", got)
		}
	}
}

func TestHangupEndsTheRecordingWithAReport(t *testing.T) {
	t.Parallel()
	startSleeper(t, "hung-up")
	observation := watch(t, "hung-up")
	if err := observation.Cmd.Process.Signal(unix.SIGHUP); err != nil {
		t.Fatal(err)
	}
	only(t, parseReport(t, observation.wait()), "hung-up")
}

// nohup capmon profile … continues when its terminal is gone.
func TestNohupIsRespected(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("nohup", binary, "profile", "--", "sh", "-c", "kill -HUP $PPID; echo still here")
	out, _ := cmd.Output()
	if code := cmd.ProcessState.ExitCode(); code != exitUsage || string(out) != "still here\n" { // the command starts no container
		t.Errorf("exit code %d\n%s", code, out)
	}
}
