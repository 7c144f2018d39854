package verify

import (
	"testing"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/classify"
	"github.com/capmon/capmon/internal/profile"
)

func TestDecidedByHost(t *testing.T) {
	denied := func(c capability.Capability, site string) profile.UsePattern {
		return profile.UsePattern{Capability: c, Class: classify.Denied, Site: site, User: 1000}
	}
	pipes, file := denied(capability.SysResource, "pipe_is_unprivileged_user"), denied(chown, "setattr_prepare")
	const doubt = "SYS_RESOURCE was denied in pipe_is_unprivileged_user, which depends on what else user 1000 does on the host"
	for name, test := range map[string]struct {
		trial  profile.Trial
		uses   []profile.UsePattern
		before capability.Set
		want   string
	}{
		"the list, newly denied":           {profile.Trial{Same: true}, []profile.UsePattern{pipes}, 0, doubt},
		"also denied before":               {profile.Trial{}, []profile.UsePattern{pipes}, capability.Of(capability.SysResource), ""},
		"another check was denied as well": {profile.Trial{}, []profile.UsePattern{pipes, file}, 0, ""},
		"nothing was denied":               {profile.Trial{}, nil, 0, ""},
		"without a member, fails":          {profile.Trial{Without: capability.Of(raw)}, []profile.UsePattern{pipes}, 0, doubt},
		"without a member, member denied":  {profile.Trial{Without: capability.Of(chown)}, []profile.UsePattern{pipes, file}, 0, ""},
		"without a member, works":          {profile.Trial{Same: true, Without: capability.Of(raw)}, []profile.UsePattern{pipes}, 0, ""},
		"without the checked capability":   {profile.Trial{Without: capability.Of(capability.SysResource)}, []profile.UsePattern{pipes}, 0, ""},
	} {
		a := attempt{Trial: test.trial}
		a.DeniedChecks = test.uses
		for _, use := range test.uses {
			a.Denied = a.Denied.With(use.Capability)
		}
		if got := decidedByHost(a, test.before); got != test.want {
			t.Errorf("%s: got %q", name, got)
		}
	}
}
