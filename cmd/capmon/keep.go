package main

import (
	"fmt"

	"github.com/spf13/pflag"

	"github.com/capmon/capmon/internal/container"
)

// keeping holds the flag that says which labels keep their values.
type keeping struct {
	patterns []string
	labels   container.KeptLabels
}

func (k *keeping) register(flags *pflag.FlagSet) {
	flags.StringArrayVar(&k.patterns, "keep-label", nil,
		"store and show the values of labels whose keys match this pattern; values of others are left out, but for names of services and pods; may be repeated")
}

// check validates the patterns.
func (k *keeping) check() (err error) {
	if k.labels, err = container.NewKeptLabels(k.patterns); err != nil {
		return fmt.Errorf("--keep-label: %w", err)
	}
	return nil
}
