package patch

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/capmon/capmon/capability"
)

func TestSystemd(t *testing.T) {
	t.Parallel()
	web := capability.Of(capability.NetBindService, capability.Setuid)
	const list = "CapabilityBoundingSet=\nCapabilityBoundingSet=CAP_NET_BIND_SERVICE CAP_SETUID\n"
	for name, test := range map[string]struct {
		before         string
		needs, ambient capability.Set
		after          string
	}{
		"a new drop-in":           {"", web, 0, "[Service]\n" + list},
		"nothing is needed":       {"", 0, 0, "[Service]\nCapabilityBoundingSet=\n"},
		"a section is there":      {"[Service]\nUser=web\n", web, 0, "[Service]\n" + list + "User=web\n"},
		"no section is there":     {"[Unit]\nAfter=a.service", web, 0, "[Unit]\nAfter=a.service\n\n[Service]\n" + strings.TrimSuffix(list, "\n")},
		"an earlier list":         {"[Service]\nCapabilityBoundingSet=CAP_CHOWN\nUser=web\nCapabilityBoundingSet=~CAP_KILL\n", web, 0, "[Service]\n" + list + "User=web\n"},
		"the same list":           {"[Service]\nUser=web\n" + list, web, 0, "[Service]\nUser=web\n" + list},
		"the unit's ambient set":  {"", web, capability.Of(capability.Setuid, capability.Kill), "[Service]\n" + list + "AmbientCapabilities=\nAmbientCapabilities=CAP_SETUID\n"},
		"the file's ambient set":  {"[Service]\nAmbientCapabilities=CAP_KILL cap_net_bind_service\n", web, 0, "[Service]\n" + list + "AmbientCapabilities=\nAmbientCapabilities=CAP_NET_BIND_SERVICE\n"},
		"the ambient set is gone": {"[Service]\nAmbientCapabilities=CAP_KILL\n", 0, 0, "[Service]\nCapabilityBoundingSet=\nAmbientCapabilities=\n"},
		"other line ends":         {"[Service]\r\nUser=web\r\n", 0, 0, "[Service]\r\nCapabilityBoundingSet=\r\nUser=web\r\n"},
		"continued lines":         {"[Service]\nCapabilityBoundingSet=CAP_CHOWN \\\n  CAP_KILL\nUser=web\n", 0, 0, "[Service]\nCapabilityBoundingSet=\nUser=web\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			after, err := Systemd([]byte(test.before), test.needs, test.ambient)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.after, string(after)); diff != "" {
				t.Error(diff)
			}
			again, err := Systemd(after, test.needs, test.ambient)
			if err != nil || string(again) != string(after) {
				t.Errorf("the second time: %v\n%s", err, again)
			}
		})
	}
}

func TestSystemdRejectsWhatItCannotChange(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"[Container]\nImage=bb\n":                       "no section [Service]",
		"[Service]\nAmbientCapabilities=~CAP_SYS_ADMIN": "line 2",
	} {
		if _, err := Systemd([]byte(text), 0, 0); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, wanted %q", text, err, want)
		}
	}
}
