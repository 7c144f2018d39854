package api

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/capmon/capmon/internal/overview"
	"github.com/capmon/capmon/internal/profile"
	"github.com/capmon/capmon/internal/store"
)

const day = 24 * time.Hour

// pageSpans are how far back a page shows runs. If the runs of one span are too large for a page, the page shows the
// next one; 0 for all runs.
var pageSpans = []time.Duration{0, 90 * day, 30 * day, 7 * day, day, 6 * time.Hour, time.Hour, 10 * time.Minute, time.Minute}

// spanMemory is how long a page does not try again whether more runs fit.
const spanMemory = time.Hour

// pageSpan remembers the span of the latest page, because reading too much takes time. It is safe for concurrent use.
type pageSpan struct {
	mu        sync.Mutex
	selection string
	at        int // index of pageSpans
	until     time.Time
}

func (s *pageSpan) first(selection string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.selection != selection || time.Now().After(s.until) {
		return 0
	}
	return s.at
}

func (s *pageSpan) remember(selection string, at int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.selection != selection || s.at != at {
		s.selection, s.at, s.until = selection, at, time.Now().Add(spanMemory)
	}
}

// recentRuns returns the selected runs. If they are too large for a page, it returns the latest ones, and a note about
// those that it left out. A selection with a start time is never narrowed.
func (s *server) recentRuns(ctx context.Context, selection store.Selection) (p profile.Profile, missing store.Missing, note string, err error) {
	if !selection.Since.IsZero() {
		p, missing, err = s.source.Profile(ctx, selection)
		return p, missing, "", err
	}
	key := selection.Options()
	for at := s.span.first(key); at < len(pageSpans); at++ {
		if span := pageSpans[at]; span > 0 {
			selection.Since = time.Now().Add(-span)
			note = fmt.Sprintf("Not in this page: runs that ended more than %s ago, because all runs together are too large for a page. capmon report shows all.",
				overview.Duration(span))
		}
		if p, missing, err = s.source.Profile(ctx, selection); !errors.Is(err, store.ErrTooMuch) {
			s.span.remember(key, at)
			return p, missing, note, err
		}
	}
	return p, missing, "", err
}
