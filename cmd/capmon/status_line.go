package main

import (
	"io"
	"os"
	"strings"
	"sync"

	"github.com/jedib0t/go-pretty/v6/text"
	"golang.org/x/term"
)

// statusLine is a writer for whole lines. On a terminal, it can keep one line below them that capmon overwrites. It is
// safe for concurrent use.
type statusLine struct {
	out   io.Writer
	width func() int // the columns of the terminal

	mu    sync.Mutex
	shown string // on the terminal now; empty if there is no status line
}

// eraseLine moves the cursor to the start of the line and erases the line.
const eraseLine = "\r\033[K"

func newStatusLine(terminal *os.File) *statusLine {
	return &statusLine{out: terminal, width: func() int { return columns(terminal) }}
}

// Write writes lines above the status line.
func (s *statusLine) Write(lines []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shown == "" {
		return s.out.Write(lines)
	}
	// A single write, so that nothing else that uses the terminal comes between the parts.
	if _, err := io.WriteString(s.out, eraseLine+string(lines)+s.shown); err != nil {
		return 0, err
	}
	return len(lines), nil
}

// show replaces the status line. It cuts the line at the width of the terminal. An empty line removes the status line.
func (s *statusLine) show(line string) {
	line = cutWords(line, s.width()-1) // some terminals wrap a line that fills the last column
	s.mu.Lock()
	defer s.mu.Unlock()
	if line == s.shown {
		return
	}
	s.shown = line
	_, _ = io.WriteString(s.out, eraseLine+line) // nothing depends on the progress
}

// columns returns the width of a terminal, or the usual width if the terminal does not report it.
func columns(terminal *os.File) int {
	if width, _, err := term.GetSize(int(terminal.Fd())); err == nil && width > 0 {
		return width
	}
	return 80
}

// cutWords returns the first words of a line that fit into a number of columns, and … in place of the others. It never
// cuts within a word, so it never cuts within an escape sequence of printable.
func cutWords(line string, width int) string {
	const cut = "…"
	if text.StringWidthWithoutEscSequences(line) <= width {
		return line
	}
	for {
		at := strings.LastIndexByte(line, ' ')
		if at < 0 {
			break
		}
		line = strings.TrimRight(line[:at], " ,:;(")
		if text.StringWidthWithoutEscSequences(line)+len(" ")+text.StringWidthWithoutEscSequences(cut) <= width {
			return line + " " + cut
		}
	}
	if width < 1 {
		return ""
	}
	return cut
}
