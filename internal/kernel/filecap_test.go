package kernel

import (
	"encoding/hex"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/testutil"
)

func TestParseFileCapabilities(t *testing.T) {
	bind := capability.Of(capability.NetBindService)
	for _, test := range []struct {
		name, data string
		want       FileCapabilities
		bad        bool
	}{
		{"revision 1", "01000001" + "00040000" + "00000000", FileCapabilities{bind, 0, true}, false},
		{"revision 2", "00000002" + "00040000" + "00000000" + "00000000" + "00000000", FileCapabilities{bind, 0, false}, false},
		{"effective", "01000002" + "00040000" + "00000000" + "00000000" + "00000000", FileCapabilities{bind, 0, true}, false},
		{"high ones", "01000002" + "00000000" + "00040000" + "80000000" + "40000000", FileCapabilities{capability.Of(capability.BPF), bind.Union(capability.Of(capability.Perfmon)), true}, false},
		{"revision 3", "01000003" + "00040000" + "00000000" + "00000000" + "00000000" + "a0860100", FileCapabilities{bind, 0, true}, false},
		{"nothing", "", FileCapabilities{}, true},
		{"cut", "01000002" + "0004", FileCapabilities{}, true},
		{"too long", "01000001" + "00040000" + "00000000" + "00000000", FileCapabilities{}, true},
		{"revision 4", "01000004" + "00040000" + "00000000" + "00000000" + "00000000", FileCapabilities{}, true},
	} {
		data, err := hex.DecodeString(test.data)
		if err != nil {
			t.Fatal(err)
		}
		got, err := parseFileCapabilities(data)
		if got != test.want || (err != nil) != test.bad {
			t.Errorf("%s: got %+v, %v", test.name, got, err)
		}
	}
}

func TestReadFileCapabilitiesThatSetcapWrote(t *testing.T) {
	testutil.NeedRoot(t)
	dir := t.TempDir()
	program := filepath.Join(dir, "program")
	if err := os.WriteFile(program, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadFileCapabilities(program); got != (FileCapabilities{}) || err != nil {
		t.Errorf("without any: got %+v, %v", got, err)
	}
	if out, err := exec.Command("setcap", "cap_net_raw,cap_bpf=ep", program).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	want := FileCapabilities{Permitted: capability.Of(capability.NetRaw, capability.BPF), Effective: true}
	if got, err := ReadFileCapabilities(program); got != want || err != nil {
		t.Errorf("got %+v, %v", got, err)
	}
	file, err := OpenBelow(dir, "/program")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if got, stat, err := FileCapabilitiesOf(file); got != want || stat.Ctim.Nano() == 0 || err != nil {
		t.Errorf("below: got %+v, %v", got, err)
	}
}

// A layer of an image may contain any link.
func TestOpenBelowFollowsNoLinks(t *testing.T) {
	dir, layer := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "host"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for link, target := range map[string]string{"directory": dir, "file": filepath.Join(dir, "host"), "up": ".."} {
		if err := os.Symlink(target, filepath.Join(layer, link)); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{"/directory/host", "/file", "/up/x", "/../host"} {
		if file, err := OpenBelow(layer, path); err == nil {
			t.Errorf("%s: got %+v", path, file)
		}
	}
	if _, err := OpenBelow(layer, "/missing"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing: got %v", err)
	}
}
