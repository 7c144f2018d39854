package main

import (
	"errors"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/capmon/capmon/internal/printable"
)

// choiceFlag is the value of a flag that accepts only the words in of. Another word is a usage error of every command.
type choiceFlag struct {
	value string
	of    []string
}

// Set accepts the words in upper or lower case.
func (c *choiceFlag) Set(value string) error {
	value = strings.ToLower(value)
	if !slices.Contains(c.of, value) {
		return errors.New("choose " + c.list())
	}
	c.value = value
	return nil
}

func (c *choiceFlag) String() string { return c.value }

// Type is the type of the value in the help.
func (c *choiceFlag) Type() string { return "string" }

// registerOutput adds --output with its formats. The first format is the default.
func registerOutput[F ~string](flags *pflag.FlagSet, format *choiceFlag, formats ...F) {
	*format = choiceFlag{value: string(formats[0])}
	for _, f := range formats {
		format.of = append(format.of, string(f))
	}
	flags.VarP(format, "output", "o", "`FORMAT` of the output: "+format.list())
}

// list returns the words for a sentence.
func (c *choiceFlag) list() string { return printable.Choice(c.of) }
