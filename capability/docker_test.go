package capability

import (
	"strings"
	"testing"
)

func TestGrantedReturnsWhatDockerGrants(t *testing.T) {
	const last = CheckpointRestore
	def, all := DockerDefault(), Known(last)
	if def.Len() != 14 {
		t.Fatalf("Docker grants 14 by default, not %d: %v", def.Len(), def)
	}
	for _, test := range []struct {
		name       string
		add, drop  string // separated by blanks
		privileged bool
		want       Set
	}{
		{name: "no settings", want: def},
		{name: "add", add: "NET_ADMIN", want: def.With(NetAdmin)},
		{name: "add a default capability", add: "NET_RAW CAP_NET_RAW", want: def},
		{name: "any case, with and without prefix", add: "net_admin cap_sys_time Cap_Sys_Nice", want: def.Union(Of(NetAdmin, SysTime, SysNice))},
		{name: "drop", drop: "NET_RAW", want: def.Without(NetRaw)},
		{name: "drop a capability that is not granted", drop: "SYS_ADMIN", want: def},
		{name: "add overrides drop", add: "NET_RAW", drop: "NET_RAW", want: def},
		{name: "drop all", drop: "ALL", want: 0},
		{name: "drop all, any case", drop: "all", want: 0},
		{name: "drop all, add", add: "CHOWN", drop: "ALL", want: Of(Chown)},
		{name: "drop all and one, add that one", add: "CHOWN", drop: "CHOWN ALL", want: Of(Chown)},
		{name: "add all", add: "all", want: all},
		{name: "add all, drop", add: "ALL", drop: "NET_RAW SYS_ADMIN", want: all.Minus(Of(NetRaw, SysAdmin))},
		{name: "add all and one, drop that one", add: "ALL NET_RAW", drop: "NET_RAW", want: all.Without(NetRaw)},
		{name: "add all, drop all", add: "ALL", drop: "ALL", want: all},
		{name: "add all, drop all and one", add: "ALL", drop: "ALL CHOWN", want: all.Without(Chown)},
		{name: "privileged", privileged: true, want: all},
		{name: "privileged overrides drop", drop: "ALL", privileged: true, want: all},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := Granted(strings.Fields(test.add), strings.Fields(test.drop), test.privileged, last)
			if err != nil || got != test.want {
				t.Errorf("got %v, %v; want %v", got, err, test.want)
			}
		})
	}
}

func TestAllEndsAtTheKernelsLastCapability(t *testing.T) {
	const last = AuditRead // Linux 3.16 to 5.7
	for _, privileged := range []bool{false, true} {
		got, err := Granted([]string{"ALL"}, nil, privileged, last)
		if err != nil || got != Known(AuditRead) || got.Has(BPF) {
			t.Errorf("privileged %v: got %v, %v", privileged, got, err)
		}
	}
}

func TestGrantedRejectsWhatDockerRejects(t *testing.T) {
	for _, test := range []struct{ name, want string }{
		{"NET_RAWW", "the nearest is NET_RAW"},
		{"13", "unknown"},
		{"CAP_ALL", "unknown"}, // the docker command changes it to ALL, the API does not
		{"BPF", "capability BPF is not supported by the kernel, whose last is AUDIT_READ"},
	} {
		for list, granted := range map[string]func() (Set, error){
			"added":   func() (Set, error) { return Granted([]string{test.name}, nil, false, AuditRead) },
			"dropped": func() (Set, error) { return Granted([]string{"ALL"}, []string{test.name}, false, AuditRead) },
		} {
			got, err := granted()
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), list) {
				t.Errorf("%s %s: got %v, %v; want an error with %q", list, test.name, got, err, test.want)
			}
		}
	}
}

func TestParseSetReadsNamesOfSets(t *testing.T) {
	for name, want := range map[string]Set{
		"NET_RAW": Of(NetRaw), "cap_chown": Of(Chown), "41": Of(41), "ALL": ^Set(0), "all": ^Set(0), "Default": DockerDefault(),
	} {
		if got, err := ParseSet(name); err != nil || got != want {
			t.Errorf("%s: got %v, %v", name, got, err)
		}
	}
	for _, name := range []string{"", "NET_ROW", "CAP_ALL", "ALL,CHOWN", "64"} {
		if got, err := ParseSet(name); err == nil || !got.Empty() {
			t.Errorf("%q: got %v, %v", name, got, err)
		}
	}
}
