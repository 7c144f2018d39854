package main

import (
	"errors"
	"time"
)

// period is the value of the flag --for: how long to record; 0 without the flag.
type period time.Duration

func (p *period) Set(text string) error {
	given, err := time.ParseDuration(text)
	if err == nil && given <= 0 {
		err = errors.New("the time must be greater than 0")
	}
	*p = period(given)
	return err
}

func (p *period) String() string {
	if *p == 0 {
		return ""
	}
	return time.Duration(*p).String()
}

func (*period) Type() string { return "duration" }
