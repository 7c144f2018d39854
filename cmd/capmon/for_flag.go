package main

import (
	"errors"
	"time"
)

// forFlag is the value of the flag --for: how long to record; 0 without the flag.
type forFlag time.Duration

func (p *forFlag) Set(text string) error {
	given, err := time.ParseDuration(text)
	if err == nil && given <= 0 {
		err = errors.New("the time must be greater than 0")
	}
	*p = forFlag(given)
	return err
}

func (p *forFlag) String() string {
	if *p == 0 {
		return ""
	}
	return time.Duration(*p).String()
}

func (*forFlag) Type() string { return "duration" }
