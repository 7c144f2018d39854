package untrustedfs

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/testutil"
)

// A container executed a program through links or scripts, and has ended. The links and scripts lead to the
// same files as in the container's root directory, and never out of that directory.
func TestProgramsOfEndedContainers(t *testing.T) {
	testutil.NeedRoot(t)
	upper, lower, outside := t.TempDir(), t.TempDir(), filepath.Join(t.TempDir(), "program")
	if err := errors.Join(
		os.Mkdir(filepath.Join(lower, "bin"), 0o755), os.WriteFile(filepath.Join(lower, "bin/program"), []byte("a program"), 0o755),
		os.WriteFile(outside, []byte("another one"), 0o755),
		os.WriteFile(filepath.Join(lower, "script"), []byte("#! /link -x\n"), 0o755),
		os.WriteFile(filepath.Join(lower, "script-of-itself"), []byte("#!/script-of-itself\n"), 0o755),
	); err != nil {
		t.Fatal(err)
	}
	command(t, "setcap", "cap_net_raw=ep", filepath.Join(lower, "bin/program"))
	command(t, "setcap", "cap_net_raw=ep", outside)
	for link, target := range map[string]string{
		"link": "bin/program", "bin/absolute": "/bin/program", "bin/relative": "program", "above": "../../../bin/program", "chain": "link", "directory": "./bin",
		"loop": "loop", "gone": "/bin/none", "out": outside, "replaced": "/bin/none",
	} {
		if err := os.Symlink(target, filepath.Join(lower, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("bin/program", filepath.Join(upper, "replaced")); err != nil {
		t.Fatal(err)
	}
	p := Path{EngineProc: "/proc/self", Inspected: true, Executed: true, Follow: true, Base: "/", Layers: []string{upper, lower}}
	for path, found := range map[string]bool{
		"/bin/program": true, "/link": true, "/bin/absolute": true, "/bin/relative": true, "/above": true, "/chain": true, "/directory/program": true, "/bin/../chain": true,
		"/replaced": true, "/script": true,
		"/loop": false, "/gone": false, "/out": false, "/directory/none": false, "/link/program": false, "/script-of-itself": false,
		strings.Repeat("/bin/..", maxNames) + "/link": false,
	} {
		p.Path = path
		walk, err := p.afterExit()
		switch {
		case err != nil && found:
			t.Errorf("%.40s: %v", path, err)
		case err == nil && !found:
			t.Errorf("%.40s leads to %+v", path, walk.Program)
		case found && (walk.Program.Path != "/bin/program" || walk.Program.Permitted != capability.Of(capability.NetRaw) || !walk.Program.Effective):
			t.Errorf("%.40s: %+v", path, walk.Program)
		}
	}
}
