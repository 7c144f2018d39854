package verify

import (
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
)

func TestStoppingOf(t *testing.T) {
	seconds := func(n int) *int { return &n }
	for _, test := range []struct {
		config container.Config
		want   stopping
	}{
		{container.Config{}, stopping{"SIGTERM", 10 * time.Second}},
		{container.Config{StopSignal: "SIGQUIT", StopTimeout: seconds(3)}, stopping{"SIGQUIT", 3 * time.Second}},
		{container.Config{StopTimeout: seconds(0)}, stopping{"SIGTERM", 0}},
		{container.Config{StopTimeout: seconds(-1)}, stopping{"SIGTERM", time.Minute}},
		{container.Config{StopTimeout: seconds(3600)}, stopping{"SIGTERM", time.Minute}},
	} {
		if got := stoppingOf(&test.config); got != test.want {
			t.Errorf("%+v: got %+v, wanted %+v", test.config, got, test.want)
		}
	}
}

// What the baseline of a service makes the outcome to compare with.
func TestTheBaselineSaysWhetherTheEndingCounts(t *testing.T) {
	stopped, killed := ending{words: "stopped"}, ending{"was killed", true}
	failed := exited("test: ", 1)
	for name, test := range map[string]struct {
		ended    []ended
		original string // "" if that is an error
		same     bool
	}{
		"ends well":                  {[]ended{{outcome: passed, ending: stopped}}, passed + "; stopped", true},
		"has to be killed":           {[]ended{{outcome: passed, ending: killed}}, passed, true},
		"has to be killed sometimes": {[]ended{{outcome: passed, ending: stopped}, {outcome: passed, ending: killed}}, passed, true},
		"ends now so and now so":     {[]ended{{outcome: passed, ending: stopped}, {outcome: passed, ending: ending{words: "crashed"}}}, passed, true},
		"fails sometimes":            {[]ended{{outcome: failed}, {outcome: passed, ending: stopped}}, passed + "; stopped", false},
		"fails":                      {[]ended{{outcome: failed}}, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			trials := trials{bench: &bench{success: passed}}
			var a attempt
			for _, e := range test.ended {
				a.note(e, "")
			}
			err := trials.expectPass(&a)
			if trials.original != test.original || (err != nil) != (test.original == "") {
				t.Errorf("got %q and %v, wanted %q", trials.original, err, test.original)
			}
			if a.Same != test.same || trials.bench.kills != (test.original == passed) {
				t.Errorf("same: %v, kills: %v", a.Same, trials.bench.kills)
			}
		})
	}
}
