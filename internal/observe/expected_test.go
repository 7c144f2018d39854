package observe

import "testing"

// The engine may answer a request about a container only after its removal, or after a container with the same ID was
// made.
func TestRemovedContainersAreNotExpected(t *testing.T) {
	a := newAnnouncements()
	a.cancel("web") // not requested
	first := a.begin("web")
	a.cancel("web")
	second := a.begin("web")
	a.end("web", first)
	if !first.removed || second.removed || a.pending["web"] != second {
		t.Errorf("the first request: %+v, the second: %+v, pending: %+v", first, second, a.pending)
	}
	a.end("web", second)
	if len(a.pending) > 0 {
		t.Errorf("pending: %+v", a.pending)
	}
}
