package waiver

import (
	"fmt"

	"github.com/capmon/capmon/internal/markdown"
	"github.com/capmon/capmon/internal/printable"
)

// Markdown returns the waivers as a list; "" for a nil Review.
func (r *Review) Markdown() string {
	if r == nil {
		return ""
	}
	items := make([]string, len(r.List))
	for i, w := range r.List {
		items[i] = markdown.Text(printable.Text(fmt.Sprintf("line %d: %s: %s", w.Line, w.Text(), w.Remark())))
	}
	return markdown.Section("Waivers in "+markdown.Code(printable.Text(r.File)), items)
}
