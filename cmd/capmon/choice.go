package main

import (
	"errors"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/capmon/capmon/internal/printable"
)

// choice is the value of a flag that accepts only the words in of. Another word is a usage error of every command.
type choice struct {
	value string
	of    []string
}

// Set accepts the words in upper or lower case.
func (c *choice) Set(value string) error {
	value = strings.ToLower(value)
	if !slices.Contains(c.of, value) {
		return errors.New("choose " + c.list())
	}
	c.value = value
	return nil
}

func (c *choice) String() string { return c.value }

// Type is the type of the value in the help.
func (c *choice) Type() string { return "string" }

// registerOutput adds --output with its formats. The first format is the default.
func registerOutput[F ~string](flags *pflag.FlagSet, format *choice, formats ...F) {
	*format = choice{value: string(formats[0])}
	for _, f := range formats {
		format.of = append(format.of, string(f))
	}
	flags.VarP(format, "output", "o", "`FORMAT` of the output: "+format.list())
}

// list returns the words for a sentence.
func (c *choice) list() string { return printable.Choice(c.of) }
