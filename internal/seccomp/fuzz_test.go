package seccomp

import (
	"testing"

	"github.com/capmon/capmon/capability"
)

// FuzzParse: for any text, Parse returns an error, or a profile whose methods agree with each other. Users supply
// profiles.
func FuzzParse(f *testing.F) {
	builtin, err := Default("28.0.0")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(builtin.body, uint64(1<<capability.SysAdmin))
	f.Add(Unconfined, uint64(0))
	f.Add(`{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["bpf"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_BPF"]},"args":[{"index":0,"value":1,"valueTwo":2,"op":"SCMP_CMP_MASKED_EQ"}]}]}`, uint64(1<<capability.BPF))
	f.Add(`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"open","action":"SCMP_ACT_ERRNO","errnoRet":1,"args":[{"index":9,"op":"x"}]},null]}`, uint64(0))
	f.Add(`null`, uint64(0))
	f.Fuzz(func(t *testing.T, body string, granted uint64) {
		profile, err := Parse(body)
		if err != nil {
			return
		}
		set := capability.Set(granted) & capability.Known(capability.CheckpointRestore)
		calls, err := profile.Unlocked(set)
		if err != nil {
			return
		}
		unlocking, err := profile.Unlocking(set)
		if err == nil && (unlocking&^set) != 0 {
			t.Errorf("unlocked by %v, which are not granted", unlocking&^set)
		}
		for _, call := range calls {
			if call.Name == "" {
				t.Errorf("a call without a name: %+v", call)
			}
			_, _, _ = profile.Need(set, call.Name, [6]uint64{}, 0)
		}
	})
}
