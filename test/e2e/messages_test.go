package e2e

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// messages verifies that each line on stderr is a JSON object with a message, and returns the messages.
func messages(t *testing.T, stderr string) (all []string) {
	t.Helper()
	for line := range strings.Lines(stderr) {
		var entry struct {
			Level, Msg string
			TS         float64
		}
		if err := json.Unmarshal([]byte(line), &entry); err != nil || entry.Level == "" || entry.Msg == "" || entry.TS == 0 || strings.HasPrefix(entry.Msg, prefix) {
			t.Errorf("not a message in JSON: %v: %q", err, line)
		}
		all = append(all, entry.Level+": "+entry.Msg)
	}
	return all
}

func TestEveryLineOnStderrIsJSON(t *testing.T) {
	t.Parallel()
	startSleeper(t, "in-json")
	directory := t.TempDir()
	saved, db := filepath.Join(directory, "saved.json"), filepath.Join(directory, "capmon.db")
	mustExecute(t, binary, "profile", "--for", "100ms", "--save", saved, "in-json")
	mustExecute(t, binary, "db", "import", "--db", db, saved)
	for line, test := range map[string]struct {
		code int
		want string
	}{
		"nope":                                  {exitUsage, `error: unknown command "nope"`},
		"--nope report":                         {exitUsage, "error: unknown flag: --nope"},
		"report --log-level loud":               {exitUsage, `error: invalid argument "loud"`},
		"report nope.json":                      {exitUsage, "error: "},
		"report -o flags " + saved:              {exitUsage, "error: "},
		"flags --even-if-start-unseen " + saved: {exitDone, "info: in-json: "},
		"merge " + saved:                        {exitDone, "info: "},
		"db alerts --db " + db:                  {exitDone, "info: no alert in "},
		"profile -- true":                       {exitUsage, "error: "},
		"watch nope":                            {exitUsage, "error: "},
		"profile --for 100ms --container nope":  {exitUsage, "error: no recorded container is selected"},
	} {
		args := strings.Fields(line)
		for _, command := range [][]string{
			slices.Concat([]string{binary, "--log-format", "json"}, args), slices.Concat([]string{binary}, args[:1], []string{"--log-format=json"}, args[1:]),
		} {
			r := execute(t, command...)
			all := messages(t, r.stderr)
			if r.code != test.code || !slices.ContainsFunc(all, func(m string) bool { return strings.HasPrefix(m, test.want) }) {
				t.Errorf("%s: exit code %d, %q, wanted %d and %q", command[1:], r.code, all, test.code, test.want)
			}
		}
	}
	l := watchLive(t, "--log-format", "json", "--rules", "builtin", "--container", "in-json")
	r := l.interrupt()
	all := messages(t, r.stderr)
	for _, want := range []string{"info: watching; press Ctrl-C to stop", "info: 0 uses in 0 containers, nothing lost", "info: 0 alerts"} {
		if !slices.ContainsFunc(all, func(m string) bool { return strings.HasPrefix(m, want) }) {
			t.Errorf("watch: %q, wanted %q", all, want)
		}
	}
	r = execute(t, binary, "--log-format=json", "profile", "-o", "flags", "--", "sh", "-c", "echo from the command >&2")
	if !strings.HasPrefix(r.stderr, "from the command\n") {
		t.Errorf("the output of the command has changed: %q", r.stderr)
	}
	messages(t, strings.TrimPrefix(r.stderr, "from the command\n"))
}
