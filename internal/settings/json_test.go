package settings

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/settings/settingstest"
)

func TestNotesForFargate(t *testing.T) {
	for needs, want := range map[capability.Set]map[Style]string{
		0:                                   {},
		capability.Of(capability.SysPtrace): {},
		capability.Of(capability.Chown):     {Absolute: "use --style delta, which only drops capabilities"},
		capability.Of(capability.NetAdmin):  {Absolute: "it cannot grant NET_ADMIN", Delta: "it cannot grant NET_ADMIN"},
		capability.Of(capability.BPF):       {Absolute: "ECS has no name for BPF", Delta: "ECS has no name for BPF"},
	} {
		for _, style := range []Style{Absolute, Delta} {
			_, notes, err := ecsTarget().Settings(Containers(profile.New(settingstest.Needing(1, "web", needs))), style)
			var texts []string
			for _, note := range notes {
				texts = append(texts, note.Text)
			}
			text := strings.Join(texts, "\n")
			if err != nil || (text == "") != (want[style] == "") || !strings.Contains(text, want[style]) {
				t.Errorf("%v %s: %v %q, wanted %q", needs, style, err, text, want[style])
			}
		}
	}
}

func TestJSONIsSafeForTerminals(t *testing.T) {
	text := asciiJSON(map[string]string{"\u009b31m\x7f<": "☕\U0001f600\u202e"})
	if want := `"\u009b31m\u007f<": "\u2615\ud83d\ude00\u202e"`; !strings.Contains(text, want) {
		t.Errorf("got %s, wanted %s", text, want)
	}
	var back map[string]string
	if err := json.Unmarshal([]byte(text), &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"\u009b31m\x7f<": "☕\U0001f600\u202e"}, back); diff != "" {
		t.Error(diff)
	}
}
