package main

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/capmon/capmon/capability"
)

// The kernel lets a process inspect another process without a check if the first holds all capabilities that the other
// is permitted. The list must be sufficient for this.
func TestListAllowsInspectingOtherProcesses(t *testing.T) {
	t.Parallel()
	mustExecute(t, "docker", "run", "-d", "--name", "looked-into", "bb", "sleep", "100000")
	mustExecute(t, "docker", "run", "-d", "--name", "looked-into-few", "--cap-drop=ALL", "--cap-add=CHOWN", "bb", "sleep", "100000")
	t.Cleanup(func() { execute(t, "docker", "rm", "-f", "looked-into", "looked-into-few") })
	few := strings.TrimSpace(mustExecute(t, "docker", "inspect", "--format", "{{.State.Pid}}", "looked-into-few"))
	for name, test := range map[string]struct {
		command string
		into    string
		options []string
		want    []string
		note    string
	}{
		"look-environ":  {"cat /proc/1/environ", "container:looked-into", nil, capabilities(capability.DockerDefault()), "SYS_PTRACE would be enough instead"},
		"look-few":      {"readlink /proc/1/exe", "container:looked-into-few", nil, []string{"CHOWN"}, "CHOWN is on the list, but may not be needed"},
		"look-needed":   {"chown 5 /tmp; readlink /proc/1/exe", "container:looked-into-few", nil, []string{"CHOWN"}, ""},
		"look-ptrace":   {"readlink /proc/1/exe", "container:looked-into", []string{"--cap-add=SYS_PTRACE"}, []string{"SYS_PTRACE"}, "SYS_PTRACE is on the list, but may not be needed"},
		"look-renice":   {"renice 5 1", "container:looked-into-few", nil, []string{"CHOWN"}, "SYS_NICE would be enough instead"},
		"look-sys-nice": {"renice 5 1", "container:looked-into", []string{"--cap-add=SYS_NICE"}, []string{"SYS_NICE"}, "SYS_NICE is on the list, but may not be needed"},
		"look-host":     {"readlink /proc/" + few + "/exe", "host", nil, []string{"CHOWN"}, "CHOWN is on the list, but may not be needed"},
		"look-ps":       {"ps", "container:looked-into", nil, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "profile.json")
			run := []string{"docker", "run", "--rm", "--pid=" + test.into}
			command := []string{"bb", "sh", "-ec", test.command}
			r := execute(t, slices.Concat([]string{binary, "profile", "--save", file, "--"}, run, []string{"--name", name}, test.options, command)...)
			if r.code != 0 || !strings.Contains(r.stdout, test.note) || !strings.Contains(r.stdout, "shares its PID namespace") {
				t.Errorf("%+v", r)
			}
			list := strings.Fields(flagsOf(t, file))
			want := []string{"--cap-drop=ALL"}
			for _, c := range test.want {
				want = append(want, "--cap-add="+c)
			}
			if !slices.Equal(list, want) {
				t.Fatalf("got %v, want %v", list, want)
			}
			mustExecute(t, slices.Concat(run, list, command)...)
			if len(list) > 1 && execute(t, slices.Concat(run, list[:len(list)-1], command)...).code == 0 {
				t.Error("the command works with fewer capabilities")
			}
		})
	}
}

func capabilities(set capability.Set) (names []string) {
	for _, c := range set.Sorted() {
		names = append(names, c.String())
	}
	return names
}
