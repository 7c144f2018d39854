package main

import (
	"github.com/spf13/pflag"

	"github.com/capmon/capmon/internal/waiver"
)

// registerWaivers adds --waivers.
func registerWaivers(flags *pflag.FlagSet, path *string) {
	flags.StringVar(path, "waivers", "", "accept the findings that the waivers in this `FILE` cover, until the waivers expire")
}

// loadWaivers reads the file of --waivers. It returns nil without the option.
func loadWaivers(path string) (file *waiver.File, err error) {
	if path == "" {
		return nil, nil
	}
	if file, err = waiver.Load(path); err != nil {
		return nil, inFile("waivers", err)
	}
	return file, nil
}
