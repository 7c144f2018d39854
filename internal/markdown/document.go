package markdown

import (
	"fmt"
	"html"
	"io"
	"strings"
)

const (
	// Limit is the size of a document in bytes. A comment on GitHub has at most 65536 characters. The difference is for
	// what others add to the comment.
	Limit = 60000
	// detailsLimit is the size of the details of one of several containers, so that one cannot use up the document.
	detailsLimit = Limit / 4
	// tableLimit is the size of a table. It leaves most of a document to the details.
	tableLimit = Limit * 2 / 5
	// noteLimit is the room for the note about what a document leaves out.
	noteLimit = 500
)

// Document is a Markdown document of limited size.
type Document struct {
	// Head is the result, with the overview. It is never left out, so its size must be limited.
	Head strings.Builder
	// Details are the details of the containers, the gravest first.
	Details []Details
}

// Details are the details of one container, which a reader opens with a click.
type Details struct {
	// Summary is the visible line, from [Summary].
	Summary string
	// Open shows the details from the start.
	Open bool
	// Full and Short are the content, as Markdown that ends with an empty line. Short is for details that are too long.
	// If Short has the list of a container, it has all cautions about the list: a list without them would mislead.
	Full, Short string
}

// Summary returns the visible line of the details of a container, as HTML. The name, the image and the text may contain
// any bytes. The image may be empty.
func Summary(name, image, text string) string {
	line := htmlCode(visible(name, maxCode))
	if image != "" {
		line += " of " + htmlCode(visible(image, maxCode))
	}
	return line + ": " + format(text, htmlCode, html.EscapeString)
}

const shortenedHere = "These details are shortened, because they are too long.\n\n"

// forms returns the text of the details in full and in short.
func (d Details) forms() (full, short string) {
	open := ""
	if d.Open {
		open = " open"
	}
	start, end := fmt.Sprintf("<details%s>\n<summary>%s</summary>\n\n", open, d.Summary), "</details>\n\n"
	return start + d.Full + end, start + shortenedHere + d.Short + end
}

// Write writes the document. It leaves out details that do not fit, and writes how many. all is a sentence that says
// how to see everything.
func (d *Document) Write(out io.Writer, all string) error {
	text := d.Head.String()
	limit, shortened, leftOut := max(detailsLimit, Limit/max(len(d.Details), 1)), 0, 0
	for _, details := range d.Details {
		full, short := details.forms()
		switch room := min(limit, Limit-noteLimit-len(text)); {
		case len(full) <= room:
			text += full
		case len(short) <= room:
			text += short
			shortened++
		default:
			leftOut++
		}
	}
	if note := d.note(shortened, leftOut); note != "" {
		text += "**" + note + "** " + all + "\n"
	}
	_, err := io.WriteString(out, strings.TrimRight(text, "\n")+"\n")
	return err
}

// note returns what the document leaves out; "" if it is complete.
func (d *Document) note(shortened, leftOut int) string {
	var parts []string
	if shortened > 0 {
		parts = append(parts, fmt.Sprintf("shortened for %d", shortened))
	}
	if leftOut > 0 {
		parts = append(parts, fmt.Sprintf("left out for %d", leftOut))
	}
	if len(parts) == 0 {
		return ""
	}
	containers := "containers"
	if len(d.Details) == 1 {
		containers = "container"
	}
	return fmt.Sprintf("Details are %s of %d %s, because a comment has at most 65,536 characters.", strings.Join(parts, " and "), len(d.Details), containers)
}

// Paragraph returns a paragraph. The arguments are Markdown.
func Paragraph(format string, args ...any) string { return fmt.Sprintf(format, args...) + "\n\n" }

// Facts returns lines of facts as a paragraph; "" without lines. The lines are text.
func Facts(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	var all []string
	for _, line := range lines {
		all = append(all, Text(strings.TrimSpace(line)))
	}
	return Paragraph("%s", strings.Join(all, " · "))
}

// Section returns a list with a title; "" if the list is empty. The items are Markdown.
func Section(title string, items []string) string {
	if len(items) == 0 {
		return ""
	}
	return Paragraph("%s:", title) + List(items)
}

// Texts returns the texts as Markdown.
func Texts(all []string) []string {
	items := make([]string, len(all))
	for i, text := range all {
		items[i] = Text(text)
	}
	return items
}

// List returns a list with one item for each text, which is Markdown. It ends with an empty line. It is empty without
// items.
func List(items []string) string {
	if len(items) == 0 {
		return ""
	}
	return "- " + strings.Join(items, "\n- ") + "\n\n"
}

// Table returns a table. The cells are Markdown in one line without |. Table leaves out the last rows if the table is
// too long, and says how many.
func Table(columns []string, rows [][]string) string {
	var out strings.Builder
	line := func(cells []string) string { return "| " + strings.Join(cells, " | ") + " |\n" }
	out.WriteString(line(columns) + strings.Repeat("| --- ", len(columns)) + "|\n")
	for i, cells := range rows {
		row := line(cells)
		if out.Len()+len(row) > tableLimit {
			return out.String() + fmt.Sprintf("\n**The table leaves out the last %d of %d rows.**\n\n", len(rows)-i, len(rows))
		}
		out.WriteString(row)
	}
	return out.String() + "\n"
}
