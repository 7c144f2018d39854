package settings_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/capmon/capmon/capability"
)

// readOptions reads options as docker and podman do.
func readOptions(t *testing.T, words []string) (add, drop, args []string) {
	t.Helper()
	flags := pflag.NewFlagSet("run", pflag.ContinueOnError)
	flags.StringArrayVar(&add, "cap-add", nil, "")
	flags.StringArrayVar(&drop, "cap-drop", nil, "")
	if err := flags.Parse(words); err != nil {
		t.Error(err)
	}
	return add, drop, flags.Args()
}

// readEach reads lines that begin with a label if there are several. No label contains ": ".
func readEach(text string, read func(line string) capability.Set) map[string]capability.Set {
	all := make(map[string]capability.Set)
	each := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for _, line := range each {
		label := ""
		if len(each) > 1 {
			end := strings.Index(line, ": --")
			if strings.Contains(line, "docker service update") {
				end = strings.LastIndex(line, ": docker service update")
			} else if strings.HasPrefix(line, `"`) {
				end = strings.LastIndex(line, `": --`) + 1
			}
			if end <= 0 && strings.HasSuffix(line, ": ") {
				end = len(line) - len(": ")
			}
			label, line = line[:end], line[end+len(": "):]
		}
		all[label] = read(line)
	}
	return all
}

func readDockerLines(t *testing.T, text string) map[string]capability.Set {
	return readEach(text, func(line string) capability.Set {
		add, drop, args := readOptions(t, strings.Fields(line))
		if len(args) > 0 {
			t.Errorf("%s: more than options: %q", line, args)
		}
		return granted(t, add, drop)
	})
}

// podmanDefault returns podman's default_capabilities (containers.conf(5) of containers-common).
func podmanDefault() capability.Set {
	return capability.DockerDefault().Minus(capability.Of(capability.AuditWrite, capability.Mknod, capability.NetRaw))
}

func readPodmanLines(t *testing.T, text string) map[string]capability.Set {
	return readEach(text, func(line string) capability.Set {
		add, drop, _ := readOptions(t, strings.Fields(line))
		if slices.Contains(drop, "ALL") {
			return granted(t, add, drop)
		}
		return podmanDefault().Minus(setOf(t, "", drop)).Union(setOf(t, "", add))
	})
}

// readServiceUpdate reads the command for a service that was given other capabilities before.
func readServiceUpdate(t *testing.T, text string) map[string]capability.Set {
	return readEach(text, func(line string) capability.Set {
		rest, ok := strings.CutPrefix(line, "docker service update ")
		add, drop, args := readOptions(t, strings.Fields(rest))
		if !ok || !slices.Equal(args, []string{"SERVICE"}) || !slices.Contains(add, "RESET") || !slices.Contains(drop, "RESET") {
			t.Errorf("%s: no update of a service that forgets what it was given", line)
		}
		isReset := func(name string) bool { return name == "RESET" }
		return granted(t, slices.DeleteFunc(add, isReset), slices.DeleteFunc(drop, isReset))
	})
}
