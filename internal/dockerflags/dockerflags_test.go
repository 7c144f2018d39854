package dockerflags

import (
	"strings"
	"testing"
	"testing/quick"

	"github.com/google/go-cmp/cmp"

	"github.com/capmon/capmon/capability"
)

func TestLine(t *testing.T) {
	for _, test := range []struct {
		needs capability.Set
		want  string
	}{
		{0, "--cap-drop=ALL"},
		{capability.Of(capability.NetRaw), "--cap-drop=ALL --cap-add=NET_RAW"},
		{capability.Of(capability.Setuid, capability.Chown), "--cap-drop=ALL --cap-add=CHOWN --cap-add=SETUID"},
	} {
		if diff := cmp.Diff(test.want, Line(test.needs)); diff != "" {
			t.Error(diff)
		}
	}
}

func TestOptionsGrantTheNeedsAndNothingElse(t *testing.T) {
	holds := func(bits uint64) bool {
		needs := capability.Set(bits).Intersect(capability.Known(capability.CheckpointRestore))
		var add, drop []string
		for _, flag := range Grant(needs) {
			if name, ok := strings.CutPrefix(flag, "--cap-add="); ok {
				add = append(add, name)
			} else if name, ok := strings.CutPrefix(flag, "--cap-drop="); ok {
				drop = append(drop, name)
			} else {
				return false
			}
		}
		granted, err := capability.Granted(add, drop, false, capability.CheckpointRestore)
		return err == nil && granted == needs
	}
	if err := quick.Check(holds, nil); err != nil {
		t.Error(err)
	}
}
