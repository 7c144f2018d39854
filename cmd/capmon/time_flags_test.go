package main

import (
	"testing"
	"time"
)

func TestParsingAges(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"90d": 90 * day, "36h": 36 * time.Hour, "1h30m": 90 * time.Minute,
		"": 0, "0d": 0, "0s": 0, "-1d": 0, "-1h": 0, "d": 0, "1.5d": 0, "99999d": 0, "90": 0, "1w": 0,
	} {
		if got, err := parseAge(text); got != want || (err == nil) != (want > 0) {
			t.Errorf("%q: %s, %v", text, got, err)
		}
	}
}

func TestParsingTimes(t *testing.T) {
	t.Parallel()
	zone := time.FixedZone("", 2*60*60)
	now := time.Date(2026, 8, 8, 12, 0, 0, 0, zone)
	for text, want := range map[string]time.Time{
		"7d":                        now.AddDate(0, 0, -7),
		"90m":                       now.Add(-90 * time.Minute),
		"2026-08-01":                time.Date(2026, 8, 1, 0, 0, 0, 0, zone),
		"2026-08-01T10:00:00Z":      time.Date(2026, 8, 1, 10, 0, 0, 0, time.UTC),
		"2026-08-01T10:00:00+01:00": time.Date(2026, 8, 1, 9, 0, 0, 0, time.UTC),
		"yesterday":                 {}, "": {}, "2026-13-01": {}, "10:00": {},
	} {
		if got, err := parseTime(text, now); !got.Equal(want) || (err == nil) == want.IsZero() {
			t.Errorf("%q: %s, %v", text, got, err)
		}
	}
}
