package observe

import (
	"os"
	"testing"

	"github.com/capmon/capmon/internal/untrustedfs"
)

// The tests start helper processes, which are copies of this program.
func TestMain(m *testing.M) {
	untrustedfs.Main()
	os.Exit(m.Run())
}
