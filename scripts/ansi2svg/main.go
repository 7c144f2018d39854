// Command ansi2svg converts the text of a terminal with colors, from standard input, to an SVG image on standard
// output. scripts/top-svg.sh uses it.
package main

import (
	"bufio"
	"fmt"
	"html"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/charmbracelet/x/ansi"
)

// Sizes in pixels.
const (
	charWidth  = 8
	lineHeight = 18
	margin     = 12
)

// Colors of the image, which suit light and dark pages.
const (
	background = "#1e1e1e"
	foreground = "#d4d4d4"
)

// palette has the colors of the codes 31 to 37 and 91 to 97.
var palette = map[int]string{
	1: "#f14c4c", 2: "#23d18b", 3: "#e5e510", 4: "#3b8eea", 5: "#d670d6", 6: "#29b8db", 7: "#e5e5e5",
}

func main() {
	if err := convert(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "ansi2svg:", err)
		os.Exit(1)
	}
}

// style is how characters are shown.
type style struct {
	color               string
	bold, faint, invert bool
}

// span is a part of a line with one style.
type span struct {
	column int
	text   string
	style  style
}

// convert writes the text of a terminal as an image.
func convert(in io.Reader, out io.Writer) error {
	var lines [][]span
	widest := 0
	scanner := bufio.NewScanner(in)
	var current style
	for scanner.Scan() {
		var line []span
		line, current = parse(scanner.Text(), current)
		lines = append(lines, line)
		for _, s := range line {
			widest = max(widest, s.column+ansi.StringWidth(s.text))
		}
	}
	if err := scanner.Err(); err != nil {
		return err
	}
	var image strings.Builder
	width, height := widest*charWidth+2*margin, len(lines)*lineHeight+2*margin
	fmt.Fprintf(&image, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d">`+"\n", width, height, width, height)
	fmt.Fprintf(&image, `<rect width="100%%" height="100%%" rx="6" fill="%s"/>`+"\n", background)
	fmt.Fprintf(&image, `<g font-family="ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace" font-size="13">`+"\n")
	for i, line := range lines {
		for _, s := range line {
			s.write(&image, i)
		}
	}
	image.WriteString("</g>\n</svg>\n")
	_, err := io.WriteString(out, image.String())
	return err
}

// parse splits a line at its escape sequences. It ignores those that do not change the style.
func parse(line string, current style) ([]span, style) {
	var spans []span
	column := 0
	for line != "" {
		text, rest, found := strings.Cut(line, "\x1b[")
		if text != "" {
			spans = append(spans, span{column, text, current})
			column += ansi.StringWidth(text)
		}
		if !found {
			break
		}
		end := strings.IndexFunc(rest, func(r rune) bool { return r >= '@' && r <= '~' })
		if end < 0 {
			break
		}
		if rest[end] == 'm' {
			for code := range strings.SplitSeq(rest[:end], ";") {
				current.apply(code)
			}
		}
		line = rest[end+1:]
	}
	return spans, current
}

// apply applies a code of an escape sequence.
func (l *style) apply(code string) {
	switch n, _ := strconv.Atoi(code); {
	case n == 0:
		*l = style{}
	case n == 1:
		l.bold = true
	case n == 2:
		l.faint = true
	case n == 7:
		l.invert = true
	case n == 22:
		l.bold, l.faint = false, false
	case n == 27:
		l.invert = false
	case n == 39:
		l.color = ""
	case n > 30 && n < 38:
		l.color = palette[n-30]
	case n > 90 && n < 98:
		l.color = palette[n-90]
	}
}

func (s span) write(image *strings.Builder, line int) {
	color := foreground
	if s.style.color != "" {
		color = s.style.color
	}
	if s.style.invert {
		fmt.Fprintf(image, `<rect x="%d" y="%d" width="%d" height="%d" fill="%s"/>`+"\n",
			margin+s.column*charWidth, margin+line*lineHeight, ansi.StringWidth(s.text)*charWidth, lineHeight, color)
		color = background
	}
	attributes := ""
	if s.style.bold {
		attributes += ` font-weight="bold"`
	}
	if s.style.faint {
		attributes += ` opacity="0.7"`
	}
	column := s.column
	for word := range strings.SplitSeq(s.text, " ") { // each word has its position, so that no font can shift columns
		if width := ansi.StringWidth(word); width > 0 {
			fmt.Fprintf(image, `<text x="%d" y="%d" textLength="%d" fill="%s"%s>%s</text>`+"\n",
				margin+column*charWidth, margin+line*lineHeight+lineHeight-5, width*charWidth, color, attributes, html.EscapeString(word))
		}
		column += ansi.StringWidth(word) + 1
	}
}
