package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// day is the length of the unit d: 24 hours.
const day = 24 * time.Hour

// parseAge parses a duration greater than zero, in Go's syntax or in days: 36h, 90d.
func parseAge(text string) (time.Duration, error) {
	var age time.Duration
	var err error
	if days, ok := strings.CutSuffix(text, "d"); ok {
		var n uint64
		n, err = strconv.ParseUint(days, 10, 16)
		age = time.Duration(n) * day
	} else {
		age, err = time.ParseDuration(text)
	}
	if err != nil || age <= 0 {
		return 0, fmt.Errorf("invalid age %q: use a form such as 90d, 36h or 30m", text)
	}
	return age, nil
}

// parseTime parses a time: an age before now, a date (its beginning in the time zone of now), or RFC 3339.
func parseTime(text string, now time.Time) (time.Time, error) {
	if age, err := parseAge(text); err == nil {
		return now.Add(-age), nil
	}
	if at, err := time.ParseInLocation(time.DateOnly, text, now.Location()); err == nil {
		return at, nil
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, nil
	}
	return time.Time{}, fmt.Errorf("invalid time %q: use an age (7d, 12h), a date (2006-01-02) or RFC 3339 (2006-01-02T15:04:05Z)", text)
}
