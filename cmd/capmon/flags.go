package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/capmon/capmon/internal/patch"
	"github.com/capmon/capmon/internal/printable"
	"github.com/capmon/capmon/internal/report"
	"github.com/capmon/capmon/internal/settings"
)

// flagsFlags contains the flags of capmon flags.
type flagsFlags struct {
	input                    profileInput
	target, style, container string
	patch, service           string
	dryRun, anyStart         bool
}

func newFlags() *cobra.Command {
	f := &flagsFlags{}
	cmd := &cobra.Command{
		Use:   "flags [FILE...]",
		Short: "Print least-privilege settings, or write them into a file",
		Long: "flags prints least-privilege settings for each container: they grant the capabilities\n" +
			"that the container needs and no others. flags adds several files up. Without files, it\n" +
			"reads the database. If only --image selects containers, flags merges all containers of\n" +
			"an image into one.\n\nTargets (--for):\n" +
			targetList(),
		Example: `  docker run $(capmon flags app.json) app
  capmon flags app.json --for kubernetes
  capmon flags web.json --for compose --patch compose.yaml --dry-run
  docker run $(sudo capmon flags --image nginx:1.27) nginx:1.27`,
		RunE: func(cmd *cobra.Command, files []string) error { return f.run(cmd, files) },
	}
	flags := cmd.Flags()
	f.input.register(flags)
	f.input.registerImages(flags)
	flags.StringVar(&f.target, targetFlag, settings.Docker, "`TARGET`: the tool or file format to print settings for, see above; the default is podman, kubernetes or systemd if no workload comes from elsewhere")
	flags.StringVar(&f.style, "style", string(settings.Absolute), "`STYLE` of the settings: absolute drops all capabilities and adds the needed ones; delta changes what the target grants by default")
	flags.StringVar(&f.container, "container", "", "only the container with this `NAME`, service or ID; with --patch, NAME is also its name in the manifest")
	flags.StringVar(&f.patch, "patch", "", "write the settings into this `FILE`: a compose file, a Kubernetes manifest, a quadlet, or a unit of systemd or its drop-in (see --for)")
	flags.StringVar(&f.service, "service", "", "with --patch: the `SERVICE` in the compose file")
	flags.BoolVar(&f.anyStart, settings.EvenIfStartUnseen, false, "also print the lists of containers whose start capmon did not see: a container may fail to start with such a list")
	flags.BoolVar(&f.dryRun, "dry-run", false, "with --patch: only print the change")
	_ = cmd.RegisterFlagCompletionFunc(targetFlag, cobra.FixedCompletions(settings.TargetNames(), cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

const targetFlag = "for"

func targetList() string {
	var text strings.Builder
	for _, target := range settings.Targets() {
		fmt.Fprintf(&text, "  %-15s %s\n", target.Name, target.About)
	}
	return strings.TrimSuffix(text.String(), "\n")
}

func (f *flagsFlags) run(cmd *cobra.Command, files []string) error {
	target, err := settings.ParseTarget(f.target)
	if err != nil {
		return err
	}
	style, err := settings.ParseStyle(f.style)
	if err != nil {
		return err
	}
	kind, err := f.validate(style)
	if err != nil {
		return err
	}
	f.input.images = f.input.images || f.selectsImages()
	p, err := f.input.load(cmd, files)
	if err != nil {
		return err
	}
	all := settings.Containers(p)
	if len(all) == 0 {
		return errors.New("these profiles contain no container: did a container run while capmon recorded?")
	}
	if f.anyStart {
		settings.AcceptAnyStart(all)
	}
	if f.patch != "" {
		return f.patchFile(cmd, kind, all)
	}
	if f.container != "" {
		if all, err = containersCalled(all, f.container); err != nil {
			return err
		}
	}
	if !cmd.Flags().Changed(targetFlag) {
		if target, err = settings.ParseTarget(settings.DefaultTarget(all)); err != nil {
			return err
		}
	}
	text, notes, err := target.Settings(all, style)
	if err != nil {
		return err
	}
	printNotes(cmd, all)
	for _, note := range notes {
		fmt.Fprintf(cmd.ErrOrStderr(), "capmon: %s: %s\n", note.Label, note.Text)
	}
	if text == "" {
		return errors.New("there are no settings for any of these containers")
	}
	_, err = io.WriteString(cmd.OutOrStdout(), text)
	return err
}

// selectsImages reports whether the flags select images and not single containers.
func (f *flagsFlags) selectsImages() bool {
	selection := f.input.selection
	return len(selection.Images) > 0 && len(selection.Labels)+len(selection.ComposeServices) == 0 && f.container == "" && f.patch == ""
}

// validate validates the combination of flags. It returns the kind of the file for --patch; the zero kind without
// --patch.
func (f *flagsFlags) validate(style settings.Style) (patch.Kind, error) {
	if f.patch == "" {
		if f.service != "" || f.dryRun {
			return patch.Kind{}, errors.New("--service and --dry-run require --patch: name the file to write into")
		}
		return patch.Kind{}, nil
	}
	kind, err := patch.ParseKind(f.target)
	switch {
	case err != nil:
		return patch.Kind{}, err
	case style != settings.Absolute:
		return patch.Kind{}, errors.New("--patch writes complete lists: leave --style delta out")
	case f.service != "" && !kind.Services:
		return patch.Kind{}, fmt.Errorf("--service is for compose files: in a %s file, use --container", f.target)
	case f.service != "" && f.container != "":
		return patch.Kind{}, errors.New("--service and --container mean the same in a compose file: use one of them")
	}
	return kind, nil
}

// containersCalled returns the containers with a name. It returns an error if there are none.
func containersCalled(all []settings.LabeledContainer, name string) ([]settings.LabeledContainer, error) {
	var found []settings.LabeledContainer
	for _, c := range all {
		if c.HasName(name) {
			found = append(found, c)
		}
	}
	if len(found) == 0 {
		var labels []string
		for _, c := range all {
			labels = append(labels, c.Label)
		}
		return nil, fmt.Errorf("these profiles contain no container %q, but %s", name, abbreviate(nearest(name, labels)))
	}
	return found, nil
}

// printNotes prints the cautions about the lists, and the alternatives to capabilities.
func printNotes(cmd *cobra.Command, all []settings.LabeledContainer) {
	notes := cmd.ErrOrStderr()
	for _, c := range all {
		for _, text := range report.Cautions(c.Summary) {
			fmt.Fprintf(notes, "capmon: %s: %s\n", c.Label, text)
		}
		for _, text := range report.Alternatives(c.Summary) {
			fmt.Fprintf(optional(cmd, suggestionNote), "capmon: %s: %s\n", c.Label, text)
		}
		if text := c.Unavailable(); text != "" && c.Started {
			fmt.Fprintf(notes, "capmon: %s: %s\n", c.Label, text)
		}
	}
}

// patchFile prints the change of the file and, without --dry-run, writes it.
func (f *flagsFlags) patchFile(cmd *cobra.Command, kind patch.Kind, all []settings.LabeledContainer) error {
	before, err := patch.Read(f.patch)
	if errors.Is(err, os.ErrNotExist) && kind.MayBeNew {
		err = nil
	}
	if err != nil {
		return err
	}
	path := printable.Text(f.patch)
	result, err := kind.Patch(before, all, f.service+f.container)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	notes := cmd.ErrOrStderr()
	printNotes(cmd, result.Containers)
	for _, reason := range result.Skipped {
		fmt.Fprintf(notes, "capmon: %s: left out: %v\n", path, reason)
	}
	for _, note := range result.Notes {
		fmt.Fprintf(notes, "capmon: %s: %s\n", path, printable.Text(note))
	}
	change := patch.Diff(f.patch, before, result.Text)
	if len(change) == 0 {
		fmt.Fprintf(optional(cmd, unchangedNote), "capmon: %s already has these settings\n", path)
		return nil
	}
	if err := f.show(cmd, change); err != nil {
		return err
	}
	if f.dryRun {
		return nil
	}
	if err := patch.Replace(f.patch, result.Text); err != nil {
		return err
	}
	if kind.Target == settings.Systemd {
		fmt.Fprintln(optional(cmd, nextStepNote), "capmon: to apply the settings, run systemctl daemon-reload, and restart the unit")
	}
	return nil
}

// show prints a change. On a terminal, it escapes control characters.
func (f *flagsFlags) show(cmd *cobra.Command, change []byte) error {
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
