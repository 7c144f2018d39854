package untrustedfs

import (
	"os"
	"testing"
)

// The tests start helper processes, which are copies of this program.
func TestMain(m *testing.M) {
	Main()
	os.Exit(m.Run())
}
