package soak

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/capmon/capmon/internal/testutil"
	"github.com/capmon/capmon/internal/testutil/testlock"
	"github.com/capmon/capmon/internal/testutil/testpins"
)

// binary is the path of the capmon to test.
var binary string

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

func runTests(m *testing.M) int {
	missing := errors.Join(testutil.Root(), testutil.DockerWithImage())
	if missing == nil {
		directory, err := os.MkdirTemp("", "soak-test-")
		if err == nil {
			defer os.RemoveAll(directory)
			binary = filepath.Join(directory, "capmon")
			err = errors.Join(testpins.RemoveStale(), testlock.NoLosses(), testutil.Build(binary, "../../cmd/capmon"))
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return testutil.RunOrSkip(m, missing)
}
