package top

import (
	"strings"

	tea "charm.land/bubbletea/v2"
)

const (
	promptLabel = "filter: "
	// maxFilter is the maximum number of bytes of a filter.
	maxFilter = 200
)

// prompt is the line in which the user types a filter. It accepts only characters that all terminals show alike, also
// from the clipboard.
type prompt struct{ text string }

// update handles a key or a pasted text. It reports whether the text may have changed.
func (p *prompt) update(msg tea.Msg) bool {
	switch msg := msg.(type) {
	case tea.PasteMsg:
		p.insert(bound(msg.Content))
	case tea.KeyPressMsg:
		switch msg.String() {
		case "backspace", "ctrl+h":
			runes := []rune(p.text)
			p.text = string(runes[:max(len(runes)-1, 0)])
		case "ctrl+w":
			p.text = p.text[:strings.LastIndex(strings.TrimRight(p.text, " "), " ")+1]
		case "ctrl+u":
			p.text = ""
		default:
			p.insert(msg.Text)
		}
	default:
		return false
	}
	return true
}

func (p *prompt) insert(text string) {
	for _, r := range text {
		if (r >= ' ' && r <= '~' || isPortable(r)) && len(p.text) < maxFilter {
			p.text += string(r)
		}
	}
	p.text = escape(p.text)
}

// view returns the line and the column of the cursor. It shows the end of a text that is too long.
func (p *prompt) view(limit int) (line string, cursor int) {
	line = promptLabel + cutStart(p.text, limit-len(promptLabel)-1)
	return line, width(line)
}
