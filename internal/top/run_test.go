package top

import (
	"bytes"
	"context"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/creack/pty"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/capmon/capmon/internal/testutil"
)

// Escape sequences that enter and leave the alternate screen, and that show the cursor.
const (
	enterScreen = "\x1b[?1049h"
	leaveScreen = "\x1b[?1049l"
	showCursor  = "\x1b[?25h"
)

// terminal is a pseudo-terminal. The other side reads everything, as a terminal emulator does.
type terminal struct {
	t           *testing.T
	master, tty *os.File
	before      *unix.Termios
	mu          sync.Mutex
	output      bytes.Buffer
}

// openTerminals has all terminals, because the garbage collector would close them.
var openTerminals []*terminal

func newTerminal(t *testing.T) *terminal {
	t.Helper()
	t.Setenv("TERM", "xterm-256color")
	master, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	term := &terminal{t: t, master: master, tty: tty}
	openTerminals = append(openTerminals, term) // a goroutine of Bubble Tea may use the terminal a little longer
	if err := pty.Setsize(master, &pty.Winsize{Rows: 24, Cols: 80}); err != nil {
		t.Fatal(err)
	}
	term.before = term.settings()
	go func() { _, _ = io.Copy(term, master) }()
	return term
}

// Write takes output of the program.
func (t *terminal) Write(text []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.output.Write(text)
}

func (t *terminal) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.output.String()
}

func (t *terminal) settings() *unix.Termios {
	t.t.Helper()
	settings, err := unix.IoctlGetTermios(int(t.tty.Fd()), unix.TCGETS)
	if err != nil {
		t.t.Fatal(err)
	}
	return settings
}

func (t *terminal) types(keys string) {
	t.t.Helper()
	if _, err := t.master.WriteString(keys); err != nil {
		t.t.Fatal(err)
	}
}

// shows waits until the program has written a text.
func (t *terminal) shows(text string) {
	t.t.Helper()
	testutil.Eventually(t.t, "the terminal shows "+text, func() bool { return strings.Contains(t.text(), text) })
}

// isRestored verifies that the terminal is as before.
func (t *terminal) isRestored() {
	t.t.Helper()
	if diff := cmp.Diff(t.before, t.settings()); diff != "" {
		t.t.Errorf("the settings of the terminal have changed: %s", diff)
	}
	t.shows(leaveScreen)
	text := t.text()
	if strings.LastIndex(text, leaveScreen) < strings.LastIndex(text, enterScreen) || strings.LastIndex(text, showCursor) < strings.LastIndex(text, "\x1b[?25l") {
		t.t.Errorf("the terminal is not restored: %q", text[max(0, len(text)-500):])
	}
}

// panicking panics when the user presses !, in the goroutine of the screen or of a command.
type panicking struct {
	tea.Model
	inCommand bool
}

func (p panicking) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	if pressed, ok := msg.(tea.KeyPressMsg); ok && pressed.String() == "!" {
		if p.inCommand {
			return p, command(func() tea.Msg { panic("in a command") })
		}
		panic("in an update")
	}
	if pressed, ok := msg.(tea.KeyPressMsg); ok && pressed.String() == "%" {
		return failingView{p}, nil
	}
	_, cmd := p.Model.Update(msg)
	return p, cmd
}

// failingView panics when it is drawn.
type failingView struct{ tea.Model }

func (failingView) View() tea.View { panic("in a view") }

func TestTheTerminalIsRestored(t *testing.T) {
	for name, test := range map[string]struct {
		wrap  func(tea.Model) tea.Model
		end   func(term *terminal, cancel func())
		fails string
	}{
		"q":                    {end: func(term *terminal, _ func()) { term.types("q") }},
		"Ctrl-C":               {end: func(term *terminal, _ func()) { term.types("\x03") }},
		"Ctrl-C in the filter": {end: func(term *terminal, _ func()) { term.types("/web\x03") }},
		"signal":               {end: func(_ *terminal, cancel func()) { cancel() }},
		"panic": {
			wrap: func(m tea.Model) tea.Model { return panicking{m, false} },
			end:  func(term *terminal, _ func()) { term.types("!") }, fails: "in an update",
		},
		"panic in a view": {
			wrap: func(m tea.Model) tea.Model { return panicking{m, false} },
			end:  func(term *terminal, _ func()) { term.types("%") }, fails: "in a view",
		},
		"panic in a command": {
			wrap: func(m tea.Model) tea.Model { return panicking{m, true} },
			end:  func(term *terminal, _ func()) { term.types("!") }, fails: "in a command",
		},
	} {
		t.Run(name, func(t *testing.T) {
			term := newTerminal(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			options := Options{Host: "alpha", Interval: time.Second, Color: true}
			var m tea.Model = newModel(ctx, &fakeSource{snapshot: snapshotOf(someContainers()...)}, options)
			if test.wrap != nil {
				m = test.wrap(m)
			}
			ended := make(chan error)
			go func() { ended <- run(ctx, m, options, nil, Terminal{term.tty, term.tty}) }()
			term.shows("web-10")
			if cmp.Equal(term.before, term.settings()) {
				t.Error("the terminal is not in raw mode")
			}
			test.end(term, cancel)
			switch err := <-ended; {
			case test.fails == "" && err != nil:
				t.Error(err)
			case test.fails != "" && (err == nil || !strings.Contains(err.Error(), test.fails)):
				t.Errorf("the error is %v", err)
			}
			term.isRestored()
		})
	}
}

func TestTheTerminalIsResized(t *testing.T) {
	term := newTerminal(t)
	ended := make(chan error)
	ctx, cancel := context.WithCancel(t.Context())
	notices := make(chan string)
	options := Options{Host: "alpha", Interval: time.Second, Color: true}
	go func() {
		ended <- Run(ctx, &fakeSource{snapshot: snapshotOf(someContainers()...), details: someDetails("web")}, options, notices, Terminal{term.tty, term.tty})
	}()
	term.shows("LAST ALERT")
	if strings.Contains(term.text(), "IMAGE") {
		t.Error("80 columns have an image")
	}
	if err := pty.Setsize(term.master, &pty.Winsize{Rows: 24, Cols: 200}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(os.Getpid(), unix.SIGWINCH); err != nil { // the kernel sends it only to the terminal's session
		t.Fatal(err)
	}
	term.shows("IMAGE")
	notices <- "the engine does not answer"
	term.shows("engine does not")
	term.types("\x1b[B\r")
	term.shows("docker run")
	term.types("c")
	term.shows("\x1b]52;c;") // copies to the clipboard
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	term.isRestored()
}
