package monitor

import (
	"strings"
	"testing"
)

func TestExecutionPath(t *testing.T) {
	for _, test := range []struct {
		raw, want string
		cut       bool
	}{
		{"busybox\x00bin\x00\x00\x00", "/bin/busybox", false},
		{"memfd:x (deleted)\x00\x00", "/memfd:x (deleted)", false},
		{"\x00\x00", "/", false},
		{"true\x00" + strings.Repeat("d", 20), "/true", true},
		{strings.Repeat("d", 256), "/", true},
		{"a/b\x00c\x00\x00", "/c/a/b", false},
	} {
		if got, cut := joinPath([]byte(test.raw)); got != test.want || cut != test.cut {
			t.Errorf("%q: got %q, cut %v", test.raw, got, cut)
		}
	}
}

// An executed file is recorded with its own path, whatever name the program used.
func TestExecutedFilesAreRecorded(t *testing.T) {
	m := start(t, Options{})
	id := run(t, "bb", "sh", "-c", "ln -s /bin/probe /tmp/link; cd /tmp; ./link setuid0; /tmp/../bin/probe setuid0")
	var paths []string
	c := find(t, m, id)
	for _, execution := range c.Executions {
		paths = append(paths, execution.Path)
		if execution.Path == "/bin/probe" && (execution.Count != 2 || !execution.Overlay || execution.NoSuid || execution.Cut) {
			t.Errorf("got %+v", execution)
		}
	}
	for _, want := range []string{"/bin/busybox", "/bin/probe"} {
		if !strings.Contains(strings.Join(paths, "\n")+"\n", want+"\n") {
			t.Errorf("%s is not recorded: %v", want, paths)
		}
	}
}
