package main

import (
	"errors"
	"time"
)

// period is the value of a flag that says how long to watch; 0 without the flag.
type period time.Duration

func (p *period) Set(text string) error {
	given, err := time.ParseDuration(text)
	if err == nil && given <= 0 {
		err = errors.New("the time to watch has to be more than 0")
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
