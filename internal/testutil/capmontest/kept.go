package capmontest

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/capmon/capmon/internal/testutil"
)

// Counts is the number of checks by capability.
type Counts map[string]uint64

// Add adds the checks of more.
func (c Counts) Add(more Counts) {
	for capability, n := range more {
		c[capability] += n
	}
}

// CheckCommands are commands that each make one check of one capability, with the beginning of the system call that
// identifies the check.
var CheckCommands = []struct{ Capability, Command, Call string }{
	{"SETUID", "setuid0", "setuid(0"},
	{"SETGID", "setgid0", "setgid(0"},
	{"NET_RAW", "rawsock", "socket("},
	{"CHOWN", "chown-open /own/file 5", "fchown"},
}

// OwnFileSystem is an option for a file system in a container where changing an owner makes exactly one check.
const OwnFileSystem = "--tmpfs=/own"

// Kept has the fields of a container in a report of a database that the tests read.
type Kept struct {
	ID, Name, Image, EngineError string
	Unconfirmed                  string
	Lost                         uint64
	Incomplete, Cautions         []string
	Implicit, Unwatched          []string
	Uses                         []struct {
		Capability, Class, Call string
		Count                   uint64
	}
}

// Counts returns the checks of [CheckCommands] that the report has.
func (k Kept) Counts() Counts {
	made := make(Counts)
	for _, use := range k.Uses {
		for _, one := range CheckCommands {
			if use.Class != "setup" && use.Class != "other-credential" && use.Capability == one.Capability && strings.HasPrefix(use.Call, one.Call) {
				made[one.Capability] += use.Count
			}
		}
	}
	return made
}

// KeptIn returns the containers in a database, as a capmon reports them, by their IDs. It ignores what no engine
// confirms: other tests forge cgroups with the IDs of containers.
func KeptIn(t *testing.T, binary, database string) map[string]Kept {
	t.Helper()
	var report struct{ Containers []Kept }
	out := testutil.MustExecute(t, binary, "report", "--db", database, "-o", "json")
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		t.Fatal(err)
	}
	all := make(map[string]Kept)
	for _, c := range report.Containers {
		if c.Unconfirmed != "" {
			continue
		}
		if other, twice := all[c.ID]; twice && c.Name == other.Name { // containers of other tests may be renamed in between
			t.Errorf("%s is twice in the report: %+v and %+v", c.ID, other, c)
		}
		all[c.ID] = c
	}
	return all
}
