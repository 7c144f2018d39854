package settings

import (
	"testing"

	"github.com/capmon/capmon/internal/profile"
)

func TestPortsAreNamedWithTheirTransportIfItIsKnown(t *testing.T) {
	for want, bound := range map[string]profile.Lifted{
		"nginx bound port 80":          {Program: "nginx", Port: 80},
		"nginx bound TCP port 80":      {Program: "nginx", Port: 80, Transport: "TCP"},
		"nginx bound ports below 1024": {Program: "nginx"},
		`"a b" bound ports below 1024`: {Program: "a b"},
	} {
		if got := binds([]profile.Lifted{bound}); got != want {
			t.Errorf("got %q, wanted %q", got, want)
		}
	}
}
