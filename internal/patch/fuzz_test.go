package patch

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/capmon/capmon/capability"
)

// Any file must give a result or an error, and patching the result again must change nothing.
func FuzzPatch(f *testing.F) {
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		for i, file := range txtar.Parse(data).Files {
			f.Add(file.Data, uint64(i*0x2041))
		}
	}
	for _, text := range []string{"", "services:", "services:\n web:\n  cap_add:\n  - ", "services: {web: {}}", "\ufeffservices:\r web:\u2028  image: a\r", "[Container]\\\n"} {
		f.Add([]byte(text), uint64(1))
	}
	f.Fuzz(func(t *testing.T, text []byte, bits uint64) {
		setting := []Setting{{Name: "web", Needs: capability.Set(bits).Intersect(capability.Known(capability.CheckpointRestore))}}
		for _, kind := range Kinds() {
			after, _, err := kind.change(bytes.Clone(text), setting)
			if err != nil {
				continue
			}
			if again, _, err := kind.change(bytes.Clone(after), setting); err != nil || !bytes.Equal(again, after) {
				t.Errorf("%s, a second time: %v\n%q\n%q\n%q", kind.Target, err, text, after, again)
			}
		}
	})
}
