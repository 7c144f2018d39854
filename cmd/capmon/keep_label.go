package main

import (
	"fmt"

	"github.com/spf13/pflag"

	"github.com/capmon/capmon/internal/container"
)

// labelFlags contains the flag --keep-label.
type labelFlags struct {
	patterns []string
	labels   container.KeptLabels
}

func (k *labelFlags) register(flags *pflag.FlagSet) {
	flags.StringArrayVar(&k.patterns, "keep-label", nil,
		"store and show the values of labels whose keys match this `PATTERN`; capmon leaves out the other values, except the names of services and pods; may be repeated")
}

// validate validates the patterns and sets labels.
func (k *labelFlags) validate() (err error) {
	if k.labels, err = container.NewKeptLabels(k.patterns); err != nil {
		return fmt.Errorf("--keep-label: %w", err)
	}
	return nil
}
