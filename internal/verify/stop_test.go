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
		want   stopConfig
	}{
		{container.Config{}, stopConfig{"SIGTERM", 10 * time.Second}},
		{container.Config{StopSignal: "SIGQUIT", StopTimeout: seconds(3)}, stopConfig{"SIGQUIT", 3 * time.Second}},
		{container.Config{StopTimeout: seconds(0)}, stopConfig{"SIGTERM", 0}},
		{container.Config{StopTimeout: seconds(-1)}, stopConfig{"SIGTERM", time.Minute}},
		{container.Config{StopTimeout: seconds(3600)}, stopConfig{"SIGTERM", time.Minute}},
	} {
		if got := stopConfigOf(&test.config); got != test.want {
			t.Errorf("%+v: got %+v, wanted %+v", test.config, got, test.want)
		}
	}
}

// The baseline of a service sets the expected outcome, with or without the end of the container.
func TestBaselineDecidesWhetherTheEndCounts(t *testing.T) {
	stopped, killed := containerEnd{words: "stopped"}, containerEnd{"was killed", true}
	failed := exited("test: ", 1)
	for name, test := range map[string]struct {
		results  []runResult
		original string // "" if that is an error
		same     bool
	}{
		"ends well":                  {[]runResult{{outcome: passed, ending: stopped}}, passed + "; stopped", true},
		"has to be killed":           {[]runResult{{outcome: passed, ending: killed}}, passed, true},
		"has to be killed sometimes": {[]runResult{{outcome: passed, ending: stopped}, {outcome: passed, ending: killed}}, passed, true},
		"ends in different ways":     {[]runResult{{outcome: passed, ending: stopped}, {outcome: passed, ending: containerEnd{words: "crashed"}}}, passed, true},
		"fails sometimes":            {[]runResult{{outcome: failed}, {outcome: passed, ending: stopped}}, passed + "; stopped", false},
		"fails":                      {[]runResult{{outcome: failed}}, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			trials := trials{executor: &executor{success: passed}}
			var a attempt
			for _, e := range test.results {
				a.add(e, "")
			}
			err := trials.expectPass(&a)
			if trials.original != test.original || (err != nil) != (test.original == "") {
				t.Errorf("got %q and %v, wanted %q", trials.original, err, test.original)
			}
			if a.Same != test.same || trials.executor.skipsStop != (test.original == passed) {
				t.Errorf("same: %v, skipsStop: %v", a.Same, trials.executor.skipsStop)
			}
		})
	}
}
