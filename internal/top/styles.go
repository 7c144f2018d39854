package top

import (
	"charm.land/lipgloss/v2"

	"github.com/capmon/capmon/internal/alert"
)

// style colors a text. Without colors, it may still make the text bold.
type style struct{ lipgloss.Style }

// styles are the styles of the screen. They use the terminal's 16 colors, which users choose to suit their background.
// A color never is the only sign of a state.
type styles struct {
	plain, bold, faint, reverse, good, warn, bad, note style
}

// newStyles returns the styles with colors, or without.
func newStyles(color bool) *styles {
	plain := lipgloss.NewStyle()
	s := &styles{
		plain: style{plain}, bold: style{plain.Bold(true)}, faint: style{plain}, reverse: style{plain.Reverse(true)},
		good: style{plain}, warn: style{plain}, bad: style{plain.Bold(true)}, note: style{plain.Bold(true)},
	}
	if color {
		s.faint = style{plain.Faint(true)}
		s.good = style{plain.Foreground(lipgloss.Green)}
		s.warn = style{plain.Foreground(lipgloss.Yellow)}
		s.bad = style{plain.Bold(true).Foreground(lipgloss.Red)}
		s.note = style{plain.Bold(true).Foreground(lipgloss.Yellow)}
	}
	return s
}

func (s *styles) severity(of alert.Severity) style {
	switch of {
	case alert.Critical:
		return s.bad
	case alert.Warning:
		return s.warn
	}
	return s.plain
}

// Signs of the state of a capability, which a reader sees without colors.
const (
	signUsed   = "+"
	signUnsure = "~"
	signSpared = "="
	signUnused = "-"
	signDenied = "x"
)
