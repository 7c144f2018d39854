package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/internal/shell"
	"github.com/capmon/capmon/internal/testutil"
	"github.com/capmon/capmon/internal/testutil/capmontest"
)

// tmux is a terminal in which a command runs: first in the alternate screen, and then a shell shows that it has ended.
type tmux struct {
	t         *testing.T
	socket    string
	directory string // has the settings of the terminal before and after the command
}

// endOfTop is the text that the terminal shows after the command.
const endOfTop = "END OF TOP"

// inTmux runs a command in a terminal with 80×24 characters and these environment variables.
func inTmux(t *testing.T, environment []string, command ...string) *tmux {
	t.Helper()
	testutil.NeedCommand(t, "tmux", "-V")
	x := &tmux{t: t, directory: t.TempDir()}
	x.socket = filepath.Join(x.directory, "tmux")
	if len(x.socket) > 100 { // paths of unix sockets are limited
		directory, err := os.MkdirTemp("", "tmux")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(directory) })
		x.socket = filepath.Join(directory, "s")
	}
	script := fmt.Sprintf(`trap : INT; stty -g >%[1]s/before; %[2]s; code=$?; stty -g >%[1]s/after; echo; echo "%[3]s, exit code $code"; exec sleep 1000`,
		x.directory, shell.Line(append(append([]string{"env"}, environment...), command...)), endOfTop)
	x.run("new-session", "-d", "-x", "80", "-y", "24", "sh", "-c", script)
	t.Cleanup(func() { _ = exec.Command("tmux", "-S", x.socket, "kill-server").Run() })
	x.run("set-option", "-s", "escape-time", "0")
	x.run("set-option", "-s", "set-clipboard", "on") // accept OSC 52
	return x
}

func (x *tmux) run(args ...string) string {
	x.t.Helper()
	return mustExecute(x.t, append([]string{"tmux", "-f", "/dev/null", "-S", x.socket}, args...)...)
}

// keys presses keys, with the names of tmux.
func (x *tmux) keys(names ...string) {
	x.t.Helper()
	x.run(append([]string{"send-keys"}, names...)...)
}

// screen returns the text of the screen.
func (x *tmux) screen() string {
	x.t.Helper()
	return x.run("capture-pane", "-p")
}

// shows waits until the screen has all of the texts.
func (x *tmux) shows(texts ...string) {
	x.t.Helper()
	for _, text := range texts {
		x.matches(regexp.QuoteMeta(text))
	}
}

// matches waits until the screen matches a regular expression.
func (x *tmux) matches(pattern string) {
	x.t.Helper()
	x.until("the screen matches "+pattern, func(screen string) bool { return regexp.MustCompile(pattern).MatchString(screen) })
}

// lacks waits until the screen has none of the texts.
func (x *tmux) lacks(texts ...string) {
	x.t.Helper()
	for _, text := range texts {
		x.until("the screen does not show "+text, func(screen string) bool { return !strings.Contains(screen, text) })
	}
}

// until waits until the screen is as wanted.
func (x *tmux) until(what string, holds func(screen string) bool) {
	x.t.Helper()
	screen := ""
	defer func() {
		if !holds(screen) {
			x.t.Logf("the screen:\n%s", screen)
		}
	}()
	testutil.Eventually(x.t, what, func() bool {
		time.Sleep(50 * time.Millisecond) // each read starts a process
		screen = x.screen()
		return holds(screen)
	})
}

// signal sends signals to the command, which may have ended after the first one.
func (x *tmux) signal(signals ...unix.Signal) {
	x.t.Helper()
	shellPID := strings.TrimSpace(x.run("display-message", "-p", "#{pane_pid}"))
	children, err := os.ReadFile("/proc/" + shellPID + "/task/" + shellPID + "/children")
	if err != nil {
		x.t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(children)))
	if err != nil {
		x.t.Fatal(err)
	}
	for i, signal := range signals {
		if err := unix.Kill(pid, signal); err != nil && (i == 0 || !errors.Is(err, unix.ESRCH)) {
			x.t.Fatal(err)
		}
	}
}

// ended waits for the end of the command with this exit code, and verifies that the terminal is as before.
func (x *tmux) ended(code int) {
	x.t.Helper()
	x.shows(fmt.Sprintf("%s, exit code %d", endOfTop, code))
	for what, want := range map[string]string{"#{alternate_on}": "0", "#{cursor_flag}": "1", "#{mouse_any_flag}": "0"} {
		if got := strings.TrimSpace(x.run("display-message", "-p", what)); got != want {
			x.t.Errorf("%s is %s, not %s", what, got, want)
		}
	}
	before, err := os.ReadFile(filepath.Join(x.directory, "before"))
	if err != nil {
		x.t.Fatal(err)
	}
	after, err := os.ReadFile(filepath.Join(x.directory, "after"))
	if err != nil {
		x.t.Fatal(err)
	}
	if string(before) != string(after) {
		x.t.Errorf("the settings of the terminal were %s and are %s", before, after)
	}
	if strings.Contains(x.screen(), "GRANTED") {
		x.t.Errorf("the screen of top is still there:\n%s", x.screen())
	}
}

// startForTop starts containers whose names begin with prefix: web uses NET_RAW when it gets an order, idle uses
// nothing, and god is privileged.
func startForTop(t *testing.T, prefix string) (web capmontest.Performer) {
	t.Helper()
	web = capmontest.StartPerformer(t, os.Getenv("DOCKER_HOST"), prefix+"-web-2")
	for _, container := range [][]string{{prefix + "-web-10"}, {prefix + "-god", "--privileged"}} {
		mustExecute(t, append(append([]string{"docker", "run", "-d", "--name"}, container...), "bb", "sleep", "1000")...)
		t.Cleanup(func() { _ = exec.Command("docker", "rm", "-f", container[0]).Run() })
	}
	return web
}

// order returns a pattern for a screen that has texts in this order.
func order(texts ...string) string {
	for i, text := range texts {
		texts[i] = regexp.QuoteMeta(text)
	}
	return "(?s)" + strings.Join(texts, ".*")
}

func TestTopShowsWhatServeRecords(t *testing.T) {
	t.Parallel()
	s := serve(t, "--rules", "builtin")
	web := startForTop(t, "top-a")
	x := inTmux(t, nil, binary, "top", "--socket", s.Socket, "--filter", "top-a-", "--interval", "1s")
	x.shows("capmon serve", "docker", "NAME", "LAST ALERT", "top-a-god", "all ", "14 NET_RAW")
	x.matches(order("> top-a-god", "top-a-web-2", "top-a-web-10")) // the gravest first, in natural order
	web.Do("probe rawsock")
	x.matches(`NET_RAW \d+s`)
	x.shows("! raw")
	x.keys("/")
	x.shows("filter: top-a-")
	x.keys("Space", "used:NET_RAW")
	x.lacks("top-a-god")
	x.keys("Enter", "Enter")
	x.shows("docker run --cap-drop=ALL --cap-add=NET_RAW", "note: ", "+ NET_RAW            used", "inet_create", "- CHOWN              unused")
	x.keys("c")
	x.shows("clipboard")
	if got := x.run("show-buffer"); got != "--cap-drop=ALL --cap-add=NET_RAW" { // tmux takes OSC 52
		t.Errorf("the clipboard has %q", got)
	}
	x.keys("a")
	x.shows("raw-socket", "top-a-web-2")
	x.keys("Escape")
	x.shows("docker run --cap-drop=ALL")
	x.keys("Escape")
	x.shows("NAME")
	x.keys("?")
	x.shows("move up by a page")
	x.keys("Escape")
	x.lacks("move up by a page")
	x.run("resize-window", "-x", "200", "-y", "50")
	x.shows("IMAGE", "bb:latest", "raw-socket ")
	x.run("resize-window", "-x", "30", "-y", "10")
	x.shows("needs a terminal")
	x.run("resize-window", "-x", "80", "-y", "24")
	x.shows("top-a-web-2")
	x.keys("q")
	x.ended(exitDone)
}

func TestTopReconnectsToServe(t *testing.T) {
	t.Parallel()
	s := serve(t)
	startForTop(t, "top-b")
	x := inTmux(t, nil, binary, "top", "--socket", s.Socket, "--filter", "top-b-", "--interval", "1s")
	x.shows("top-b-web-10")
	s.Kill()
	x.shows("NOT UP TO DATE", "does not answer", "top-b-web-10")
	s.Start()
	x.lacks("NOT UP TO DATE")
	x.shows("top-b-web-10")
	x.keys("C-c")
	x.ended(exitDone)
}

func TestTopRecordsWithoutServe(t *testing.T) {
	t.Parallel()
	web := startForTop(t, "top-c")
	x := inTmux(t, nil, binary, "top", "--record", "--filter", "top-c-", "--interval", "1s")
	x.shows("own recording", "top-c-web-2", "14?") // capmon did not see the start
	web.Do("probe rawsock")
	x.matches(`NET_RAW \d+s`)
	mustExecute(t, "docker", "run", "--rm", "--name", "top-c-new", "bb", "probe", "rawsock")
	x.keys("e")
	x.shows("top-c-new")
	x.keys("a")
	x.shows("only capmon serve has alerts")
	x.keys("Escape")
	x.shows("NAME")
	x.signal(unix.SIGTERM)
	x.ended(exitDone)
}

func TestTopRestoresTheTerminal(t *testing.T) {
	t.Parallel()
	s := serve(t)
	for name, end := range map[string]func(*tmux){
		"TERM":      func(x *tmux) { x.signal(unix.SIGTERM) },
		"HUP":       func(x *tmux) { x.signal(unix.SIGHUP) },
		"INT":       func(x *tmux) { x.signal(unix.SIGINT) },
		"two TERMs": func(x *tmux) { x.signal(unix.SIGTERM, unix.SIGTERM) },
		"q":         func(x *tmux) { x.keys("q") },
		"Ctrl-C":    func(x *tmux) { x.keys("/", "web", "C-c") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := inTmux(t, nil, binary, "top", "--socket", s.Socket)
			x.shows("GRANTED")
			if got := strings.TrimSpace(x.run("display-message", "-p", "#{alternate_on}")); got != "1" {
				t.Errorf("top does not use the alternate screen: %s", got)
			}
			end(x)
			x.ended(exitDone)
		})
	}
}

// The keys come from the terminal even if standard input does not.
func TestTopWithoutStandardInput(t *testing.T) {
	t.Parallel()
	s := serve(t)
	x := inTmux(t, nil, "sh", "-c", `exec "$0" "$@" </dev/null`, binary, "top", "--socket", s.Socket)
	x.shows("GRANTED")
	x.keys("?")
	x.shows("move up by a page")
	x.keys("q")
	x.ended(exitDone)
}

func TestTopWithoutColors(t *testing.T) {
	t.Parallel()
	s := serve(t)
	startForTop(t, "top-d")
	color := regexp.MustCompile(`\x1b\[(?:\d+;)*(?:3[0-8]|9[0-7])(?:;\d+)*m`)
	for noColor, want := range map[string]bool{"": true, "1": false, "yes": false} {
		x := inTmux(t, []string{"NO_COLOR=" + noColor}, binary, "top", "--socket", s.Socket, "--filter", "top-d-")
		x.shows("top-d-god", "14 NET_RAW", "all ")
		if got := color.MatchString(x.run("capture-pane", "-p", "-e")); got != want {
			t.Errorf("NO_COLOR=%s: colors %v, wanted %v", noColor, got, want)
		}
		x.keys("q")
		x.ended(exitDone)
	}
}

func TestTopPrintsLines(t *testing.T) {
	t.Parallel()
	s := serve(t)
	web := startForTop(t, "top-e")
	once := execute(t, binary, "top", "--once", "--socket", s.Socket, "--filter", "top-e-")
	if once.code != exitDone || !regexp.MustCompile(order("top-e-god  bb:latest, privileged, granted all ", "top-e-web-2  bb:latest, granted 14", "top-e-web-10  bb:latest, granted 14")).MatchString(once.stdout) {
		t.Errorf("exit code %d: %s%s", once.code, once.stdout, once.stderr)
	}
	var lines testutil.Transcript
	cmd := exec.Command(binary, "top", "--socket", s.Socket, "--filter", "top-e-", "--interval", "1s") // standard output is not a terminal
	cmd.Stdout, cmd.Stderr = &lines, &lines
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	prints := func(text string) {
		t.Helper()
		testutil.Eventually(t, "top prints "+text, func() bool { return strings.Contains(lines.String(), text) })
	}
	prints("top-e-web-10")
	web.Do("probe rawsock")
	prints("top-e-web-2  used NET_RAW; now 1 used, 13 unused of 14 granted")
	mustExecute(t, "docker", "rm", "-f", "top-e-web-10")
	prints("top-e-web-10  ended")
	if err := cmd.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v: %s", err, lines.String())
	}
	if strings.Contains(lines.String(), "\x1b") {
		t.Errorf("the lines have escape sequences: %q", lines.String())
	}
	x := inTmux(t, []string{"TERM=dumb"}, binary, "top", "--socket", s.Socket, "--filter", "top-e-god", "--interval", "1s")
	x.shows("top-e-god  bb:latest, privileged")
	x.keys("C-c")
	x.ended(exitDone)
}

func TestTopReportsWrongUse(t *testing.T) {
	t.Parallel()
	for want, args := range map[string][]string{
		"does not answer: no such file or directory; to record without capmon serve, use --record": {"--socket", filepath.Join(t.TempDir(), "nothing")},
		"--interval 10ms is too short: use 1s or more":                                             {"--interval", "10ms"},
		`--filter: no capability begins with "NOTHING"`:                                            {"--filter", "cap:NOTHING"},
		"use one of them":     {"--record", "--socket", "/run/s"},
		"unexpected argument": {"web"},
		"choose gravest, ":    {"--sort", "size"},
	} {
		got := execute(t, append([]string{binary, "top", "--once"}, args...)...)
		if got.code != exitUsage || !strings.Contains(got.stderr, want) {
			t.Errorf("%v: exit code %d, %s", args, got.code, got.stderr)
		}
	}
	s := serve(t)
	if got := execute(t, binary, "top", "--once", "--socket", s.Socket, "--hook", "kprobe"); got.code != exitUsage || !strings.Contains(got.stderr, "--hook is for a recording") {
		t.Errorf("--hook: exit code %d, %s", got.code, got.stderr)
	}
}
