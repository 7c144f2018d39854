package top

import (
	"context"
	"fmt"
	"io"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/colorprofile"
)

const (
	// DefaultInterval is the interval between two reads.
	DefaultInterval = 2 * time.Second
	// framesPerSecond is how often the screen may change.
	framesPerSecond = 20
)

// Options are the options of [Run] and [RunPlain]. Call Validate before you pass them.
type Options struct {
	// Host is the name of this host.
	Host string
	// Interval is the interval between two reads.
	Interval time.Duration
	// Filter has the words that select containers, such as web or unused:NET_RAW. Sort is one of [SortKeys].
	Filter, Sort string
	// Color permits colors.
	Color bool

	order  sortKey
	filter filter
}

// Validate parses Filter and Sort. Without it, [Run] and [RunPlain] ignore both.
func (o *Options) Validate() (err error) {
	if o.order, err = parseSortKey(o.Sort); err != nil {
		return err
	}
	var typed prompt // the screen must show all of the filter
	switch typed.insert(o.Filter); {
	case len(o.Filter) > maxFilter:
		return fmt.Errorf("the filter has %d bytes: use at most %d", len(o.Filter), maxFilter)
	case typed.text != o.Filter:
		return fmt.Errorf("the filter %q has characters that not all terminals show alike: leave them out", o.Filter)
	}
	o.filter, err = parseFilter(o.Filter)
	return err
}

// Run shows the screen on a terminal until the user quits or ctx ends. It restores the terminal in any case, also after
// a panic, which it returns as an error. It shows each line from notices for a few seconds.
func Run(ctx context.Context, source Source, options Options, notices <-chan string, terminal Terminal) error {
	return run(ctx, newModel(ctx, source, options), options, notices, terminal)
}

// Terminal is where the screen is shown.
type Terminal struct {
	// In is where the keys come from; nil for standard input or, if that is not a terminal, the controlling terminal.
	In  io.Reader
	Out io.Writer
}

// run runs a model as a program.
func run(ctx context.Context, m tea.Model, options Options, notices <-chan string, terminal Terminal) error {
	running, end := context.WithCancel(context.Background())
	defer end()
	guarded := &guard{Model: m}
	program := tea.NewProgram(guarded, programOptions(options, terminal)...)
	guarded.quit = func() { go program.Quit() }
	// WithContext would end the program without waiting for its goroutines.
	defer context.AfterFunc(ctx, program.Quit)()
	go func() {
		for {
			select {
			case <-running.Done():
				return
			case text := <-notices:
				program.Send(notice(text))
			}
		}
	}()
	_, err := program.Run()
	if guarded.failed != nil {
		return guarded.failed
	}
	return err
}

func programOptions(options Options, terminal Terminal) []tea.ProgramOption {
	all := []tea.ProgramOption{tea.WithoutSignalHandler(), tea.WithFPS(framesPerSecond), tea.WithOutput(terminal.Out)}
	if terminal.In != nil {
		all = append(all, tea.WithInput(terminal.In))
	}
	if !options.Color {
		all = append(all, tea.WithColorProfile(colorprofile.Ascii))
	}
	return all
}
