package e2e

import "testing"

func TestTimesAndFilesThatMakeNoSenseAreRejected(t *testing.T) {
	t.Parallel()
	for _, arguments := range [][]string{
		{"profile", "--for", "0s"}, {"profile", "--for=-1s"}, {"audit", "--for", "0s"},
	} {
		complains(t, arguments, "the time must be greater than 0")
	}
	complains(t, []string{"profile", "--for", "soon"}, "use a form such as 30s or 10m")
	complains(t, []string{"profile", "--save", "-", "--", "true"}, "- does not mean standard output here: name a file")
	complains(t, []string{"verify", "--save", "-", "--", "docker", "run", "bb"}, "- does not mean standard output here: name a file")
}
