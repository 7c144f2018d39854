package settings_test

import (
	"context"
	"testing"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"

	"github.com/capmon/capmon/capability"
)

// readCompose reads the text as Compose does, as an override of a file that has the images.
func readCompose(t *testing.T, text string) map[string]capability.Set {
	// Each service needs an image, which the settings do not have.
	files := []types.ConfigFile{{Filename: "capmon.yaml", Content: []byte(text)}}
	project, err := loader.LoadWithContext(context.Background(), types.ConfigDetails{ConfigFiles: files, Environment: types.Mapping{}},
		func(o *loader.Options) {
			o.SetProjectName("app", true)
			o.SkipConsistencyCheck = true
		})
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	all := make(map[string]capability.Set)
	for name, service := range project.Services {
		all[name] = granted(t, service.CapAdd, service.CapDrop)
	}
	return all
}
