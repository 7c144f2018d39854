package markdown

import (
	"fmt"
	"io"
	"strings"
)

const (
	// Limit is the size of a document in bytes. A comment on GitHub has at most 65536 characters. The difference is for
	// what others add to the comment.
	Limit = 60000
	// detailsLimit is the size of the details of one container, so that one container cannot use up the document.
	detailsLimit = Limit / 4
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

// Details are the details of one container, which a reader opens with a click. Markdown is the content of Body, Evidence
// and Tail. Each of them ends with an empty line if it is not empty.
type Details struct {
	// Summary is the visible line, as HTML.
	Summary string
	// Open shows the details from the start.
	Open bool
	// Body, Evidence and Tail are the content. A document leaves out the evidence if the details are too long, but never
	// one of the others alone: a list without its cautions would mislead.
	Body, Evidence, Tail string
}

const evidenceLeftOut = "The evidence is left out here, because it is too long.\n\n"

func (d Details) text(evidence string) string {
	open := ""
	if d.Open {
		open = " open"
	}
	return fmt.Sprintf("<details%s>\n<summary>%s</summary>\n\n%s%s%s</details>\n\n", open, d.Summary, d.Body, evidence, d.Tail)
}

// Write writes the document. It leaves out details that do not fit, and writes how many. all is a sentence that says how
// to see everything.
func (d *Document) Write(out io.Writer, all string) error {
	var text strings.Builder
	text.WriteString(d.Head.String())
	shortened, leftOut := 0, 0
	for _, details := range d.Details {
		room := min(detailsLimit, Limit-noteLimit-text.Len())
		full, short := details.text(details.Evidence), details.text(evidenceLeftOut)
		switch {
		case len(full) <= room:
			text.WriteString(full)
		case len(short) <= room:
			text.WriteString(short)
			shortened++
		default:
			leftOut++
		}
	}
	if note := d.note(shortened, leftOut); note != "" {
		text.WriteString("**" + note + "** " + all + "\n")
	}
	_, err := io.WriteString(out, strings.TrimRight(text.String(), "\n")+"\n")
	return err
}

// note returns what the document leaves out; "" if it is complete.
func (d *Document) note(shortened, leftOut int) string {
	var parts []string
	if shortened > 0 {
		parts = append(parts, fmt.Sprintf("the evidence of %d", shortened))
	}
	if leftOut > 0 {
		parts = append(parts, fmt.Sprintf("all details of %d", leftOut))
	}
	if len(parts) == 0 {
		return ""
	}
	return fmt.Sprintf("Left out: %s of %d containers, because a comment has at most %d characters.", strings.Join(parts, " and "), len(d.Details), 1<<16)
}

// Lines returns a list with one item for each text, which is Markdown. It ends with an empty line. It is empty without
// items.
func List(items []string) string {
	if len(items) == 0 {
		return ""
	}
	return "- " + strings.Join(items, "\n- ") + "\n\n"
}

// Table returns a table. The cells are Markdown in one line without |.
func Table(columns []string, rows [][]string) string {
	var out strings.Builder
	row := func(cells []string) { out.WriteString("| " + strings.Join(cells, " | ") + " |\n") }
	row(columns)
	out.WriteString(strings.Repeat("| --- ", len(columns)) + "|\n")
	for _, cells := range rows {
		row(cells)
	}
	return out.String() + "\n"
}
