package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/capmon/capmon/internal/patch"
	"github.com/capmon/capmon/internal/printable"
	"github.com/capmon/capmon/internal/report"
	"github.com/capmon/capmon/internal/settings"
)

// flagsCommand holds the flags of capmon flags.
type flagsCommand struct {
	source                   source
	target, style, container string
	patch, service           string
	dryRun, anyStart         bool
}

func newFlags() *cobra.Command {
	s := &flagsCommand{}
	cmd := &cobra.Command{
		Use:   "flags [FILE...]",
		Short: "Print the settings that grant what profiles show, or write them into a file",
		Long: "Print the settings that grant each container what stored profiles show, and nothing else.\n" +
			"Several files add up; without any, all runs in the database do. With --image alone, all\n" +
			"containers of an image are taken as one.\n\nTargets (--for):\n" +
			targetList(),
		Example: `  docker run $(capmon flags app.json) app
  capmon flags app.json --for kubernetes
  capmon flags web.json --for compose --patch compose.yaml --dry-run
  docker run $(sudo capmon flags --image nginx:1.27) nginx:1.27`,
		RunE: func(cmd *cobra.Command, files []string) error { return s.run(cmd, files) },
	}
	flags := cmd.Flags()
	s.source.register(flags)
	s.source.registerImages(flags)
	flags.StringVar(&s.target, "for", "docker", "what the settings are for, see above")
	flags.StringVar(&s.style, "style", string(settings.Absolute), "absolute: drop everything and add; delta: change what the target grants by itself")
	flags.StringVar(&s.container, "container", "", "only the container of this name, service or ID; with --patch, also its name in the manifest")
	flags.StringVar(&s.patch, "patch", "", "write the settings into this file: a compose file, a Kubernetes manifest or a quadlet (--for)")
	flags.StringVar(&s.service, "service", "", "with --patch: the service of the compose file")
	flags.BoolVar(&s.anyStart, settings.EvenIfStartUnseen, false, "also print lists of containers that were already running when capmon began to watch: with such a list they may not start")
	flags.BoolVar(&s.dryRun, "dry-run", false, "with --patch: show the change, but do not make it")
	_ = cmd.RegisterFlagCompletionFunc("for", cobra.FixedCompletions(settings.TargetNames(), cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func targetList() string {
	var text strings.Builder
	for _, target := range settings.Targets() {
		fmt.Fprintf(&text, "  %-15s %s\n", target.Name, target.About)
	}
	return strings.TrimSuffix(text.String(), "\n")
}

func (s *flagsCommand) run(cmd *cobra.Command, files []string) error {
	target, err := settings.ParseTarget(s.target)
	if err != nil {
		return err
	}
	style, err := settings.ParseStyle(s.style)
	if err != nil {
		return err
	}
	kind, err := s.check(style)
	if err != nil {
		return err
	}
	s.source.images = s.source.images || s.ofImages()
	p, err := s.source.load(cmd, files)
	if err != nil {
		return err
	}
	all := settings.Containers(p)
	if len(all) == 0 {
		return errors.New("no container is in these profiles")
	}
	if s.anyStart {
		settings.TakeAnyStart(all)
	}
	if s.patch != "" {
		return s.patchFile(cmd, kind, all)
	}
	if s.container != "" {
		if all, err = called(all, s.container); err != nil {
			return err
		}
	}
	text, notes, err := target.Settings(all, style)
	if err != nil {
		return err
	}
	caution(cmd.ErrOrStderr(), all)
	for _, note := range notes {
		fmt.Fprintf(cmd.ErrOrStderr(), "capmon: %s: %s\n", note.Label, note.Text)
	}
	if text == "" {
		return errors.New("there are no settings for any of these containers")
	}
	_, err = io.WriteString(cmd.OutOrStdout(), text)
	return err
}

// ofImages reports whether images are asked for, and no containers of them.
func (s *flagsCommand) ofImages() bool {
	selection := s.source.selection
	return len(selection.Images) > 0 && len(selection.Labels)+len(selection.ComposeServices) == 0 && s.container == "" && s.patch == ""
}

// check finds fault with flags that do not go together. The kind of the file is empty if
// none is to be patched.
func (s *flagsCommand) check(style settings.Style) (patch.Kind, error) {
	if s.patch == "" {
		if s.service != "" || s.dryRun {
			return patch.Kind{}, errors.New("--service and --dry-run are for --patch: name the file to write into")
		}
		return patch.Kind{}, nil
	}
	kind, err := patch.ParseKind(s.target)
	switch {
	case err != nil:
		return patch.Kind{}, err
	case style != settings.Absolute:
		return patch.Kind{}, errors.New("--patch writes whole lists: leave --style delta out")
	case s.service != "" && !kind.Services:
		return patch.Kind{}, fmt.Errorf("--service is for compose files: what a %s file has is named with --container", s.target)
	case s.service != "" && s.container != "":
		return patch.Kind{}, errors.New("--service and --container mean the same in a compose file: give one of them")
	}
	return kind, nil
}

// called are the containers that a name may mean, at least one.
func called(all []settings.Container, name string) ([]settings.Container, error) {
	var found []settings.Container
	for _, c := range all {
		if c.IsCalled(name) {
			found = append(found, c)
		}
	}
	if len(found) == 0 {
		var labels []string
		for _, c := range all {
			labels = append(labels, c.Label)
		}
		return nil, fmt.Errorf("no container %q is in these profiles, but %s", name, some(nearest(name, labels)))
	}
	return found, nil
}

// caution says what to know before relying on the lists.
func caution(notes io.Writer, all []settings.Container) {
	for _, c := range all {
		for _, text := range slices.Concat(report.Cautions(c.Summary), report.Substitutes(c.Summary)) {
			fmt.Fprintf(notes, "capmon: %s: %s\n", c.Label, text)
		}
		if text := c.Withheld(); text != "" && c.Started {
			fmt.Fprintf(notes, "capmon: %s: %s\n", c.Label, text)
		}
	}
}

// patchFile shows the change of the file, and makes it.
func (s *flagsCommand) patchFile(cmd *cobra.Command, kind patch.Kind, all []settings.Container) error {
	before, err := patch.Read(s.patch)
	if err != nil {
		return err
	}
	path := printable.Text(s.patch)
	result, err := kind.Patch(before, all, s.service+s.container)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	notes := cmd.ErrOrStderr()
	caution(notes, result.Of)
	for _, reason := range result.Left {
		fmt.Fprintf(notes, "capmon: %s: left out: %v\n", path, reason)
	}
	for _, note := range result.Notes {
		fmt.Fprintf(notes, "capmon: %s: %s\n", path, printable.Text(note))
	}
	change := patch.Diff(s.patch, before, result.Text)
	if len(change) == 0 {
		fmt.Fprintf(notes, "capmon: %s grants just this already\n", path)
		return nil
	}
	if err := s.show(cmd, change); err != nil {
		return err
	}
	if s.dryRun {
		return nil
	}
	return patch.Replace(s.patch, result.Text)
}

// show prints a change: for programs as it is, on a terminal without what that would obey.
func (s *flagsCommand) show(cmd *cobra.Command, change []byte) error {
	text := string(change)
	if out := cmd.OutOrStdout(); out == os.Stdout && isTerminal(os.Stdout) {
		lines := strings.Split(text, "\n")
		for i, line := range lines {
			if strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsGraphic(r) && r != '\t' }) {
				lines[i] = printable.Text(line)
			}
		}
		text = strings.Join(lines, "\n")
	}
	_, err := io.WriteString(cmd.OutOrStdout(), text)
	return err
}
