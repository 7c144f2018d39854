package overview

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/capmon/capmon/capability"
	"github.com/capmon/capmon/internal/markdown"
	"github.com/capmon/capmon/internal/testutil"
)

func TestMarkdown(t *testing.T) {
	testutil.Golden(t, filepath.Join("testdata", "table.md"), []byte(Markdown(some())), *update)
}

// The gravest rows are kept, and the totals count all containers.
func TestMarkdownLeavesOutTheLastRows(t *testing.T) {
	var rows []Row
	for i := range 2000 {
		rows = append(rows, row(Unused, fmt.Sprintf("%s-%d", strings.Repeat("|", 1000), i), "image", capability.DockerDefault(), capability.Of(capability.Chown)))
	}
	rows = append(rows, row(Unused, "gravest", "image", capability.Known(capability.CheckpointRestore), 0))
	got := Markdown(New(rows))
	if len(got) > markdown.Limit/2 || !strings.HasPrefix(got, "- 2001 containers: 2001 unused\n") || !strings.Contains(got, "| --- |\n| UNUSED | `gravest` |") || !strings.Contains(got, " of 2001 rows.**") {
		t.Errorf("%d bytes: %.2000s", len(got), got)
	}
}
