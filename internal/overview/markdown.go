package overview

import (
	"fmt"
	"html"
	"strings"

	"github.com/capmon/capmon/internal/markdown"
	"github.com/capmon/capmon/internal/printable"
)

// unusedWidth is the width of the unused capabilities in Markdown.
const unusedWidth = 40

// Markdown returns the overview as Markdown: the totals as a list, and the table.
func Markdown(o Overview) string {
	text := markdown.List(strings.Split(o.Totals.text(), "\n"))
	if len(o.Rows) == 0 {
		return text
	}
	rows := make([][]string, len(o.Rows))
	for i, row := range o.Rows {
		rows[i] = row.markdownCells()
	}
	return text + markdown.Table([]string{"STATUS", "CONTAINER", "IMAGE", "GRANTED", "USED", "UNUSED", "OBSERVED"}, rows)
}

// markdownCells returns the same texts as cells, for Markdown.
func (r Row) markdownCells() []string {
	name := markdown.Code(printable.Text(r.Title))
	if n := len(r.Members); n > 1 {
		name += fmt.Sprintf(" (+%d)", n-1)
	}
	return []string{
		strings.ToUpper(string(r.Status)), name, markdown.Code(printable.Text(r.Image)),
		r.GrantedText(), r.UsedText(), unusedText(r, unusedWidth), html.EscapeString(r.ObservedText()),
	}
}
