package api

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/capmon/capmon/internal/api/apitest"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/store"
)

// large is a source whose runs are too large for a page, unless the selection begins at most span ago.
type large struct {
	*apitest.Source
	span  time.Duration
	reads []time.Duration
}

func (l *large) Profile(ctx context.Context, selection store.Selection) (profile.Profile, store.Missing, error) {
	back := time.Duration(0)
	if !selection.Since.IsZero() {
		back = time.Since(selection.Since).Round(time.Minute)
	}
	if l.reads = append(l.reads, back); back == 0 || back > l.span {
		return profile.Profile{}, store.Missing{}, fmt.Errorf("%w: more than 32MiB", store.ErrTooMuch)
	}
	return l.Source.Profile(ctx, store.Selection{})
}

func TestAPageOfTooManyRunsShowsTheLatest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &large{Source: apitest.Working(), span: 6 * time.Hour}
		handler := liveHandler(source, nil)
		shows := func(reads ...time.Duration) {
			t.Helper()
			source.reads = nil
			got := get(handler, "/", "")
			if note := "runs that ended more than 6h ago"; got.Code != 200 || !strings.Contains(got.Body.String(), note) {
				t.Errorf("%d, without %q: %s", got.Code, note, got.Body.String())
			}
			if fmt.Sprint(source.reads) != fmt.Sprint(reads) {
				t.Errorf("reads %v, wanted %v", source.reads, reads)
			}
		}
		shows(0, 90*day, 30*day, 7*day, day, 6*time.Hour)
		shows(6 * time.Hour)
		if got := get(handler, "/?since=1999-01-01T00:00:00Z", ""); got.Code != 422 {
			t.Errorf("a start that the reader chose: %d", got.Code)
		}
		time.Sleep(spanMemory + time.Second)
		shows(0, 90*day, 30*day, 7*day, day, 6*time.Hour)
		source.span = time.Second
		if got := get(handler, "/", ""); got.Code != 422 {
			t.Errorf("%d", got.Code)
		}
	})
}
