package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/goccy/go-yaml/ast"
	"github.com/spf13/cobra"

	"github.com/capmon/capmon/internal/strictyaml"
)

// readConfig sets flags to the values in a YAML file, with one key for each flag. Flags on the command line take
// precedence. An error contains the line in the file.
func readConfig(cmd *cobra.Command, path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("--config: %w", err)
	}
	body, err := strictyaml.Parse(data, "a configuration", "names of flags with their values")
	if err == nil {
		err = setFlags(cmd, body)
	}
	if err != nil {
		return fmt.Errorf("--config: %w", strictyaml.Explain(path, err))
	}
	return nil
}

func setFlags(cmd *cobra.Command, body ast.Node) error {
	var pairs []*ast.MappingValueNode
	switch body := body.(type) {
	case *ast.MappingNode:
		pairs = body.Values
	case *ast.MappingValueNode:
		pairs = []*ast.MappingValueNode{body}
	default:
		return strictyaml.ErrorAt(body, "a configuration must have names of flags with their values, such as save-every: 1m")
	}
	given := make(map[string]bool)
	for _, pair := range pairs {
		name := pair.Key.GetToken().Value
		given[name] = cmd.Flags().Changed(name)
	}
	for _, pair := range pairs {
		name := pair.Key.GetToken().Value
		flag := cmd.Flags().Lookup(name)
		if flag == nil || flag.Hidden || name == "config" || name == "help" || name == "uninstall" {
			return strictyaml.ErrorAt(pair.Key, "unknown key %q: the keys are the names of the flags of %s without the dashes", name, cmd.CommandPath())
		}
		values, err := valuesOf(pair.Value)
		if err != nil {
			return err
		}
		if given[name] {
			continue
		}
		for _, value := range values {
			if err := cmd.Flags().Set(name, value); err != nil {
				return strictyaml.ErrorAt(pair.Value, "%s: %v", name, explainValue(err))
			}
		}
	}
	return nil
}

// valuesOf returns the values of a flag: one value, or a list for a flag that may be repeated.
func valuesOf(node ast.Node) (values []string, err error) {
	if sequence, ok := node.(*ast.SequenceNode); ok {
		err := strictyaml.ReadList(sequence, "", "expected a value of the flag", func(word string) error {
			values = append(values, word)
			return nil
		})
		return values, err
	}
	if _, scalar := node.(ast.ScalarNode); !scalar || node.Type() == ast.AliasType {
		return nil, strictyaml.ErrorAt(node, "expected the value of a flag")
	}
	if node.GetToken() == nil {
		return nil, errors.New("a value is missing")
	}
	return []string{node.GetToken().Value}, nil
}
