package main

import (
	"fmt"
	"os"

	"github.com/spf13/pflag"

	"github.com/capmon/capmon/internal/kernel"
	"github.com/capmon/capmon/monitor"
)

// recordingFlags contains the flags that profile, watch and serve share.
type recordingFlags struct {
	hook    string
	monitor monitor.Options
}

func (r *recordingFlags) register(flags *pflag.FlagSet) {
	flags.StringVar(&r.hook, "hook", "auto", "attach to the kernel with this `HOOK`: auto, fexit, tp_btf or kprobe")
	flags.Uint32Var(&r.monitor.MaxChecks, "max-checks", 0, "make room for `N` kinds of check in the kernel's maps (default 131072); a pattern of use is one kind of check or several")
	flags.Uint32Var(&r.monitor.MaxContainers, "max-containers", 0, "make room for `N` containers in the kernel's maps (default 4096)")
	flags.BoolVar(&r.monitor.Outcomes, "outcomes", true, "record how system calls end, to identify denials that did not matter; adds about 0.15 µs to every system call on the host")
	registerBTF(flags, &r.monitor)
}

// validate parses the hook.
func (r *recordingFlags) validate() (err error) {
	if r.monitor.Hook, err = monitor.ParseHook(r.hook); err != nil {
		return fmt.Errorf("--hook: %w", err)
	}
	return nil
}

// registerBTF adds the hidden flag --btf. With it, users can try capmon on a kernel without type information.
func registerBTF(flags *pflag.FlagSet, options *monitor.Options) {
	flags.StringVar(&options.BTF, "btf", "", "file with the kernel's type information (default "+kernel.BTFPath+")")
	_ = flags.MarkHidden("btf") // MarkHidden fails only if the flag does not exist
}

// registerFilter adds the flags that select containers while capmon records.
func registerFilter(flags *pflag.FlagSet, names, images, labels *[]string) {
	flags.StringArrayVar(names, "container", nil, "only containers whose name matches this `PATTERN`, or that have this ID; may be repeated")
	flags.StringArrayVar(images, "image", nil, "only containers whose image matches this `PATTERN`; may be repeated")
	flags.StringArrayVar(labels, "label", nil, "only containers with the label `KEY[=VALUE]`; may be repeated")
}

// registerReadyFile adds the hidden flag --ready-file.
func registerReadyFile(flags *pflag.FlagSet, path *string) {
	flags.StringVar(path, "ready-file", "", "create this file when the recording has begun")
	_ = flags.MarkHidden("ready-file")
}

// createReadyFile creates a file to signal that capmon records everything from now on. It does nothing if path is
// empty.
func createReadyFile(path string) error {
	if path == "" {
		return nil
	}
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		return fmt.Errorf("creating the ready file: %w", err)
	}
	return nil
}
