// Package markdown_test reads capmon's Markdown with goldmark, a parser for CommonMark and GitHub Flavored Markdown.
package markdown_test

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	extast "github.com/yuin/goldmark/extension/ast"
	"github.com/yuin/goldmark/text"
	"golang.org/x/net/html"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/audit"
	"github.com/capmon/capmon/internal/compare"
	"github.com/capmon/capmon/internal/findings"
	"github.com/capmon/capmon/internal/markdown"
	"github.com/capmon/capmon/internal/policy"
	"github.com/capmon/capmon/internal/printable"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/report"
	"github.com/capmon/capmon/internal/report/reporttest"
)

// parser reads what GitHub and Gitea read.
var parser = goldmark.New(goldmark.WithExtensions(extension.GFM, extension.Footnote, extension.DefinitionList)).Parser()

// content is what a reader sees: the text in code, and the rest of the text.
type content struct{ all, outsideCode string }

// details matches the HTML that capmon writes.
var details = regexp.MustCompile(`^(<details( open)?>\n<summary>(.*)</summary>\n|</details>\n)$`)

// read parses Markdown. It returns an error if the Markdown contains something that others must not be able to write.
func read(source string) (content, error) {
	var c content
	src := []byte(source)
	err := ast.Walk(parser.Parse(text.NewReader(src)), func(node ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		switch node := node.(type) {
		case *ast.Document, *ast.Paragraph, *ast.TextBlock, *ast.List, *ast.ListItem, *ast.Emphasis,
			*extast.Table, *extast.TableHeader, *extast.TableRow, *extast.TableCell, *ast.FencedCodeBlock, *ast.CodeBlock:
		case *ast.HTMLBlock:
			lines := string(node.Lines().Value(src))
			match := details.FindStringSubmatch(lines)
			if match == nil {
				return ast.WalkStop, fmt.Errorf("the HTML %q", lines)
			}
			summary, err := readHTML(match[3])
			c.all, c.outsideCode = c.all+summary.all, c.outsideCode+summary.outsideCode+" "
			return ast.WalkContinue, err
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
			c.all, c.outsideCode = c.all+value, c.outsideCode+value+" "
		default:
			return ast.WalkStop, fmt.Errorf("a node %s", node.Kind())
		}
		return ast.WalkContinue, nil
	})
	if !harmless.MatchString(c.outsideCode) || meaningful.MatchString(c.outsideCode) {
		err = errors.Join(err, fmt.Errorf("the text %q outside code", c.outsideCode))
	}
	return c, err
}

// readHTML is like [read], for the HTML of a visible line.
func readHTML(source string) (c content, err error) {
	root, err := html.Parse(strings.NewReader("<p>" + source))
	if err != nil {
		return c, err
	}
	for node := range root.Descendants() {
		switch {
		case node.Type == html.TextNode:
			c.all += node.Data
			if node.Parent.Data != "code" {
				c.outsideCode += node.Data + " "
			}
		case !strings.Contains(" html head body p code ", " "+node.Data+" ") || len(node.Attr) > 0:
			err = errors.Join(err, fmt.Errorf("an element %s", node.Data))
		}
	}
	return c, err
}

// harmless matches text in which GitHub, GitLab and Gitea find no mention, reference, emoji, formula or link.
var harmless = regexp.MustCompile(`^[A-Za-z0-9 .,;:?"'()_→…|+<-]*$`)

// meaningful matches text in which one of them finds something although the characters are harmless.
var meaningful = regexp.MustCompile(`(?i)\b(GH-[0-9]|www\.|[0-9a-f]{7,}\b)|:[0-9a-z_+-]+:`)

func FuzzText(f *testing.F) {
	for _, seed := range hostile {
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
					t.Errorf("%s: %v: %q became %q", name, err, s, source)
				}
				if len([]rune(want)) <= form.limit && got.all != fmt.Sprintf(place.read, want) {
					t.Errorf("%s: %q became %q, which reads %q", name, s, source, got.all)
				}
			}
		}
		line := markdown.Summary("x", "", s)
		got, err := read("<details>\n<summary>" + line + "</summary>\n\n</details>\n")
		if err != nil || len([]rune(want)) <= 2000 && got.all != "x: "+want {
			t.Errorf("Summary: %v: %q became %q, which reads %q", err, s, line, got.all)
		}
	})
}

// hostile has texts with a meaning in Markdown, in HTML, or for GitHub, GitLab or Gitea.
var hostile = []string{
	" ", "a  b", "`", "``` `` `", "|", `\|`, "a\\", "@org/team", "#1", "GH-1", "1. a", "1) a", "- [ ] a", "# a", "> a", "    a", "a\n\n<b>",
	"<script>alert(1)</script>", "</summary></details><img src=x onerror=alert(1)>", "<!--", "&lt;", "[x](https://y)", "![x](y)", "www.example.com",
	"https://example.com/?a=(b)", "a@b.c", ":smile:", "$x$", "[^1]: a", "[a]: b", "---", "===", "~~~", "```\n<b>", "| a | b |\n|---|---|", "deadbeef",
	"\x00\xff\u202e", ": a", "*a* _b_ __c__ ~~d~~", "a:)", `("`, "\u00a0a", "`a|b`", "/close", "1 .", "0.", "(1)", `"1."`, "f(a, b)", "${{ github.token }}",
	reporttest.Hostile,
}

// The documents of all commands contain only what capmon writes: no text of a container can add something else.
func TestDocumentsContainOnlyText(t *testing.T) {
	for _, name := range append(hostile, strings.Repeat("`", 10000), strings.Repeat("`|(", 10000), strings.Repeat("@org/team ", 1000)) {
		for command, document := range documents(t, name) {
			if _, err := read(document); err != nil {
				t.Errorf("%s with %.100q: %v\n%.5000s", command, name, err, document)
			}
			if open, end := strings.Count(document, "\n<details"), strings.Count(document, "\n</details>\n"); open == 0 && !strings.Contains(document, "left out") || open != end {
				t.Errorf("%s with %.100q: %d starts and %d ends of details", command, name, open, end)
			}
			for line := range strings.Lines(document) {
				if strings.HasPrefix(line, "| ") && strings.Count(line, "|") != 8 {
					t.Errorf("%s with %.100q: other cells in %s", command, name, line)
				}
			}
		}
	}
}

// documents returns what each command writes about containers with this name, image, programs and so on.
func documents(t *testing.T, name string) map[string]string {
	t.Helper()
	p := reporttest.HostileProfile(name)
	comparison, err := compare.Profiles(profile.New(), p, compare.Options{})
	if err != nil {
		t.Fatal(err)
	}
	rules := policy.Policy{Path: name, Unmatched: policy.Fail, Rules: []policy.Rule{{Name: name, Complete: true, Proved: true, Line: 1}}}
	result := policy.Check(p, rules, &comparison)
	result.Missing, result.Idle = []string{name}, []string{name}
	list := capability.Of(capability.Chown)
	audited := audit.Audit{Containers: []*audit.ContainerResult{{
		ID: name, Name: name, Image: name, ImageID: name, User: name, Status: findings.Fail, Grants: audit.Grants{Set: &list, Error: name},
		Observation: &audit.Observation{Used: list, List: list, Doubts: []string{name}}, Reasons: []string{name}, Hints: []string{name},
		Remedy:  audit.Remedy{List: &list, Run: []string{name}, Untranslated: []string{name}, Notes: []string{name}},
		Related: []audit.Related{{Rule: "CIS-5.5", Status: findings.Fail, Text: name}},
	}}}
	written := make(map[string]string)
	for command, write := range map[string]func(io.Writer) error{
		"report": func(out io.Writer) error {
			return report.Write(out, io.Discard, p, report.Markdown, report.Options{All: true})
		},
		"diff": func(out io.Writer) error {
			return report.WriteComparison(out, comparison, report.Markdown, report.Options{All: true})
		},
		"check": func(out io.Writer) error {
			return report.WriteCheck(out, result, report.Markdown, report.Options{All: true}, "1.0", reporttest.Saturday)
		},
		"verify": func(out io.Writer) error {
			return report.WriteProof(out, reporttest.HostileProof(name), report.Markdown, report.Options{})
		},
		"audit": func(out io.Writer) error { return audit.Write(out, audited, audit.Markdown, "1.0", audit.View{}) },
	} {
		var out strings.Builder
		if err := write(&out); err != nil {
			t.Fatal(err)
		}
		written[command] = out.String()
	}
	return written
}
