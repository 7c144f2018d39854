package main

import (
	"strings"
	"testing"

	"github.com/capmon/capmon/internal/capability"
)

func TestUsesThatDifferAreNamed(t *testing.T) {
	one := use{Capability: capability.Chown, Site: "chown_common", Count: 3}
	other := one
	other.Site = "setattr_prepare"
	if got := differing([]use{one, other}, []use{other, one}); got != "" {
		t.Errorf("the same in another order differs: %s", got)
	}
	got := differing([]use{one}, []use{other})
	if !strings.Contains(got, "from memory: {Capability:CHOWN") || !strings.Contains(got, "from walks: {Capability:CHOWN") {
		t.Errorf("got %q", got)
	}
	if differing([]use{one, one}, []use{one}) == "" {
		t.Error("one that is there twice is not missed")
	}
}
