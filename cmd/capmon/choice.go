package main

import (
	"errors"
	"slices"
	"strings"
)

// choice is the value of a flag that accepts some words only: another one ends every command before
// it begins.
type choice struct {
	value string
	of    []string
}

// Set accepts the words in any case.
func (c *choice) Set(value string) error {
	value = strings.ToLower(value)
	if !slices.Contains(c.of, value) {
		return errors.New("choose " + c.list())
	}
	c.value = value
	return nil
}

func (c *choice) String() string { return c.value }

// Type is what help calls the value.
func (c *choice) Type() string { return "string" }

// list is the words in a sentence.
func (c *choice) list() string {
	last := len(c.of) - 1
	return strings.Join(c.of[:last], ", ") + " or " + c.of[last]
}
