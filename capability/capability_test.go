package capability

import (
	"strings"
	"testing"

	"github.com/moby/sys/capability"
)

func TestParseReadsTheNameOfEveryCapability(t *testing.T) {
	for n := range limit {
		want := Capability(n)
		name := want.String()
		spellings := []string{name}
		if n < len(capability.ListKnown()) {
			spellings = append(spellings, strings.ToLower(name), "CAP_"+name, "cap_"+strings.ToLower(name), "Cap_"+name)
		}
		for _, s := range spellings {
			if c, err := Parse(s); err != nil || c != want {
				t.Errorf("Parse(%q) = %v, %v; want %v", s, c, err, want)
			}
		}
	}
}

func TestNamesAreThoseOfDocker(t *testing.T) {
	for c, want := range map[Capability]string{
		Chown: "CHOWN", NetRaw: "NET_RAW", SysTTYConfig: "SYS_TTY_CONFIG",
		CheckpointRestore: "CHECKPOINT_RESTORE", 41: "41", 63: "63",
	} {
		if got := c.String(); got != want {
			t.Errorf("Capability(%d) is called %s, want %s", uint8(c), got, want)
		}
	}
}

func TestErrorsForUnknownNamesSuggestTheNearest(t *testing.T) {
	for name, nearest := range map[string]string{
		"NET_RAWW": "NET_RAW", "cap_sysadmin": "SYS_ADMIN", "checkpoint_rstore": "CHECKPOINT_RESTORE",
		"": "", "64": "", "-1": "", "NET_RAW ": "NET_RAW", "CAP_CAP_CHOWN": "CHOWN", "CAP_13": "",
	} {
		c, err := Parse(name)
		if err == nil {
			t.Errorf("Parse(%q) = %v, want an error", name, c)
			continue
		}
		if !strings.HasSuffix(err.Error(), nearest) {
			t.Errorf("Parse(%q): %v; want it to suggest %s", name, err, nearest)
		}
	}
}
