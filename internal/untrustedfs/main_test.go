package untrustedfs

import (
	"os"
	"testing"
)

// TestMain calls Main, because the tests start helper processes, which are copies of this program.
func TestMain(m *testing.M) {
	Main()
	os.Exit(m.Run())
}
