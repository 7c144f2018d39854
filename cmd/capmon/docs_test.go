package main

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"mvdan.cc/sh/v3/syntax"

	"github.com/capmon/capmon/internal/testutil"
)

// repository is the root directory of the repository.
const repository = "../.."

// commands returns a command and all commands below it, except hidden ones.
func commands(cmd *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{cmd}
	for _, sub := range cmd.Commands() {
		if !sub.Hidden && sub.Name() != "completion" && sub.Name() != "help" {
			all = append(all, commands(sub)...)
		}
	}
	return all
}

func TestEveryCommandAndFlagIsDocumented(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	for path, document := range testutil.Documents(t, repository) {
		if strings.HasSuffix(path, ".md") {
			text.WriteString(document)
		}
	}
	has := func(words string) bool {
		return regexp.MustCompile(regexp.QuoteMeta(words) + `\b`).MatchString(text.String())
	}
	for _, cmd := range commands(newRoot()) {
		if !has(cmd.CommandPath()) {
			t.Errorf("neither README.md nor docs/ has %s", cmd.CommandPath())
		}
		cmd.LocalFlags().VisitAll(func(flag *pflag.Flag) {
			if !flag.Hidden && flag.Name != "help" && !has("--"+flag.Name) && (flag.Shorthand == "" || !has("-"+flag.Shorthand)) {
				t.Errorf("neither README.md nor docs/ has --%s of %s", flag.Name, cmd.CommandPath())
			}
		})
	}
}

func TestEveryCommandRejectsUnknownLogFlags(t *testing.T) {
	t.Parallel()
	for _, cmd := range commands(newRoot()) {
		for flag, want := range map[string]string{
			"--log-level=loud": "choose debug, info, warn or error; see ", "--log-format=xml": "choose console or json; see ",
		} {
			root := newRoot()
			root.SetArgs(append(strings.Fields(cmd.CommandPath())[1:], flag))
			if err := root.Execute(); err == nil || !strings.Contains(err.Error(), want+cmd.CommandPath()+" --help") {
				t.Errorf("%s %s: %v", cmd.CommandPath(), flag, err)
			}
		}
	}
}

// Every capmon command line in the docs parses.
func TestEveryCommandLineInTheDocsParses(t *testing.T) {
	t.Parallel()
	seen := 0
	for path, document := range testutil.Documents(t, repository) {
		for _, script := range scriptsIn(t, path, document) {
			for _, words := range capmonsIn(script) {
				seen++
				if err := parses(words, script.whole); err != nil {
					t.Errorf("%s: %s: %v", path, strings.Join(words, " "), err)
				}
			}
		}
	}
	for _, cmd := range commands(newRoot()) {
		for _, words := range capmonsIn(script{cmd.Example, true}) {
			seen++
			if err := parses(words, true); err != nil {
				t.Errorf("the example of %s: %s: %v", cmd.CommandPath(), strings.Join(words, " "), err)
			}
		}
	}
	if seen < 50 {
		t.Errorf("only %d command lines were found", seen)
	}
}

// script is text for a shell. A whole script can be typed unchanged, others leave out arguments.
type script struct {
	text  string
	whole bool
}

var (
	indented = regexp.MustCompile(`(?m)^(?: {4}|\t)(.*)$`)
	inline   = regexp.MustCompile("`([^`\n]+)`")
)

// scriptsIn returns the shell scripts of a document: blocks and inline code in Markdown, the strings in YAML.
func scriptsIn(t *testing.T, path, document string) (scripts []script) {
	t.Helper()
	if strings.HasSuffix(path, ".yaml") {
		var value any
		if err := yaml.Unmarshal([]byte(document), &value); err != nil {
			t.Fatal(err)
		}
		for _, text := range stringsIn(value) {
			scripts = append(scripts, script{text, true})
		}
		return scripts
	}
	for _, match := range testutil.Fenced.FindAllStringSubmatch(document, -1) {
		for line := range strings.Lines(match[1]) { // in a transcript, typed text follows a $
			if typed, ok := strings.CutPrefix(line, "$ "); ok {
				scripts = append(scripts, script{typed, true})
			} else if strings.HasPrefix(line, "capmon ") || strings.HasPrefix(line, "sudo capmon ") {
				scripts = append(scripts, script{line, true})
			}
		}
	}
	document = testutil.Fenced.ReplaceAllString(document, "")
	for _, match := range indented.FindAllStringSubmatch(document, -1) {
		scripts = append(scripts, script{match[1], true})
	}
	for _, match := range inline.FindAllStringSubmatch(indented.ReplaceAllString(document, ""), -1) {
		scripts = append(scripts, script{strings.NewReplacer("[", "", "]", "", "…", "", "...", "", "|", "").Replace(match[1]), false})
	}
	return scripts
}

func stringsIn(value any) (all []string) {
	switch value := value.(type) {
	case string:
		all = append(all, value)
	case []any:
		for _, element := range value {
			all = append(all, stringsIn(element)...)
		}
	case map[string]any:
		for _, element := range value {
			all = append(all, stringsIn(element)...)
		}
	}
	return all
}

// capmonsIn returns the command lines in a script whose command is capmon, with or without sudo. A text that is not a
// shell script has none.
func capmonsIn(s script) (lines [][]string) {
	file, err := syntax.NewParser().Parse(strings.NewReader(s.text), "")
	if err != nil {
		return nil
	}
	syntax.Walk(file, func(node syntax.Node) bool {
		call, ok := node.(*syntax.CallExpr)
		if !ok {
			return true
		}
		words := make([]string, len(call.Args))
		for i, word := range call.Args {
			words[i] = literal(word)
		}
		if at := slices.IndexFunc(words, func(word string) bool { return word != "sudo" && !strings.HasPrefix(word, "-") }); at >= 0 && words[at] == "capmon" && len(words) > at+1 {
			lines = append(lines, words[at:])
		}
		return true
	})
	return lines
}

// literal returns the text of a word, with X for the parts that only a shell can expand.
func literal(word *syntax.Word) string {
	var text strings.Builder
	for _, part := range word.Parts {
		switch part := part.(type) {
		case *syntax.Lit:
			text.WriteString(part.Value)
		case *syntax.SglQuoted:
			text.WriteString(part.Value)
		case *syntax.DblQuoted:
			text.WriteString(literal(&syntax.Word{Parts: part.Parts}))
		default:
			text.WriteString("X")
		}
	}
	return text.String()
}

// parses returns an error if a capmon command line is wrong. If the line is whole, parses also validates the number of
// its arguments.
func parses(words []string, whole bool) error {
	root := newRoot()
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	cmd, rest, err := root.Find(words[1:])
	if err != nil {
		return err
	}
	if !whole && len(rest) > 0 && strings.HasPrefix(rest[len(rest)-1], "-") && cmd.Flags().Lookup(strings.TrimLeft(rest[len(rest)-1], "-")) != nil {
		return nil // the name of a flag, without its value
	}
	cmd.InitDefaultHelpFlag()
	root.InitDefaultVersionFlag()
	if err := cmd.ParseFlags(rest); err != nil {
		return err
	}
	if !whole && cmd != root {
		return nil
	}
	return cmd.ValidateArgs(cmd.Flags().Args())
}
