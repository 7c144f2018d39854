package top

import (
	"strconv"

	"charm.land/bubbles/v2/key"
)

// keyMap has the keys of the screen. The help lists them in this order.
type keyMap struct {
	up, down, pageUp, pageDown, first, last key.Binding
	open, back, copy, copyUnseen            key.Binding
	filter, ended, alerts, pause            key.Binding
	help, quit, suspend                     key.Binding
	sort                                    []key.Binding // by sortKey
}

func bind(help, does string, keys ...string) key.Binding {
	return key.NewBinding(key.WithKeys(keys...), key.WithHelp(help, does))
}

var keys = newKeyMap()

func newKeyMap() keyMap {
	m := keyMap{
		up:         bind("↑ k", "move up", "up", "k"),
		down:       bind("↓ j", "move down", "down", "j"),
		pageUp:     bind("PgUp", "move up by a page", "pgup", "ctrl+b"),
		pageDown:   bind("PgDn", "move down by a page", "pgdown", "ctrl+f", "space"),
		first:      bind("Home g", "move to the first line", "home", "g"),
		last:       bind("End G", "move to the last line", "end", "G"),
		open:       bind("Enter", "open the selected container", "enter"),
		back:       bind("Esc", "go back; in the table: remove the filter", "esc", "backspace"),
		copy:       bind("c", "in a container: copy the list as flags of docker run", "c"),
		copyUnseen: bind("C", "in a container: copy the list even if capmon saw no start", "C"),
		filter:     bind("/", "filter by text or capability", "/"),
		ended:      bind("e", "show or hide ended containers", "e"),
		alerts:     bind("a", "show the alerts", "a"),
		pause:      bind("p", "pause and continue", "p"),
		help:       bind("?", "show this help", "?", "f1"),
		quit:       bind("q Ctrl-C", "quit", "q", "ctrl+c"),
		suspend:    bind("Ctrl-Z", "suspend", "ctrl+z"),
	}
	for i, name := range sortKeys {
		digit := strconv.Itoa((i + 1) % 10)
		m.sort = append(m.sort, bind(digit, "sort by "+name, digit))
	}
	return m
}

// all returns the keys except those that sort, in the order of the help.
func (m keyMap) all() []key.Binding {
	return []key.Binding{
		m.up, m.down, m.pageUp, m.pageDown, m.first, m.last, m.open, m.back, m.copy, m.copyUnseen, m.filter, m.ended, m.alerts,
		m.pause, m.help, m.quit, m.suspend,
	}
}
