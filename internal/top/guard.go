package top

import (
	"fmt"
	"runtime/debug"

	tea "charm.land/bubbletea/v2"
)

// failure is a panic. As a message, it ends the screen as q does, so that the terminal is restored. (Bubble Tea also
// recovers panics, but prints them before the terminal is restored.)
type failure struct {
	value any
	stack []byte
}

// Error implements error.
func (f *failure) Error() string {
	return fmt.Sprintf("capmon top failed, please report this: %v\n%s", f.value, f.stack)
}

// command returns a command that returns a panic as a message.
func command(do func() tea.Msg) tea.Cmd {
	return func() (msg tea.Msg) {
		defer func() {
			if value := recover(); value != nil {
				msg = &failure{value, debug.Stack()}
			}
		}()
		return do()
	}
}

// guard is a model that quits when the guarded model panics.
type guard struct {
	tea.Model
	failed *failure
	quit   func() // ends the program; it must not block
}

// Update implements [tea.Model].
func (g *guard) Update(msg tea.Msg) (_ tea.Model, cmd tea.Cmd) {
	if f, ok := msg.(*failure); ok {
		g.failed = f
		return g, tea.Quit
	}
	if g.failed != nil {
		return g, nil
	}
	defer g.recover()
	g.Model, cmd = g.Model.Update(msg)
	return g, cmd
}

// View implements [tea.Model].
func (g *guard) View() (view tea.View) {
	view.AltScreen = true
	if g.failed != nil {
		return view
	}
	defer g.recover()
	return g.Model.View()
}

// recover is for deferred calls.
func (g *guard) recover() {
	if value := recover(); value != nil {
		g.failed = &failure{value, debug.Stack()}
		g.quit()
	}
}
