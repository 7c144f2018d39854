package alert

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/capmon/capmon/monitor"
)

// Databases and spools contain alerts of earlier versions.
func TestFormerNamesOfLossesAreRead(t *testing.T) {
	t.Parallel()
	want := monitor.Losses{Checks: 1, CgroupTooDeep: 2, NoCallSite: 3, WrongCachedSites: 4, AnswerMismatches: 5, TaskStates: 6}
	for _, names := range [][]any{
		{"Checks", "TooDeep", "NoSite", "Chains", "Verdicts", "TaskStates"},
		{"Checks", "CgroupTooDeep", "NoCallSite", "WrongCachedSites", "AnswerMismatches", "TaskStates"},
		{"checks", "cgroupTooDeep", "noCallSite", "wrongCachedSites", "answerMismatches", "taskStates"},
	} {
		losses := fmt.Sprintf(`{"%s":1,"%s":2,"%s":3,"%s":4,"%s":5,"%s":6}`, names...)
		var loss Loss
		if err := json.Unmarshal([]byte(`{"lost":`+losses+`,"total":`+losses+`}`), &loss); err != nil || loss.Lost != want || loss.Total != want {
			t.Errorf("%s: %+v, %v", losses, loss, err)
		}
	}
}

// Each name in JSON is the name of the field, but begins with a lower-case letter like all names in capmon's JSON.
func TestNamesOfLosses(t *testing.T) {
	t.Parallel()
	for field := range reflect.TypeFor[monitor.Losses]().Fields() {
		if got, want := field.Tag.Get("json"), strings.ToLower(field.Name[:1])+field.Name[1:]+",omitempty"; got != want {
			t.Errorf("%s has the tag %q, not %q", field.Name, got, want)
		}
	}
}
