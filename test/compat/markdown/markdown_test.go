// Package markdown_test reads capmon's Markdown with goldmark, a parser for CommonMark and GitHub Flavored Markdown.
package markdown_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	extast "github.com/yuin/goldmark/extension/ast"
	"github.com/yuin/goldmark/text"
	"golang.org/x/net/html"

	"github.com/capmon/capmon/internal/markdown"
	"github.com/capmon/capmon/internal/printable"
	"github.com/capmon/capmon/internal/report/reporttest"
)

// parser reads what GitHub and Gitea read.
var parser = goldmark.New(goldmark.WithExtensions(extension.GFM, extension.Footnote, extension.DefinitionList)).Parser()

// content is what a reader sees: the text in code, and the rest of the text.
type content struct{ all, outsideCode string }

// read parses Markdown. It returns an error if the Markdown contains something that others must not be able to write.
func read(source string) (content, error) {
	var c content
	src := []byte(source)
	err := ast.Walk(parser.Parse(text.NewReader(src)), func(node ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		switch node := node.(type) {
		case *ast.Document, *ast.Paragraph, *ast.TextBlock, *ast.List, *ast.ListItem, *ast.Emphasis, *extast.Table, *extast.TableHeader, *extast.TableRow, *extast.TableCell:
		case *ast.CodeSpan:
			for child := node.FirstChild(); child != nil; child = child.NextSibling() {
				c.all += string(child.(*ast.Text).Value(src))
			}
			return ast.WalkSkipChildren, nil
		case *ast.Text:
			value := html.UnescapeString(string(node.Value(src)))
			if node.SoftLineBreak() || node.HardLineBreak() {
				return ast.WalkStop, fmt.Errorf("a line break after %q", value)
			}
			c.all += value
			c.outsideCode += value
		default:
			return ast.WalkStop, fmt.Errorf("a node %s", node.Kind())
		}
		return ast.WalkContinue, nil
	})
	return c, err
}

// harmless matches text in which GitHub, GitLab and Gitea find no mention, reference, emoji, formula or link.
var harmless = regexp.MustCompile(`^[A-Za-z0-9 .,;:?"'()_→…|-]*$`)

// meaningful matches text in which one of them finds something although the characters are harmless.
var meaningful = regexp.MustCompile(`(?i)\b(GH-[0-9]|www\.|[0-9a-f]{7,}\b)|:[0-9a-z_+-]+:`)

func FuzzText(f *testing.F) {
	for _, seed := range []string{
		"", " ", "a  b ", "`", "``` `` `", "|", `\|`, "a\\", "@org/team", "#1", "GH-1", "1. a", "1) a", "- [ ] a", "# a", "> a", "    a", "a\n\n<b>",
		"<script>", "&lt;", "[x](https://y)", "![x](y)", "www.example.com", "https://example.com/?a=(b)", "a@b.c", ":smile:", "$x$", "[^1]: a", "[a]: b",
		"---", "===", "~~~", "| a | b |\n|---|---|", "deadbeef", "\x00\xff\u202e", ": a", "*a* _b_ __c__ ~~d~~", "a:)", `("`, "\u00a0a", "`a|b`", "/close",
		reporttest.Hostile, "1 .", "0.", "(1)", `"1."`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if s == "" || len(s) > 1<<14 {
			return
		}
		want := strings.ReplaceAll(printable.Lines(s), "\n", `\n`)
		for name, form := range map[string]struct {
			write func(string) string
			limit int
		}{"Text": {markdown.Text, 2000}, "Code": {markdown.Code, 256}} {
			written := form.write(s)
			for _, place := range []struct{ before, after, read string }{
				{"", "", "%s"}, {"**x ", "**", "x %s"}, {"- x\n  - ", "", "x%s"}, {"| X | Y |\n| --- | --- |\n| ", " | z |\n", "XY%sz"},
			} {
				source := place.before + written + place.after
				got, err := read(source)
				if err != nil {
					t.Fatalf("%s: %v: %q became %q", name, err, s, source)
				}
				if len([]rune(want)) <= form.limit && got.all != fmt.Sprintf(place.read, want) {
					t.Errorf("%s: %q became %q, which reads %q", name, s, source, got.all)
				}
				if !harmless.MatchString(got.outsideCode) || meaningful.MatchString(got.outsideCode) {
					t.Errorf("%s: %q became %q, with the text %q outside code", name, s, source, got.outsideCode)
				}
			}
		}
		summary, err := html.Parse(strings.NewReader("<p>" + markdown.HTML(s)))
		if err != nil {
			t.Fatal(err)
		}
		var seen, outside string
		for node := range summary.Descendants() {
			switch {
			case node.Type == html.TextNode:
				seen += node.Data
				if node.Parent.Data != "code" {
					outside += node.Data
				}
			case !strings.Contains(" html head body p code ", " "+node.Data+" ") || len(node.Attr) > 0:
				t.Errorf("an element %s: %q became %q", node.Data, s, markdown.HTML(s))
			}
		}
		if len([]rune(want)) <= 2000 && seen != want || !harmless.MatchString(outside) {
			t.Errorf("HTML: %q became %q", s, markdown.HTML(s))
		}
	})
}
