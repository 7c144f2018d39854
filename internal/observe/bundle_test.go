package observe

import (
	"context"
	"testing"

	"github.com/capmon/capmon/internal/bundle"
	"github.com/capmon/capmon/internal/kernel"
)

// The end of an observation does not wait for bundles that wait to be read.
func TestBundleReadsEndWithTheirContext(t *testing.T) {
	b := newBundles(bundle.NewReader(kernel.Cgroups{}))
	ctx, cancel := context.WithCancel(t.Context())
	for range maxBundleReads {
		if !b.begin(ctx) {
			t.Fatal("a bundle cannot be read")
		}
	}
	begun := make(chan bool)
	go func() { begun <- b.begin(ctx) }()
	cancel()
	if <-begun {
		t.Error("too many bundles are read")
	}
	b.end()
	if b.begin(ctx) {
		t.Error("a bundle is read after the end")
	}
	if !b.begin(t.Context()) {
		t.Error("a bundle cannot be read when another one has been")
	}
}
